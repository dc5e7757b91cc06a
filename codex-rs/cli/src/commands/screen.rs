//! The one place that prints: standard output, buffered, and a line now and then on standard error.

use std::io::{BufWriter, IsTerminal, StdoutLock, Write};
use std::os::fd::AsFd;

use anstream::{AutoStream, ColorChoice};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::oneshot;

use super::error::CommandError;

pub(crate) struct Screen {
    out: BufWriter<StdoutLock<'static>>,
    /// In terminal columns; `None` where lines may be as long as they are.
    pub(crate) width: Option<usize>,
    /// Whether colour is welcome.
    pub(crate) colour: bool,
}

impl Screen {
    pub(crate) fn open() -> Self {
        let stdout = std::io::stdout();
        let choice = AutoStream::choice(&stdout); // NO_COLOR, CLICOLOR, TERM.
        let colour = stdout.is_terminal() && choice != ColorChoice::Never;
        Self { out: BufWriter::new(stdout.lock()), width: width(), colour }
    }

    /// A line.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), CommandError> {
        writeln!(self.out, "{text}").map_err(CommandError::Output)
    }

    /// Text that has its line ends.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), CommandError> {
        self.out.write_all(text.as_bytes()).map_err(CommandError::Output)
    }

    /// Hands on what waits.
    pub(crate) fn flush(&mut self) -> Result<(), CommandError> {
        self.out.flush().map_err(CommandError::Output)
    }
}

/// The terminal's width, else what COLUMNS says.
fn width() -> Option<usize> {
    if let Some((width, _)) = terminal_size::terminal_size_of(std::io::stdout()) {
        return Some(usize::from(width.0));
    }
    let columns = std::env::var("COLUMNS").ok()?;
    columns.parse().ok().filter(|columns| *columns > 0)
}

/// Says something beside the output.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}"); // A closed one is its reader's choice.
}

/// To the line's beginning, and nothing left of what stood there (ECMA-48, EL).
const REWRITE: &str = "\r\u{1b}[K";

/// One line on standard error that is rewritten, where that is a terminal that can. Dropped, it is gone, and whatever comes
/// next has a line of its own.
pub(crate) struct StatusLine {
    /// The terminal's, in columns; `None` where nothing can be rewritten.
    width: Option<usize>,
    is_there: bool,
}

impl StatusLine {
    /// It says nothing yet.
    pub(crate) fn open() -> Self {
        let stderr = std::io::stderr();
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let rewrites = stderr.is_terminal() && !is_dumb;
        let size = || terminal_size::terminal_size_of(&stderr);
        let width = || size().map_or(80, |(width, _)| usize::from(width.0));
        Self { width: rewrites.then(width), is_there: false }
    }

    /// How many columns there are; `None` where nothing can be told.
    pub(crate) fn width(&self) -> Option<usize> {
        self.width
    }

    /// Says this in place of what it said.
    pub(crate) fn tell(&mut self, text: &str) {
        if self.width.is_some() {
            self.is_there = true;
            put(&format!("{REWRITE}{text}"));
        }
    }
}

impl Drop for StatusLine {
    fn drop(&mut self) {
        if self.is_there {
            put(REWRITE);
        }
    }
}

/// A closed standard error is its reader's choice.
fn put(text: &str) {
    let mut stderr = std::io::stderr();
    let _ = stderr.write_all(text.as_bytes());
    let _ = stderr.flush();
}

/// Ends once nobody reads standard output any more, which a write alone would tell, and later.
pub(crate) async fn reader_leaves() {
    let (left, leaves) = oneshot::channel();
    // A thread that the end of the program ends. Without one, nobody who leaves is noticed before the next line.
    let watch = move || {
        let stdout = std::io::stdout();
        // The reader's end is reported without being asked for (poll(2), POLLERR). Files have none.
        let mut watched = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
        while poll(&mut watched, PollTimeout::NONE) == Err(Errno::EINTR) {}
        let _ = left.send(()); // Nobody may wait any more.
    };
    match std::thread::Builder::new().name("reader".to_owned()).spawn(watch) {
        Ok(_) => drop(leaves.await),
        Err(_) => std::future::pending().await,
    }
}
