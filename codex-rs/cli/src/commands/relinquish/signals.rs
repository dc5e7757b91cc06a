//! ^C and its like, held back from the first thread on and looked at where there is a good moment.
//!
//! Source: signalfd(2). A signal reaches a process through any of its threads that does not hold it, so they have to be
//! held before there is a second one; threads and programs that are started inherit that.

use std::cell::Cell;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

const HELD: [Signal; 4] = [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGHUP];

/// While it lives, none of them ends this process. Dropped, all is as before.
#[derive(Debug)]
pub(super) struct Signals {
    before: SigSet,
    arriving: SignalFd,
    have_come: Cell<bool>,
}

impl Signals {
    pub(super) fn hold() -> io::Result<Self> {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let ignored = ignored(&status);
        let mut held = SigSet::empty();
        // One that the caller ignores (nohup) would come nevertheless, once it is held: the kernel keeps those.
        HELD.into_iter()
            .filter(|signal| !is_in(ignored, *signal))
            .for_each(|signal| held.add(signal));
        let arriving = SignalFd::with_flags(&held, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        let before = held.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        Ok(Self { before, arriving, have_come: Cell::new(false) })
    }

    /// Whether one has come since they are held.
    pub(super) fn have_come(&self) -> bool {
        while let Ok(Some(_)) = self.arriving.read_signal() {
            self.have_come.set(true);
        }
        self.have_come.get()
    }

    /// What can be read from when one has come.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.arriving.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.have_come(); // What has come has been heard, and ends nobody later.
        let _ = self.before.thread_set_mask(); // It was valid a moment ago.
    }
}

/// The set of signals that this process ignores, from proc_pid_status(5).
fn ignored(status: &str) -> u64 {
    let set = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or(0)
}

fn is_in(set: u64, signal: Signal) -> bool {
    (set >> (signal as i32 - 1)) & 1 == 1
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::raise;

    use super::*;

    #[test]
    fn what_comes_while_they_are_held_is_heard_and_ends_nobody() {
        // In a thread of its own: the mask is a thread's.
        let heard = std::thread::spawn(|| {
            let signals = Signals::hold().unwrap();
            let before = signals.have_come();
            raise(Signal::SIGTERM).unwrap(); // To this thread.
            (before, signals.have_come(), signals.have_come())
        });
        assert_eq!(heard.join().unwrap(), (false, true, true));
    }

    #[test]
    fn what_the_caller_ignores_is_known_by_its_number() {
        let set = ignored("Name:\tcodex\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n");
        assert_eq!(set, 0x1001);
        assert!(is_in(set, Signal::SIGHUP) && is_in(set, Signal::SIGPIPE));
        assert!(!is_in(set, Signal::SIGINT) && !is_in(set, Signal::SIGTERM));
        assert_eq!(ignored("Name:\tcodex\n"), 0);
    }
}
