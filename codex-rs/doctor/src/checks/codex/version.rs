//! Asking a program for its version: with a time limit, and with no more of the environment than it takes to start it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::timeout;

/// No version is longer, in bytes.
const MAX_ANSWER_BYTES: u64 = 200;
/// What a program may need to start and to answer. All others may be a key, or say what it loads.
const PASSED_ON: [&str; 6] = ["PATH", "HOME", "LANG", "TERM", "TMPDIR", "USER"];
/// How more of those begin (locale(7)).
const PASSED_ON_BEGINNING: &str = "LC_";

/// Why there is no version.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoVersion {
    /// It had not answered by then.
    Late(Duration),
    /// It could not be started, or not be read; with the system's words.
    Broken(String),
}

/// The first line of what it says.
pub(super) async fn asked(
    program: &OsStr,
    arguments: &[&str],
    variables: &BTreeMap<OsString, OsString>,
    limit: Duration,
) -> Result<String, NoVersion> {
    let passed_on = variables.iter().filter(|(name, _)| is_passed_on(name));
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(passed_on);
    command.env("CODEX_PROXY", "0"); // Should it lead back to us: to be handed on at once.
    // Codex makes folders in its own before it says anything. Here it can't, and says it all the same.
    command.env("CODEX_HOME", "/dev/null");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    // A group of its own, because what npm installs starts another program.
    command.process_group(0).kill_on_drop(true);
    let broken = |error: io::Error| NoVersion::Broken(error.to_string());
    let mut child = command.spawn().map_err(broken)?;
    let mut group = Group(child.id());
    let answer = async {
        let mut answer = Vec::new();
        if let Some(output) = child.stdout.take() {
            output.take(MAX_ANSWER_BYTES).read_to_end(&mut answer).await?;
        }
        child.wait().await?;
        io::Result::Ok(answer)
    };
    let answer = timeout(limit, answer).await.map_err(|_| NoVersion::Late(limit))?;
    let answer = answer.map_err(broken)?;
    group.0 = None; // It has ended, and its number may soon be another's.
    let answer = String::from_utf8_lossy(&answer).into_owned();
    Ok(answer.lines().next().unwrap_or_default().trim().to_owned())
}

fn is_passed_on(name: &OsStr) -> bool {
    let is_named = |name: &str| PASSED_ON.contains(&name) || name.starts_with(PASSED_ON_BEGINNING);
    name.to_str().is_some_and(is_named)
}

/// Processes that end with this, unless the first of them has been waited for. Until then no other has its number.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let first = self.0.and_then(|pid| i32::try_from(pid).ok());
        if let Some(first) = first {
            let _ = killpg(Pid::from_raw(first), Signal::SIGKILL);
        }
    }
}

/// The three numbers in what a program says of its version: `codex-cli 0.169.0`.
pub(super) fn numbers(said: &str) -> Option<[u32; 3]> {
    let version =
        said.split_whitespace().find(|word| word.starts_with(|it: char| it.is_ascii_digit()))?;
    let version = version.split(['-', '+']).next()?;
    let numbers: Option<Vec<u32>> = version.split('.').map(|number| number.parse().ok()).collect();
    numbers?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::os::unix::fs::OpenOptionsExt;
    use std::time::Instant;

    use nix::fcntl::OFlag;

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    async fn said(script: &str, limit: Duration) -> Result<String, NoVersion> {
        let variables = [
            ("PATH", "/usr/bin:/bin"),
            ("LC_ALL", "C"),
            ("OPENAI_API_KEY", "sk-x"),
            ("MY_THING", "sk-x"),
            ("NODE_OPTIONS", "--require=x"),
            ("CODEX_HOME", "/home/a/.codex"),
        ];
        let variables =
            variables.map(|(name, value)| (OsString::from(name), OsString::from(value))).into();
        asked(OsStr::new("/bin/sh"), &["-c", script], &variables, limit).await
    }

    #[tokio::test]
    async fn a_program_says_its_first_line_and_has_no_key_nor_input_nor_folder() {
        for (script, expected) in [
            ("echo codex-cli 0.169.0; echo more", "codex-cli 0.169.0"),
            ("echo ${OPENAI_API_KEY-none} ${MY_THING-none} ${NODE_OPTIONS-none}", "none none none"),
            ("echo $PATH $LC_ALL $CODEX_PROXY $CODEX_HOME", "/usr/bin:/bin C 0 /dev/null"),
            ("read it || echo nothing", "nothing"),
            ("echo secret >&2; exit 3", ""),
        ] {
            assert_eq!(said(script, LONG).await.as_deref(), Ok(expected), "{script}");
        }
        let long = said("while :; do printf 0123456789; done", LONG).await.unwrap();
        assert_eq!(long.len() as u64, MAX_ANSWER_BYTES, "it ends when nobody reads on");
    }

    #[tokio::test]
    async fn a_program_that_does_not_answer_ends_with_all_that_it_has_started() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        // Whoever has it open lives.
        let script = format!("exec 3<>'{}'; sleep 1000 & sleep 1000", pipe.display());
        let limit = Duration::from_millis(300);
        assert_eq!(said(&script, limit).await, Err(NoVersion::Late(limit)));
        // Without a reader it can't be opened for writing.
        let began = Instant::now();
        let mut writing = OpenOptions::new();
        writing.write(true).custom_flags(OFlag::O_NONBLOCK.bits());
        while writing.open(&pipe).is_ok() {
            assert!(began.elapsed() < LONG, "something of it still runs");
            std::thread::yield_now();
        }
    }

    #[tokio::test]
    async fn what_can_not_be_started_says_why() {
        let none = asked(OsStr::new("/nowhere/codex"), &[], &BTreeMap::new(), LONG).await;
        let Err(NoVersion::Broken(why)) = none else { panic!("{none:?}") };
        assert!(why.starts_with("No such file"), "{why}");
    }

    #[test]
    fn a_version_is_three_numbers() {
        for (said, expected) in [
            ("codex-cli 0.169.0", Some([0, 169, 0])),
            ("codex-cli 0.170.0-alpha.3", Some([0, 170, 0])),
            ("1.2.3+build", Some([1, 2, 3])),
            ("codex-cli 1.2", None),
            ("codex-cli 1.2.x", None),
            ("codex-cli", None),
            ("", None),
        ] {
            assert_eq!(numbers(said), expected, "{said:?}");
        }
    }
}
