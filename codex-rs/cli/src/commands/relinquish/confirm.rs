//! What a person is asked, on the terminal itself: standard input and output may be something else.
//!
//! Whatever is not the answer that was asked for is a no, the end of input and ^C as well. Where there is no terminal
//! nobody is waited for.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;

use codex_privileges::{Account, StaleProcess};
use codex_responses_api_proxy::plain::plain;
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{
    FlushArg, InputFlags, LocalFlags, SetArg, Termios, tcflush, tcgetattr, tcsetattr,
};

use super::error::RelinquishError;
use super::signals::Signals;
use crate::args::RelinquishSudoArgs;
use crate::commands::error::CommandError;
use crate::commands::sheet::wrap;
use crate::commands::verify::means_yes;

const NAME: &str = "Type the account's name to go on: ";
const SOLE: &str = "WARNING: nobody would be left on this machine who can become root: no other account by sudo, and \
    root has no password and no keys. What root has to do then needs a rescue system, the console of a host, or an image \
    made anew.";
const NAME_AGAIN: &str = "Type the account's name once more to go on nevertheless: ";
/// So many processes are named before the question; the plan has them all.
const NAMED: usize = 12;
/// An answer is a short line.
const ANSWER_BYTES: usize = 1_024;

/// What a person has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Consent {
    Agreed,
    Declined,
    Interrupted,
}

/// What came of one question.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    /// A line, or the end of input.
    Line(String),
    Interrupted,
}

/// What was agreed to beforehand is looked at before anything else.
pub(super) fn check_name(typed: Option<&str>, account: &Account) -> Result<(), CommandError> {
    match typed {
        Some(typed) if typed != account.name => {
            Err(RelinquishError::OtherName { typed: typed.to_owned(), name: account.name.clone() }
                .into())
        }
        _ => Ok(()),
    }
}

/// Whether it is to be done.
pub(super) fn consent(
    args: &RelinquishSudoArgs,
    account: &Account,
    is_sole: bool,
    signals: &Signals,
) -> Result<Consent, CommandError> {
    if args.yes_relinquish.is_some() {
        return Ok(Consent::Agreed); // Its name was looked at.
    }
    let name = || account.name.clone();
    if args.json {
        return Err(RelinquishError::NothingShown { name: name() }.into());
    }
    let terminal =
        Terminal::open().ok_or_else(|| RelinquishError::NobodyToConfirm { name: name() })?;
    Ok(agreed(&account.name, is_sole, |question| terminal.ask(question, signals)))
}

fn agreed(name: &str, is_sole: bool, mut ask: impl FnMut(&str) -> Answer) -> Consent {
    let second = format!("{SOLE}\n{NAME_AGAIN}");
    let questions = [Some(NAME), is_sole.then_some(second.as_str())];
    for question in questions.into_iter().flatten() {
        match ask(question) {
            Answer::Line(line) if line.trim() == name => {}
            Answer::Line(_) => return Consent::Declined,
            Answer::Interrupted => return Consent::Interrupted,
        }
    }
    Consent::Agreed
}

/// Whether these may be ended.
pub(super) fn ending(
    args: &RelinquishSudoArgs,
    processes: &[StaleProcess],
    signals: &Signals,
) -> bool {
    if args.end_processes || args.json {
        return args.end_processes;
    }
    let Some(terminal) = Terminal::open() else { return false };
    match terminal.ask(&ending_question(processes), signals) {
        Answer::Line(line) => means_yes(&line),
        Answer::Interrupted => false,
    }
}

fn ending_question(processes: &[StaleProcess]) -> String {
    let mut lines: Vec<String> = processes
        .iter()
        .take(NAMED)
        .map(|it| format!("  pid {} {}", it.pid, plain(&it.name)))
        .collect();
    if processes.len() > NAMED {
        lines.push(format!("  and {} more, as the plan says", processes.len() - NAMED));
    }
    let these = if processes.len() == 1 {
        "this process, which has"
    } else {
        "these processes, which have"
    };
    format!("{}\nEnd {these} what was given up? Unsaved work is lost. [y/N] ", lines.join("\n"))
}

/// The terminal that this process belongs to.
struct Terminal {
    tty: File,
}

impl Terminal {
    fn open() -> Option<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_NOCTTY | libc::O_CLOEXEC);
        options.open("/dev/tty").ok().map(|tty| Self { tty })
    }

    /// Waits for a line. What was typed before the question is no answer to it.
    fn ask(&self, question: &str, signals: &Signals) -> Answer {
        let _lines = Lines::set(&self.tty);
        let _ = tcflush(&self.tty, FlushArg::TCIFLUSH);
        let shown = format!("\n{}", self.fitted(question));
        let _ = (&self.tty).write_all(shown.as_bytes());
        let mut watched =
            [self.tty.as_fd(), signals.as_fd()].map(|end| PollFd::new(end, PollFlags::POLLIN));
        loop {
            match poll(&mut watched, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                Err(_) => return Answer::Line(String::new()),
                Ok(_) => {}
            }
            if signals.have_come() {
                let _ = tcflush(&self.tty, FlushArg::TCIFLUSH);
                let _ = (&self.tty).write_all(b"\n");
                return Answer::Interrupted;
            }
            if watched[0].revents().is_some_and(|events| !events.is_empty()) {
                return Answer::Line(self.line());
            }
        }
    }

    /// In this mode one read(2) is one line.
    fn line(&self) -> String {
        let mut line = [0; ANSWER_BYTES];
        let read = (&self.tty).read(&mut line).unwrap_or(0);
        String::from_utf8_lossy(&line[..read]).into_owned()
    }

    /// The lines of a question in the terminal's width. Its last line's end is where somebody types.
    fn fitted(&self, question: &str) -> String {
        let width =
            terminal_size::terminal_size_of(&self.tty).map(|(width, _)| usize::from(width.0));
        fitted(question, width)
    }
}

