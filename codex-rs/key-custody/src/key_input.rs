//! Where a key is read from, and under which conditions.

use std::os::fd::BorrowedFd;

/// A file descriptor that a key comes from.
#[derive(Clone, Copy, Debug)]
pub struct KeyInput<'fd> {
    /// Read to its end or, if it is a terminal, to the end of a line that is not echoed.
    pub input: BorrowedFd<'fd>,
    /// What a terminal shows first.
    pub prompt: &'fd str,
    /// Once this can be read, or its other end is closed, nobody waits for the key any more.
    pub given_up: Option<BorrowedFd<'fd>>,
    /// Whether memory will do that may be written to swap.
    pub allow_unlocked: bool,
}

impl<'fd> KeyInput<'fd> {
    /// No prompt, no giving up, and no memory but such as is locked.
    pub fn of(input: BorrowedFd<'fd>) -> Self {
        Self { input, prompt: "", given_up: None, allow_unlocked: false }
    }
}
