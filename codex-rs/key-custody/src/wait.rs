//! Waiting for input without dying while the terminal is hidden.
//!
//! A signal that ends the process must not do so before the terminal echoes again. So while it is hidden
//! those signals are blocked, and their arrival ends the wait: once the guard has restored the terminal and
//! unblocks them, the kernel delivers what is pending, and the process ends as it would have.

use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Blocks until `input` can be read. Returns false if one of `ends` can be, or has lost its other end: a signal, say.
pub(crate) fn until_readable(input: BorrowedFd<'_>, ends: &[BorrowedFd<'_>]) -> nix::Result<bool> {
    let all = std::iter::once(&input).chain(ends);
    let mut watched: Vec<_> = all.map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
    loop {
        match poll(&mut watched, PollTimeout::NONE) {
            Ok(_) => return Ok(!watched[1..].iter().any(|end| end.any() == Some(true))),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) use linux::Blocked;

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux {
    use std::os::fd::{AsFd, BorrowedFd};

    use nix::sys::signal::{SigSet, SigmaskHow, Signal};
    use nix::sys::signalfd::{SfdFlags, SignalFd};

    /// While it lives, signals that end the process wait.
    #[derive(Debug)]
    pub(crate) struct Blocked {
        before: SigSet,
        /// Readable while one waits. Never read, so that it goes on waiting.
        arrivals: SignalFd,
    }

    impl Blocked {
        pub(crate) fn new() -> nix::Result<Self> {
            let set = SigSet::from_iter([
                Signal::SIGHUP,
                Signal::SIGINT,
                Signal::SIGQUIT,
                Signal::SIGTERM,
            ]);
            let arrivals = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC)?;
            let before = set.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
            Ok(Self { before, arrivals })
        }

        pub(crate) fn arrivals(&self) -> Option<BorrowedFd<'_>> {
            Some(self.arrivals.as_fd())
        }
    }

    impl Drop for Blocked {
        fn drop(&mut self) {
            let _ = self.before.thread_set_mask();
        }
    }
}

/// Elsewhere there is no descriptor for signals: one that comes ends the process at once.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[derive(Debug)]
pub(crate) struct Blocked;

#[cfg(not(any(target_os = "linux", target_os = "android")))]
impl Blocked {
    pub(crate) fn new() -> nix::Result<Self> {
        Ok(Self)
    }

    pub(crate) fn arrivals(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
