//! A user's own run: it goes through sudo by itself, one last time, and is only watched from here.
//!
//! sudo is asked first whether it would do that (`sudo -l`, which asks for the password where one is needed). `sudo -v`
//! says yes to accounts that may run something else only, and even to those whose last rule denies all.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use codex_config::shell_word;
use codex_privileges::Account;
use codex_responses_api_proxy::plain::plain;
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::error::RelinquishError;
use crate::args::RelinquishSudoArgs;
use crate::commands::End;
use crate::commands::error::CommandError;
use crate::commands::screen::say;

/// Where systems have it. What PATH says is the agent's to choose, and a false sudo would get a password.
const SUDO: [&str; 4] =
    ["/usr/bin/sudo", "/bin/sudo", "/usr/local/bin/sudo", "/run/wrappers/bin/sudo"];
const ENV: &str = "/usr/bin/env";
/// What PAM is asked by sudo. Everybody may read it.
const PAM: &str = "/etc/pam.d/sudo";
const SETUID: u32 = 0o4000;
/// Added to a signal's number in an exit code, as shells do.
const BY_SIGNAL: i32 = 128;

/// What came of it.
#[derive(Debug)]
pub(super) enum Through {
    /// It ran as root, and ended like this.
    Ended(End),
    /// There is no way through sudo from here.
    Shut(Shut),
}

/// Why root will do nothing for an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shut {
    /// There is no sudo on this machine.
    NoSudo,
    /// sudo did not let it through, and said why.
    Door,
    /// It has given sudo up.
    GivenUp,
}

impl Shut {
    pub(super) fn error(self, account: &Account, is_plan: bool) -> RelinquishError {
        let name = super::course::shown_name(account);
        match self {
            Self::NoSudo => RelinquishError::NoSudoHere { name },
            Self::Door => RelinquishError::NotLetThrough { name, is_plan },
            Self::GivenUp => RelinquishError::GivenUp { name },
        }
    }
}

pub(super) async fn run(
    args: &RelinquishSudoArgs,
    account: &Account,
) -> Result<Through, CommandError> {
    // Before a password is asked for that helps nobody.
    if fs::read(PAM).is_ok_and(|text| has_given_up(&text, account.uid)) {
        return Ok(Through::Shut(Shut::GivenUp));
    }
    let Some(sudo) = SUDO.into_iter().map(Path::new).find(|sudo| is_sudo(sudo)) else {
        return Ok(Through::Shut(Shut::NoSudo));
    };
    let program = env::current_exe().map_err(RelinquishError::OwnPath)?;
    let words = command_line(&program, args, account.uid, env::var_os("NO_COLOR"));
    let what = if args.plan { "looking everywhere" } else { "giving sudo up" };
    say(&format!("{what} takes root once more: sudo -- {}", typed(&words)));
    let failed = |source| CommandError::Running { program: sudo.to_owned(), source };
    let mut keys = Keys::heard().map_err(failed)?;
    let mut asked = Command::new(sudo);
    asked.args(["-l", "--"]).args(&words).stdout(Stdio::null());
    let (status, is_interrupted) =
        keys.wait_for(asked.spawn().map_err(failed)?).await.map_err(failed)?;
    if is_interrupted {
        say(super::course::NOTHING_CHANGED);
        return Ok(Through::Ended(End::Interrupted));
    }
    if !status.success() {
        return Ok(Through::Shut(Shut::Door));
    }
    let mut child = Command::new(sudo);
    child.arg("--").args(&words);
    let (status, _) = keys.wait_for(child.spawn().map_err(failed)?).await.map_err(failed)?;
    Ok(Through::Ended(end(status)))
}

/// ^C and ^\ are for the program that sudo runs. Heard here, they do not end this one before it; what is started hears
/// them as ever, since handlers end with execve(2), unlike what is held or ignored.
struct Keys {
    interrupt: Signal,
    quit: Signal,
}

impl Keys {
    fn heard() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, quit: signal(SignalKind::quit())? })
    }

    /// How it ended, and whether one of them came meanwhile.
    async fn wait_for(&mut self, mut child: Child) -> io::Result<(ExitStatus, bool)> {
        let mut is_interrupted = false;
        loop {
            tokio::select! {
                biased;
                Some(()) = self.interrupt.recv() => is_interrupted = true,
                Some(()) = self.quit.recv() => is_interrupted = true,
                status = child.wait() => return Ok((status?, is_interrupted)),
            }
        }
    }
}

/// Root's, and setuid.
fn is_sudo(path: &Path) -> bool {
    fs::metadata(path)
        .is_ok_and(|found| found.is_file() && found.uid() == 0 && found.mode() & SETUID != 0)
}

