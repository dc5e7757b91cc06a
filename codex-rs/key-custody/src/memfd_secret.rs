//! `memfd_secret(2)`: memory that the kernel takes out of its own map, so that it can be read through this process's
//! page table alone: not through /proc/PID/mem, not by process_vm_readv(2), by root neither.
#![expect(unsafe_code, reason = "neither nix nor rustix wraps memfd_secret")]

use std::os::fd::{FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc::{O_CLOEXEC, SYS_memfd_secret, c_int, syscall};

/// A new file of such memory, empty and without a name.
///
/// # Errors
///
/// ENOSYS where the kernel does not have it (before Linux 5.14, or `secretmem.enable=0`), or a sandbox refuses it.
pub(crate) fn create() -> nix::Result<OwnedFd> {
    // SAFETY: memfd_secret(2) takes flags alone, and touches none of our memory.
    let created = unsafe { syscall(SYS_memfd_secret, O_CLOEXEC) };
    let descriptor = c_int::try_from(Errno::result(created)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just opened this descriptor for us, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
