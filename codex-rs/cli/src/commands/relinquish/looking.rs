//! The audit, with a line that says how far it is, until it is done or ^C.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use codex_privileges::{Account, Audit, Progress};

use super::error::RelinquishError;
use super::signals::Signals;
use crate::commands::error::CommandError;
use crate::commands::figures::tokens;
use crate::commands::screen::StatusLine;
use crate::commands::table::cut;

/// What a line leaves free at its end: `^C` has room there, as terminals show it.
const FREE: usize = 3;
/// How soon ^C is noticed.
const A_MOMENT: Duration = Duration::from_millis(100);

enum News {
    /// How far it is.
    Progress(String),
    Done(Box<Audit>),
}

/// `None`: ^C came first. The audit changes nothing, so it may be left alone.
pub(super) fn look(account: &Account, signals: &Signals) -> Result<Option<Audit>, CommandError> {
    let mut line = StatusLine::open();
    let width = line.width().unwrap_or_default();
    let (tell, news) = channel();
    let account = account.clone();
    let audit = move || {
        let audit = codex_privileges::audit(&account, &mut |progress| {
            let _ = tell.send(News::Progress(words(progress, width))); // Nobody may wait any more.
        });
        let _ = tell.send(News::Done(Box::new(audit)));
    };
    thread::Builder::new()
        .name("audit".to_owned())
        .spawn(audit)
        .map_err(RelinquishError::Looking)?;
    loop {
        match news.recv_timeout(A_MOMENT) {
            Ok(News::Progress(words)) => line.tell(&words),
            Ok(News::Done(audit)) => return Ok(Some(*audit)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(RelinquishError::AuditBroke.into()),
        }
        if signals.have_come() {
            return Ok(None);
        }
    }
}

/// In one line that does not reach the terminal's end.
fn words(progress: &Progress, width: usize) -> String {
    let Progress { done, of, waiting_for, files_seen } = progress;
    let files = match files_seen {
        0 => String::new(),
        count => format!(", {} files", tokens(*count)),
    };
    let mut line = format!("looked at {done} of {of}{files}");
    if !waiting_for.is_empty() {
        line.push_str(&format!(", waiting for: {}", waiting_for.join(", ")));
    }
    fitted(&line, width)
}

/// As much of it as a line that is rewritten may have.
pub(super) fn fitted(line: &str, width: usize) -> String {
    cut(line, width.saturating_sub(FREE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_it_is_fits_one_line() {
        let at = |done, files_seen, waiting_for: &[&'static str], width| {
            let waiting_for = waiting_for.to_vec();
            words(&Progress { done, of: 28, waiting_for, files_seen }, width)
        };
        assert_eq!(at(0, 0, &[], 80), "looked at 0 of 28");
        let long = "looked at 26 of 28, 123.5k files, waiting for: plant, setuid";
        assert_eq!(at(26, 123_456, &["plant", "setuid"], 80), long);
        let narrow = "looked at 26 of 28, 123.5k files, waiting for: plan…";
        assert_eq!(at(26, 123_456, &["plant", "setuid"], 55), narrow);
    }
}
