//! Descriptors that a program which we start is not to have.
//!
//! Source: execve(2), fcntl(2) `F_SETFD`, proc(5). What a shell or a service manager has open, a pipe whose end
//! somebody waits for, a lock, a terminal, is handed down to each program that does not close it.

use std::fs;
use std::io;

#[cfg(any(target_os = "linux", target_os = "android"))]
const OPEN: &str = "/proc/self/fd";
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const OPEN: &str = "/dev/fd";

/// Standard input, output and error.
const STANDARD: i32 = 3;

/// From here on, programs that this one starts get its standard input, output and error, and no other descriptor that
/// is open now, but for one that may be `handed_on`.
///
/// # Errors
///
/// What is open can't be told.
pub fn keep_descriptors(handed_on: Option<i32>) -> io::Result<()> {
    // All of them first: the folder itself is one while it is read.
    let open: Vec<i32> = fs::read_dir(OPEN)?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    open.into_iter()
        .filter(|descriptor| *descriptor >= STANDARD && Some(*descriptor) != handed_on)
        .for_each(close_on_exec::set);
    Ok(())
}

#[expect(
    unsafe_code,
    reason = "fcntl(F_SETFD) on a number that nobody here owns has no safe wrapper"
)]
mod close_on_exec {
    use nix::libc;

    /// A number that is no descriptor any more is left alone (EBADF).
    pub(super) fn set(descriptor: i32) {
        // SAFETY: F_SETFD changes one flag in the table of descriptors. It reads and writes no memory of ours, and
        // whoever owns the descriptor can go on using it.
        unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, AsRawFd};

    use nix::fcntl::{FcntlArg, FdFlag, fcntl};

    use super::*;

    #[test]
    fn what_was_open_to_programs_is_not_any_more() {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        let flags = |end: &dyn AsFd| fcntl(end.as_fd(), FcntlArg::F_GETFD).unwrap();
        for end in [&reader, &writer] {
            assert_eq!(flags(end), 0);
        }
        keep_descriptors(Some(writer.as_raw_fd())).unwrap();
        assert_eq!([flags(&reader), flags(&writer)], [FdFlag::FD_CLOEXEC.bits(), 0]);
        keep_descriptors(None).unwrap();
        for end in [&reader, &writer] {
            assert_eq!(flags(end), FdFlag::FD_CLOEXEC.bits());
        }
        assert_eq!(flags(&std::io::stdin()), 0);
    }
}
