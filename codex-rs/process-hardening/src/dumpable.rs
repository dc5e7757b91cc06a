//! Undumpable: no core dump, and no reading or tracing by another process of the same account.
//!
//! Source: prctl(2) PR_SET_DUMPABLE, ptrace(2) "Ptrace access mode checking". Reading the key of an
//! ordinary process of one's own account takes one `pread` on `/proc/PID/mem`; with dumpable at 0
//! the kernel answers EACCES. Root is not stopped by it.

use crate::HardeningError;

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn forbid() -> Result<(), HardeningError> {
    use nix::sys::prctl;

    prctl::set_dumpable(false).map_err(HardeningError::Dumpable)?;
    match prctl::get_dumpable() {
        Ok(false) => Ok(()),
        Ok(true) => Err(HardeningError::StillDumpable),
        Err(errno) => Err(HardeningError::Dumpable(errno)),
    }
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
