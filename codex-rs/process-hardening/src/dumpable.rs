//! Undumpable: no core dump, and no reading or tracing by another process of the same account.
//!
//! Source: prctl(2) PR_SET_DUMPABLE, ptrace(2) "Ptrace access mode checking". Reading the key of an
//! ordinary process of one's own account takes one `pread` on `/proc/PID/mem`; with dumpable at 0
//! the kernel answers EACCES. Root is not stopped by it, and neither is a process that opened those files
//! in the moment between execve(2) and this call: it could as well have read the key where it came from.

use crate::HardeningError;

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn forbid() -> Result<(), HardeningError> {
    use nix::sys::prctl;

    prctl::set_dumpable(false).map_err(HardeningError::Dumpable)?;
    match prctl::get_dumpable() {
        Ok(false) => {}
        Ok(true) => return Err(HardeningError::StillDumpable),
        Err(errno) => return Err(HardeningError::Dumpable(errno)),
    }
    // Nobody can attach from now on; who did before stays attached.
    match tracer() {
        0 => Ok(()),
        tracer => Err(HardeningError::Traced { tracer }),
    }
}

/// The process that traces this one (proc(5), `TracerPid`); 0 for none, or where there is no /proc.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn tracer() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
    tracer.and_then(|pid| pid.trim().parse().ok()).unwrap_or(0)
}

#[cfg(target_os = "macos")]
pub(crate) fn forbid() -> Result<(), HardeningError> {
    deny_attach::deny_attach().map_err(HardeningError::Dumpable)
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "macos")))]
pub(crate) fn forbid() -> Result<(), HardeningError> {
    Err(HardeningError::Dumpable(nix::errno::Errno::ENOSYS))
}

#[cfg(target_os = "macos")]
#[expect(unsafe_code, reason = "ptrace(PT_DENY_ATTACH) has no safe wrapper")]
mod deny_attach {
    use nix::errno::Errno;

    pub(super) fn deny_attach() -> nix::Result<()> {
        // SAFETY: PT_DENY_ATTACH concerns the calling process alone and ignores the other three
        // arguments, so no memory is read or written through them.
        let answer = unsafe { libc::ptrace(libc::PT_DENY_ATTACH, 0, std::ptr::null_mut(), 0) };
        Errno::result(answer).map(drop)
    }
}
