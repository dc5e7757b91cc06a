//! What another process of the same account can see of the proxy.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use nix::unistd::geteuid;
use serde_json::{Value, json};

/// What could be seen of a process's protections from outside.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Hardening {
    /// No core files, and its memory is closed to its own account.
    Closed,
    /// No core files; whether its memory is closed can't be tried by root, to whom all is open.
    SeenByRoot,
    /// There is no /proc to look through.
    Unseen,
}

impl Hardening {
    /// Looks at a running process; fails if it is not protected.
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        let process = PathBuf::from(format!("/proc/{pid}"));
        if !process.exists() {
            return Ok(Self::Unseen);
        }
        let limits =
            fs::read_to_string(process.join("limits")).context("while reading its limits")?;
        let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size"));
        let core = core.context("it has no limit of core files")?;
        let forbidden = core.split_whitespace().take(2).eq(["0", "0"]);
        ensure!(forbidden, "the proxy may write core files: {}", core.trim());
        if geteuid().is_root() {
            return Ok(Self::SeenByRoot);
        }
        match File::open(process.join("mem")) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(Self::Closed),
            Err(error) => Err(error).context("while trying to read the proxy's memory"),
            Ok(_) => bail!("the proxy's memory can be read by this account"),
        }
    }

    pub(crate) fn facts(self) -> Value {
        let (core_limit, readable) = match self {
            Self::Closed => (Some(0), Some(false)),
            Self::SeenByRoot => (Some(0), None),
            Self::Unseen => (None, None),
        };
        json!({ "core_limit": core_limit, "memory_readable_by_this_account": readable })
    }
}

impl fmt::Display for Hardening {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Closed => {
                "no core files (0/0); its memory is closed even to its own account: tried, refused"
            }
            Self::SeenByRoot => {
                "no core files (0/0); run the demo without root to see its memory closed to its own account"
            }
            Self::Unseen => "not shown: this system has no /proc to look through",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    use super::*;

    /// An ordinary process is told from the proxy, by its core limit or else by its memory.
    #[test]
    fn a_process_that_is_not_hardened_fails() {
        let (_, hard) = getrlimit(Resource::RLIMIT_CORE).unwrap();
        setrlimit(Resource::RLIMIT_CORE, hard, hard).unwrap(); // Inherited.
        let mut ordinary = Command::new("sleep").arg("60").process_group(0).spawn().unwrap();
        let seen = Hardening::of(ordinary.id());
        ordinary.kill().unwrap();
        ordinary.wait().unwrap();
        // Where core files are forbidden to all, root has nothing left to see.
        assert!(seen.is_err() || (hard == 0 && geteuid().is_root()), "{seen:?}");
    }
}
