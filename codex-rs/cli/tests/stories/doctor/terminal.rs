//! The doctor at a terminal: how far it is, on one line that goes; colour beside the words; and room for all of it.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};

use super::anywhere::{SilentUpstream, doctor};
use super::bare;
use crate::support::*;

/// To the line's beginning, and nothing left of what stood there.
const REWRITE: &str = "\r\u{1b}[K";

/// A pseudo-terminal with a doctor at it. Dropped, the doctor is killed.
struct Terminal {
    master: File,
    child: Child,
    shown: String,
}

impl Terminal {
    fn start(home: &Path, columns: u16, flags: &[&str], variables: &[(&str, &str)]) -> Self {
        let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).unwrap();
        let mut command = doctor(home, flags);
        command.env("TERM", "xterm-256color").envs(variables.iter().copied());
        let child = command
            .stdout(Stdio::from(pty.slave.try_clone().unwrap()))
            .stderr(Stdio::from(pty.slave))
            .spawn()
            .unwrap();
        Self { master: File::from(pty.master), child, shown: String::new() }
    }

    /// Reads what it shows until this is there.
    fn shows(&mut self, part: &str) {
        let mut chunk = [0; 512];
        while !self.shown.contains(part) {
            let mut watched = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
            let patience = PollTimeout::try_from(LIMIT).unwrap();
            assert_eq!(poll(&mut watched, patience), Ok(1), "no {part:?} in {:?}", self.shown);
            // An error where the doctor has gone, and with it the other end.
            let count = self.master.read(&mut chunk).unwrap_or(0);
            assert!(count > 0, "no {part:?} in {:?}", self.shown);
            self.shown.push_str(&text(&chunk[..count]));
        }
    }

    /// What is left on the screen at the end.
    fn report(mut self) -> String {
        self.shows(" pass\r\n");
        let (_, report) = self.shown.rsplit_once(REWRITE).unwrap();
        report.replace('\r', "")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_says_whom_it_waits_for_and_that_line_goes() {
    let silent = SilentUpstream::start();
    let home = tempfile::tempdir().unwrap();
    let info = silent.info();
    let mut terminal = Terminal::start(home.path(), 80, &["--server-info", str(&info)], &[]);
    let connection = silent.is_asked();
    let of = codex_doctor::checks().len();
    terminal.shows(&format!("{REWRITE}looked at 0 of {of}, waiting for: proxy, "));
    terminal.shows(&format!("{REWRITE}looked at {} of {of}, waiting for: upstream", of - 1));
    drop(connection);
    let report = terminal.report();
    assert!(!report.contains("waiting for"), "{report}");
    assert!(report.contains("proxy") && report.ends_with(" pass\n"), "{report}");
}

#[test]
fn a_grade_has_a_colour_unless_nobody_wants_any_and_is_a_word_always() {
    let home = tempfile::tempdir().unwrap();
    let none = home.path().join("none.json");
    let flags = ["--server-info", str(&none)];
    let coloured = Terminal::start(home.path(), 80, &flags, &[]).report();
    assert!(coloured.contains("\u{1b}[31mfail\u{1b}[0m  proxy"), "{coloured:?}");
    for variables in [[("NO_COLOR", "1")], [("TERM", "dumb")]] {
        let mut terminal = Terminal::start(home.path(), 80, &flags, &variables);
        terminal.shows(" pass\r\n");
        let shown = terminal.shown.replace(REWRITE, "");
        assert!(shown.contains("fail  proxy") && !shown.contains("\u{1b}["), "{shown:?}");
    }
}

#[test]
fn in_a_narrow_terminal_all_is_said_and_no_line_is_broken_by_its_end() {
    let home = tempfile::tempdir().unwrap();
    let none = home.path().join("none.json");
    let flags = ["--server-info", str(&none)];
    let mut terminal = Terminal::start(home.path(), 40, &flags, &[("NO_COLOR", "1")]);
    terminal.shows(" pass\r\n");
    for line in terminal.shown.split(['\r', '\n']) {
        let line = line.trim_start_matches("\u{1b}[K");
        assert!(line.chars().count() <= 40, "{line:?}");
    }
    let report = terminal.report();
    assert!(report.starts_with("fail  proxy\n    "), "{report}");
    assert!(bare(&report).contains("remedy:"), "{report}");
}
