//! That something takes its time, on standard error: a line that is rewritten, and only on a terminal that can.

use tokio::time::Instant;

use super::screen::StatusLine;

pub(crate) struct Waiting {
    what: &'static str,
    began: Instant,
    line: StatusLine,
}

impl Waiting {
    /// For this; it says nothing yet.
    pub(crate) fn start(what: &'static str) -> Self {
        Self { what, began: Instant::now(), line: StatusLine::open() }
    }

    /// Says how long it has been.
    pub(crate) fn tell(&mut self) {
        let seconds = self.began.elapsed().as_secs();
        self.line.tell(&format!("{}: {seconds} s (^C ends it)", self.what));
    }
}
