//! What the kernel says of this process, at the moment it is asked.
//!
//! Source: prctl(2), getrlimit(2), proc(5). What it does not say, or not here, is `None`.

use nix::sys::resource::{Resource, getrlimit};

/// The protections of this process, as the kernel reports them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Whether others of this account may read its memory, trace it, or have its core.
    pub dumpable: Option<bool>,
    /// Soft and hard limit of a core file, in bytes.
    pub core_limit_bytes: Option<(u64, u64)>,
    /// The process that traces it; 0 for none.
    pub tracer_pid: Option<u32>,
    /// Whether it, and what it starts, can gain no privileges any more.
    pub no_new_privs: Option<bool>,
    /// Whether system calls are filtered: 0 no, 1 strict, 2 by a filter.
    pub seccomp: Option<u32>,
    /// The effective capabilities (capabilities(7)), in hexadecimal.
    pub effective_capabilities: Option<String>,
}

impl Facts {
    /// Asks the kernel.
    pub fn read() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = |name: &str| {
            status.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
        };
        Self {
            dumpable: dumpable(),
            core_limit_bytes: getrlimit(Resource::RLIMIT_CORE).ok(),
            tracer_pid: field("TracerPid").and_then(|pid| pid.parse().ok()),
            no_new_privs: field("NoNewPrivs").map(|value| value == "1"),
            seccomp: field("Seccomp").and_then(|mode| mode.parse().ok()),
            effective_capabilities: field("CapEff").map(str::to_owned),
        }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn dumpable() -> Option<bool> {
    nix::sys::prctl::get_dumpable().ok()
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn dumpable() -> Option<bool> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_process_is_reported_as_it_is() {
        let facts = Facts::read();
        assert_eq!(facts.dumpable, Some(true));
        assert_eq!(facts.tracer_pid, Some(0));
        assert!(facts.seccomp.is_some() && facts.no_new_privs.is_some());
        let capabilities = facts.effective_capabilities.unwrap();
        assert!(u64::from_str_radix(&capabilities, 16).is_ok(), "{capabilities}");
    }
}
