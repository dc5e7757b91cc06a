//! `codex proxy point --verify`: one real turn of the public Codex, and the proxy's own record of it as the proof.
//!
//! Codex's word is not enough: it may have asked somebody else. A record of this account's that the proxy has begun since is.

use std::env;
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use codex_config::{
    CodexHome, FileId, Lookup, PROVIDER, PublicCodex, exempting_loopback, find_public_codex,
};
use codex_proxy_client::{Lines, RecordsQuery};
use codex_request_log::{Filter, Record};
use tokio::process::Command;
use tokio::time::timeout;

use super::error::CommandError;
use super::running::{Running, Seen};
use super::target::Target;
use super::until_interrupted;

/// As small as a turn can be.
const PROMPT: &str = "Answer with the one word: ok";
/// What a person is asked.
const QUESTION: &str =
    "Run one small turn of Codex through the proxy? The owner of the key pays for it. [y/N] ";
/// How long Codex may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// The proxy's records of the account, from now on.
#[derive(Debug)]
pub(crate) struct Watch {
    lines: Lines,
}

impl Watch {
    /// Asks the proxy for them.
    pub(crate) async fn open(target: &Target, uid: u32) -> Result<Self, CommandError> {
        let Some(proxy) = &target.proxy else {
            return Err(CommandError::NoRecords { port: target.port });
        };
        let filter = Filter { uid: Some(uid), ..Filter::default() };
        let query = RecordsQuery { last: Some(0), after: None, follow: true, filter };
        Ok(Self { lines: proxy.control().records(&query).await? })
    }
}

/// With which configuration Codex runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn<'t> {
    pub(crate) home: &'t CodexHome,
    pub(crate) profile: bool,
}

/// How it ended.
#[derive(Debug)]
pub(crate) enum Verified {
    Seen(Box<Record>),
    Declined,
    Interrupted,
}

/// One turn, if the person agrees.
pub(crate) async fn verify(
    turn: &Turn<'_>,
    watch: Watch,
    yes: bool,
) -> Result<Verified, CommandError> {
    let codex = public_codex()?;
    if !yes && !is_agreed() {
        return Ok(Verified::Declined);
    }
    let folder = tempfile::tempdir().map_err(CommandError::Folder)?;
    let command = turn.command(&codex.program, folder.path());
    let mut running = None;
    // ^C is held by then, and so no Codex is left behind.
    let watched = until_interrupted(async {
        let running = running.insert(Running::start(command)?);
        Ok::<_, std::io::Error>(timeout(PATIENCE, running.watched(watch.lines)).await)
    })
    .await;
    let said = match running {
        Some(running) => running.end().await,
        None => Vec::new(),
    };
    let Some(watched) = watched else { return Ok(Verified::Interrupted) };
    let watched = watched
        .map_err(|source| CommandError::Running { program: codex.program.clone(), source })?;
    let why = match watched {
        Ok(Ok((status, seen))) => match verdict(status, seen) {
            Ok(record) => return Ok(Verified::Seen(record)),
            Err(why) => why,
        },
        Ok(Err(why)) => why,
        Err(_) => format!("Codex did not end within {} s", PATIENCE.as_secs()),
    };
    Err(CommandError::NotVerified { why, said: listed(&said) })
}

/// Whether it was the turn that was asked for.
fn verdict(status: ExitStatus, seen: Seen) -> Result<Box<Record>, String> {
    let ended = match status.code() {
        Some(0) => "Codex ended well".to_owned(),
        Some(code) => format!("Codex ended with exit code {code}"),
        None => "Codex was ended by a signal".to_owned(),
    };
    match (seen.completed, seen.last) {
        (Some(record), _) if status.success() => Ok(record),
        (_, None) => Err(format!("{ended}, and the proxy has seen no request of this account")),
        (_, Some(record)) => Err(format!("{ended}; the proxy's record: {record}")),
    }
}

/// What became of it, for people.
pub(crate) fn sentence(record: &Record) -> String {
    let model = record.model.as_deref().unwrap_or("an unknown model");
    let usage = record.usage.map(|usage| usage.to_string()).filter(|usage| !usage.is_empty());
    let usage = usage.map(|usage| format!(", {usage}")).unwrap_or_default();
    let (id, took) = (record.id, record.duration_ms);
    format!(
        "verified: a turn of Codex went through the proxy, its record #{id}: {model}{usage}, {took} ms"
    )
}

