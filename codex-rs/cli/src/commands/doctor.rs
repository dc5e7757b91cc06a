//! `codex proxy doctor`: what stands between this user and a working, safe set-up, each with what to do about it.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use codex_doctor::{Grade, Host, Progress, Report, examine};
use codex_responses_api_proxy::plain::plain_json;

use super::doctor_text;
use super::error::CommandError;
use super::screen::{Screen, say};
use super::{End, until_interrupted};
use crate::args::DoctorArgs;

pub(crate) async fn doctor(args: DoctorArgs, screen: &mut Screen) -> Result<End, CommandError> {
    tell_only_where_it_panicked();
    let mut line = ProgressLine::start();
    let host = Arc::new(Host::this(args.which.server_info));
    let examined = examine(host, |progress| line.tell(&progress));
    let examined = until_interrupted(examined).await;
    drop(line); // What comes next has its place.
    let Some(report) = examined else { return Ok(End::Interrupted) };
    if args.json {
        let json = serde_json::to_string(&report);
        let json = json.map_err(|error| CommandError::Output(io::Error::other(error)))?;
        screen.line(&plain_json(&json))?;
    } else {
        for line in doctor_text::lines(&report, screen.width, screen.colour) {
            screen.line(&line)?;
        }
    }
    screen.flush()?;
    Ok(verdict(&report))
}

fn verdict(report: &Report) -> End {
    match report.worst() {
        Grade::Pass | Grade::Warn => End::Done,
        Grade::Fail => End::No,
    }
}

/// The words of a panic may quote the file that was being read, and with it a key.
pub(super) fn tell_only_where_it_panicked() {
    std::panic::set_hook(Box::new(|panic| {
        if let Some(place) = panic.location() {
            say(&format!("a check broke at {place}"));
        }
    }));
}

/// To the line's beginning, and nothing left of what stood there (ECMA-48, EL).
const REWRITE: &str = "\r\u{1b}[K";

/// One line on standard error that says how far it is, where that is a terminal; elsewhere nothing.
struct ProgressLine {
    /// The terminal's; `None` where nothing is told.
    width: Option<usize>,
}

impl ProgressLine {
    fn start() -> Self {
        let stderr = io::stderr();
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        if !stderr.is_terminal() || is_dumb {
            return Self { width: None };
        }
        let width = terminal_size::terminal_size_of(stderr);
        Self { width: Some(width.map_or(80, |(width, _)| usize::from(width.0))) }
    }

    fn tell(&mut self, progress: &Progress) {
        if let Some(width) = self.width {
            put(&format!("{REWRITE}{}", doctor_text::progress(progress, width)));
        }
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        if self.width.is_some() {
            put(REWRITE);
        }
    }
}

/// A closed standard error is its reader's choice.
fn put(text: &str) {
    let mut stderr = io::stderr();
    let _ = stderr.write_all(text.as_bytes());
    let _ = stderr.flush();
}

#[cfg(test)]
mod tests {
    use codex_doctor::Finding;

    use super::*;

    #[test]
    fn only_a_failure_is_no_success() {
        let report = |findings| Report { findings };
        let warn = || Finding::warn("port", "open", "shut it");
        assert_eq!(verdict(&report(Vec::new())), End::Done);
        assert_eq!(verdict(&report(vec![Finding::pass("port", "shut"), warn()])), End::Done);
        let fail = Finding::fail("proxy", "none", "start one");
        assert_eq!(verdict(&report(vec![warn(), fail])), End::No);
    }
}
