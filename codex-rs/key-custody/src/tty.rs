//! A terminal on standard input: ask, and hide what is typed.
//!
//! The terminal stays in its line mode (termios(3), ICANON), so that the kernel does the editing.
//! ^C must not kill the process while the echo is off, which would leave the terminal mute: signals
//! from the keyboard are off, and ^C ends the line instead, as one byte that can be told apart.

use std::fmt;
use std::os::fd::BorrowedFd;

use nix::libc::{_POSIX_VDISABLE, VEOL, VSUSP};
use nix::sys::termios::{self, LocalFlags, SetArg, Termios};
use nix::unistd;

use crate::CustodyError;
use crate::wait::Blocked;

/// ^C: the last byte of a line that the user gave up.
pub(crate) const INTERRUPT: u8 = 0x03;

/// While it lives, the terminal does not echo. Dropped, it restores the terminal.
pub(crate) struct HiddenInput<'fd> {
    terminal: BorrowedFd<'fd>,
    before: Termios,
    /// Dropped after the terminal has been restored: what is pending then may end the process.
    pub(crate) signals: Blocked,
}

/// Hides what is typed and shows `prompt`; `None` if `input` is not a terminal.
pub(crate) fn hide_input<'fd>(
    input: BorrowedFd<'fd>,
    prompt: &str,
) -> Result<Option<HiddenInput<'fd>>, CustodyError> {
    if !unistd::isatty(input).unwrap_or(false) {
        return Ok(None);
    }
    let signals = Blocked::new().map_err(CustodyError::Terminal)?;
    let before = termios::tcgetattr(input).map_err(CustodyError::Terminal)?;
    let mut hidden = before.clone();
    hidden.local_flags.remove(LocalFlags::ECHO | LocalFlags::ISIG);
    hidden.local_flags.insert(LocalFlags::ICANON | LocalFlags::ECHONL);
    hidden.control_chars[VEOL] = INTERRUPT;
    hidden.control_chars[VSUSP] = _POSIX_VDISABLE;
    // What was typed before the prompt was shown is not meant for it: TCSAFLUSH drops it.
    termios::tcsetattr(input, SetArg::TCSAFLUSH, &hidden).map_err(CustodyError::Terminal)?;
    let guard = HiddenInput { terminal: input, before, signals };
    // `codex proxy </dev/tty` opens the terminal for reading only.
    unistd::write(input, prompt.as_bytes())
        .or_else(|_| unistd::write(std::io::stderr(), prompt.as_bytes()))
        .map_err(CustodyError::Terminal)?;
    Ok(Some(guard))
}

impl HiddenInput<'_> {
    /// Ends the line that the prompt is on. (The end of an ordinary line is echoed.)
    pub(crate) fn end_line(&self) {
        let _ = unistd::write(self.terminal, b"\n"); // Only the looks of what is said next.
    }
}

impl Drop for HiddenInput<'_> {
    fn drop(&mut self) {
        // Nothing better can be done if this fails: the terminal is gone.
        let _ = termios::tcsetattr(self.terminal, SetArg::TCSAFLUSH, &self.before);
    }
}

impl fmt::Debug for HiddenInput<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("HiddenInput")
    }
}