impl Turn<'_> {
    fn command(&self, program: &Path, folder: &Path) -> Command {
        let mut command = Command::new(program);
        command.args(["exec", "--skip-git-repo-check", "--sandbox", "read-only"]);
        if self.profile {
            command.args(["-p", PROVIDER]);
        }
        command.arg(PROMPT);
        let now = ["NO_PROXY", "no_proxy"].iter().find_map(|name| env::var(name).ok());
        let no_proxy = exempting_loopback(now.as_deref());
        command
            .env("NO_PROXY", &no_proxy)
            .env("no_proxy", &no_proxy)
            .env("CODEX_HOME", self.home.folder())
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // A group of its own, so that all of it can be ended, and ^C is ours.
            .process_group(0)
            .kill_on_drop(true);
        command
    }
}

fn public_codex() -> Result<PublicCodex, CommandError> {
    let (path, real_bin) = (variable("PATH"), variable("CODEX_REAL_BIN"));
    let ourselves: Vec<FileId> = FileId::of_this_program().into_iter().collect();
    let lookup =
        Lookup { path: path.as_deref(), real_bin: real_bin.as_deref(), passed_over: &ourselves };
    Ok(find_public_codex(&lookup)?)
}

fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// Asks at the terminal; whatever is not yes is no.
fn is_agreed() -> bool {
    let mut stderr = std::io::stderr();
    let _ = stderr.write_all(QUESTION.as_bytes()).and_then(|()| stderr.flush());
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    read.is_ok() && means_yes(&answer)
}

pub(crate) fn means_yes(answer: &str) -> bool {
    let answer = answer.trim();
    answer.eq_ignore_ascii_case("y") || answer.eq_ignore_ascii_case("yes")
}

/// Each line after a line's end.
fn listed(said: &[String]) -> String {
    if said.is_empty() {
        return String::new();
    }
    let lines: String = said.iter().map(|line| format!("\n  {line}")).collect();
    format!("\nwhat Codex said last:{lines}")
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use codex_request_log::Outcome;

    use super::super::running::testing::record;
    use super::*;

    fn ended(code: i32) -> ExitStatus {
        ExitStatus::from_raw(code << 8)
    }

    /// What has been seen after these.
    fn seen(records: Vec<Record>) -> Seen {
        let mut seen = Seen::default();
        let began = record("cut", 200).started_at;
        records.into_iter().for_each(|record| seen.take(Box::new(record), began));
        seen
    }

    #[test]
    fn only_a_turn_that_both_say_went_well_is_a_proof() {
        for records in [
            vec![record("cut", 200), record("completed", 200)],
            vec![record("completed", 200), record("refused", 403)],
        ] {
            let proof = verdict(ended(0), seen(records)).unwrap();
            assert_eq!(proof.outcome, Outcome::Completed);
        }
        for (code, records, expected) in [
            (0, vec![], "Codex ended well, and the proxy has seen no request of this account"),
            (1, vec![], "Codex ended with exit code 1, and the proxy has seen no request"),
            (
                1,
                vec![record("completed", 401)],
                "Codex ended with exit code 1; the proxy's record: ",
            ),
            (0, vec![record("refused", 403)], "Codex ended well; the proxy's record: "),
        ] {
            let why = verdict(ended(code), seen(records)).unwrap_err();
            assert!(why.starts_with(expected), "{why}");
        }
        let why = verdict(ExitStatus::from_raw(9), Seen::default()).unwrap_err();
        assert!(why.starts_with("Codex was ended by a signal"), "{why}");
    }

    #[test]
    fn a_proof_is_one_sentence() {
        assert_eq!(
            sentence(&record("completed", 200)),
            "verified: a turn of Codex went through the proxy, its record #7: gpt-5, 1234 ms"
        );
    }

    #[test]
    fn whatever_is_not_yes_is_no() {
        for (answer, expected) in [
            ("y\n", true),
            ("Yes\n", true),
            (" YES ", true),
            ("\n", false),
            ("", false),
            ("n\n", false),
            ("yep\n", false),
        ] {
            assert_eq!(means_yes(answer), expected, "{answer:?}");
        }
    }

    #[test]
    fn what_codex_said_stands_below() {
        assert_eq!(listed(&[]), "");
        let said = ["one".to_owned(), "two".to_owned()];
        assert_eq!(listed(&said), "\nwhat Codex said last:\n  one\n  two");
    }
}