fn fitted(question: &str, width: Option<usize>) -> String {
    let (text, end) = question.split_at(question.trim_end().len());
    // A process's line is set in by two, which wrapping would lose.
    let wrapped = |line: &str| match line.strip_prefix("  ") {
        Some(_) => vec![line.to_owned()],
        None => wrap(line, width),
    };
    let lines: Vec<String> = text.split('\n').flat_map(wrapped).collect();
    format!("{}{end}", lines.join("\n"))
}

/// A terminal that gives whole lines, shows what is typed and knows ^C; as it was when this is dropped.
struct Lines<'t> {
    tty: &'t File,
    before: Option<Termios>,
}

impl<'t> Lines<'t> {
    fn set(tty: &'t File) -> Self {
        let Ok(before) = tcgetattr(tty) else { return Self { tty, before: None } };
        let mut lines = before.clone();
        lines.local_flags |= LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG;
        lines.input_flags |= InputFlags::ICRNL;
        // One that is so already is left alone: who is in the background may not touch it.
        let is_changed =
            (lines.local_flags, lines.input_flags) != (before.local_flags, before.input_flags);
        let is_set = is_changed && tcsetattr(tty, SetArg::TCSANOW, &lines).is_ok();
        Self { tty, before: is_set.then_some(before) }
    }
}

impl Drop for Lines<'_> {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = tcsetattr(self.tty, SetArg::TCSANOW, before);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What came of these answers, and how many questions were asked.
    fn asked(is_sole: bool, answers: &[&str]) -> (Consent, usize) {
        let mut questions = Vec::new();
        let consent = agreed("alice", is_sole, |question| {
            questions.push(question.to_owned());
            match answers[questions.len() - 1] {
                "^C" => Answer::Interrupted,
                line => Answer::Line(line.to_owned()),
            }
        });
        (consent, questions.len())
    }

    #[test]
    fn only_the_name_is_a_yes_and_a_sole_administrator_types_it_twice() {
        for (is_sole, answers, expected) in [
            (false, &["alice\n"][..], (Consent::Agreed, 1)),
            (false, &[" alice \n"][..], (Consent::Agreed, 1)),
            (false, &["Alice\n"][..], (Consent::Declined, 1)),
            (false, &["y\n"][..], (Consent::Declined, 1)),
            (false, &["\n"][..], (Consent::Declined, 1)),
            (false, &[""][..], (Consent::Declined, 1)),
            (false, &["^C"][..], (Consent::Interrupted, 1)),
            (true, &["alice\n", "alice\n"][..], (Consent::Agreed, 2)),
            (true, &["alice\n", "yes\n"][..], (Consent::Declined, 2)),
            (true, &["alice\n", "^C"][..], (Consent::Interrupted, 2)),
            (true, &["no\n"][..], (Consent::Declined, 1)),
        ] {
            assert_eq!(asked(is_sole, answers), expected, "{is_sole} {answers:?}");
        }
    }

    #[test]
    fn the_second_question_says_that_nobody_would_be_left() {
        let mut last = String::new();
        agreed("alice", /*is_sole*/ true, |question| {
            question.clone_into(&mut last);
            Answer::Line("alice".to_owned())
        });
        assert!(last.starts_with("WARNING: nobody would be left"), "{last}");
        assert!(last.ends_with("\nType the account's name once more to go on nevertheless: "));
        for line in fitted(&last, Some(52)).lines() {
            assert!(line.trim_end().len() <= 52, "{line}");
        }
    }

    #[test]
    fn a_question_fits_and_keeps_where_somebody_types() {
        assert_eq!(fitted("one two three: ", Some(9)), "one two\nthree: ");
        assert_eq!(fitted("  pid 1 a\nsure? ", Some(80)), "  pid 1 a\nsure? ");
        assert_eq!(fitted("one two three: ", None), "one two three: ");
    }

    #[test]
    fn processes_are_named_before_they_are_to_end() {
        let process = |pid| StaleProcess {
            pid,
            uid: 1_000,
            started: 1,
            name: "tmux\u{1b}".to_owned(),
            command: "tmux new".to_owned(),
            gids: BTreeSet::from([27]),
            is_ours: false,
        };
        let one = "  pid 7 tmux\\u{1b}\nEnd this process, which has what was given up? Unsaved work is lost. [y/N] ";
        assert_eq!(ending_question(&[process(7)]), one);
        let many: Vec<StaleProcess> = (1..=14).map(process).collect();
        let question = ending_question(&many);
        assert_eq!(question.lines().count(), 14);
        assert!(
            question.contains("\n  and 2 more, as the plan says\nEnd these processes, which have")
        );
    }

    #[test]
    fn an_agreement_names_the_account_exactly() {
        let account = Account {
            name: "alice".to_owned(),
            uid: 1_000,
            gid: 1_000,
            home: "/home/alice".into(),
            shell: "/bin/sh".into(),
            groups: Vec::new(),
        };
        assert!(check_name(None, &account).is_ok() && check_name(Some("alice"), &account).is_ok());
        for wrong in ["bob", "1000", "", "alice "] {
            let error = check_name(Some(wrong), &account).unwrap_err();
            assert!(
                matches!(error, CommandError::Relinquish(RelinquishError::OtherName { .. })),
                "{wrong:?}: {error:?}"
            );
        }
    }
}