/// By the comment that stands above the line of PAM's that locks the account out.
fn has_given_up(pam: &[u8], uid: u32) -> bool {
    let comment = format!("# uid {uid} gave sudo up (codex proxy relinquish-sudo)");
    pam.split(|byte| *byte == b'\n').any(|line| line == comment.as_bytes())
}

/// What sudo is to run: this very program, with the same flags, about this account.
fn command_line(
    program: &Path,
    args: &RelinquishSudoArgs,
    uid: u32,
    no_color: Option<OsString>,
) -> Vec<OsString> {
    let RelinquishSudoArgs { user: _, plan, yes_relinquish, end_processes, json, then_exec } = args;
    let mut words: Vec<OsString> = Vec::new();
    // sudo takes it out of the environment.
    if let Some(value) = no_color.filter(|value| !value.is_empty()) {
        let mut setting = OsString::from("NO_COLOR=");
        setting.push(value);
        words.extend([ENV.into(), setting]);
    }
    words.push(program.as_os_str().to_owned());
    words.extend(["proxy", "relinquish-sudo", "--user"].map(OsString::from));
    words.push(uid.to_string().into());
    for (is_set, flag) in [(plan, "--plan"), (end_processes, "--end-processes"), (json, "--json")] {
        if *is_set {
            words.push(flag.into());
        }
    }
    if let Some(name) = yes_relinquish {
        words.push(format!("--yes-relinquish={name}").into());
    }
    if !then_exec.is_empty() {
        words.push("--then-exec".into()); // Last: it takes all that follows.
        words.extend(then_exec.iter().cloned());
    }
    words
}

/// As a person would type it.
fn typed(words: &[OsString]) -> String {
    let word = |word: &OsString| shell_word(&word.to_string_lossy());
    plain(&words.iter().map(word).collect::<Vec<_>>().join(" ")).into_owned()
}

fn end(status: ExitStatus) -> End {
    let code = status.code().or_else(|| Some(BY_SIGNAL + status.signal()?));
    match code.and_then(|code| u8::try_from(code).ok()) {
        Some(code) => End::Code(code),
        None => End::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(args: &RelinquishSudoArgs, no_color: Option<&str>) -> String {
        let program = Path::new("/opt/our tools/codex");
        typed(&command_line(program, args, 1_000, no_color.map(OsString::from)))
    }

    #[test]
    fn the_same_flags_go_through_sudo_and_the_account_by_its_number() {
        let begin = "'/opt/our tools/codex' proxy relinquish-sudo --user 1000";
        let none = RelinquishSudoArgs { user: Some("alice".to_owned()), ..Default::default() };
        assert_eq!(line(&none, None), begin);
        assert_eq!(line(&none, Some("")), begin);
        assert_eq!(line(&none, Some("1")), format!("/usr/bin/env NO_COLOR=1 {begin}"));
        let all = RelinquishSudoArgs {
            user: None,
            plan: true,
            yes_relinquish: Some("alice".to_owned()),
            end_processes: true,
            json: true,
            then_exec: ["codex", "--json", "say hi"].map(OsString::from).to_vec(),
        };
        let expected = format!(
            "{begin} --plan --end-processes --json --yes-relinquish=alice --then-exec codex --json 'say hi'"
        );
        assert_eq!(line(&all, None), expected);
    }

    #[test]
    fn who_gave_sudo_up_is_known_by_the_comment_with_that_very_uid() {
        let pam = b"#%PAM-1.0\n# uid 1000 gave sudo up (codex proxy relinquish-sudo)\n\
            account requisite pam_succeed_if.so quiet uid ne 1000\n@include common-auth\n";
        assert!(has_given_up(pam, 1_000));
        for other in [0, 1, 100, 10_000] {
            assert!(!has_given_up(pam, other), "{other}");
        }
        assert!(!has_given_up(b"", 1_000) && !has_given_up(b"#%PAM-1.0\n", 1_000));
    }

    #[test]
    fn its_exit_code_is_ours() {
        for (raw, expected) in [
            (0, End::Code(0)),
            (3 << 8, End::Code(3)),
            (255 << 8, End::Code(255)),
            (2, End::Code(130)),
            (15, End::Code(143)),
        ] {
            assert_eq!(end(ExitStatus::from_raw(raw)), expected, "{raw}");
        }
    }

    #[test]
    fn only_a_setuid_program_of_roots_is_sudo() {
        for path in ["/dev/null", "/etc/passwd", "/no/such/file", "/"] {
            assert!(!is_sudo(Path::new(path)), "{path}");
        }
    }
}
