//! What a command line of the public Codex CLI says about the way its requests take. Pure.
//!
//! Its flags are those of 0.169.0. What is not known is taken for a flag without a value: the words of a newer
//! one are then taken for a prompt, and at worst a proxy is looked for that this command line does not need.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// Whether a command line makes model requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asks {
    /// It does: without a proxy it is of no use.
    Yes,
    /// It serves others that may, or goes on long after the proxy has come back.
    Perhaps,
    /// It does not.
    No,
}

/// What matters here of a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CommandLine {
    pub(crate) asks: Asks,
    /// The texts of `-c`, in their order: of two that set the same, Codex takes the later one.
    pub(crate) overrides: Vec<String>,
    pub(crate) profile: Option<String>,
    /// `--oss` or `--local-provider`: a provider on this machine, whatever else is said.
    pub(crate) is_oss: bool,
    /// `--ignore-user-config`.
    pub(crate) ignores_user_config: bool,
}

/// Commands that serve programs that may ask, or hand a message on to one that does.
const PERHAPS: [&str; 5] = ["agents", "app-server", "mcp-server", "queue", "remote-control"];

/// Commands that do not. Any other word is a prompt.
const SILENT: [&str; 23] = [
    "a",
    "apply",
    "archive",
    "cloud",
    "cloud-tasks",
    "completion",
    "debug",
    "delete",
    "doctor",
    "exec-server",
    "execpolicy",
    "features",
    "help",
    "login",
    "logout",
    "mcp",
    "migrate-nfs-db",
    "migrate-rollouts",
    "plugin",
    "responses-api-proxy",
    "sandbox",
    "unarchive",
    "update",
];

/// Flags that take the next word, before a command. Those that matter here are read apart.
const WITH_A_VALUE: [&str; 12] = [
    "--add-dir",
    "--ask-for-approval",
    "--cd",
    "--disable",
    "--enable",
    "--model",
    "--remote-auth-token-env",
    "--sandbox",
    "-C",
    "-a",
    "-m",
    "-s",
];

/// Flags that take all words up to the next flag.
const WITH_VALUES: [&str; 2] = ["-i", "--image"];

impl CommandLine {
    /// Reads what is handed over.
    pub(crate) fn read(arguments: &[OsString]) -> Self {
        let mut read = Self {
            asks: Asks::Yes,
            overrides: Vec::new(),
            profile: None,
            is_oss: false,
            ignores_user_config: false,
        };
        let mut words = arguments.iter().map(OsString::as_os_str).peekable();
        let mut command = None;
        let (mut only_tells, mut is_remote) = (false, false);
        while let Some(word) = words.next() {
            if word == "--" {
                break; // The rest is prompts.
            } else if let Some(value) = value(word, "-c", "--config", &mut words) {
                read.overrides.push(value.to_string_lossy().into_owned());
            } else if let Some(value) = value(word, "-p", "--profile", &mut words) {
                read.profile = Some(value.to_string_lossy().into_owned());
            } else if word == "--oss" || word.as_bytes().starts_with(b"--local-provider=") {
                read.is_oss = true;
            } else if word == "--local-provider" {
                read.is_oss = true;
                words.next();
            } else if word == "--ignore-user-config" {
                read.ignores_user_config = true;
            } else if tells(word) {
                only_tells = true;
            } else if word.as_bytes().starts_with(b"--remote=") {
                is_remote = true;
            } else if word == "--remote" {
                is_remote = true;
                words.next();
            } else if is_one_of(word, &WITH_VALUES) {
                while words.next_if(|word| !is_flag(word)).is_some() {}
            } else if command.is_none() && is_one_of(word, &WITH_A_VALUE) {
                words.next();
            } else if command.is_none() && !is_flag(word) {
                command = Some(word);
                read.asks = asks(word);
            } else if command.is_some_and(|command| command == "app-server") && is_tool(word) {
                only_tells = true;
            }
        }
        // With --remote it is the server on the other end that asks.
        if only_tells || is_remote {
            read.asks = Asks::No;
        }
        read
    }
}

/// What the first word that is no flag means. A second one is a command's own, or a prompt's.
fn asks(word: &OsStr) -> Asks {
    if is_one_of(word, &SILENT) {
        Asks::No
    } else if is_one_of(word, &PERHAPS) {
        Asks::Perhaps
    } else {
        // exec, review, resume, fork, or a prompt.
        Asks::Yes
    }
}

/// Help or the version, and nothing else.
fn tells(word: &OsStr) -> bool {
    is_one_of(word, &["--help", "-h", "--version", "-V"])
}

/// A command of `app-server` that does not serve.
fn is_tool(word: &OsStr) -> bool {
    is_one_of(word, &["daemon", "proxy"]) || word.as_bytes().starts_with(b"generate-")
}

/// The value of a flag, in each way of writing it: `-c VALUE`, `-cVALUE`, `-c=VALUE`, `--config VALUE`, `--config=VALUE`.
fn value<'w>(
    word: &'w OsStr,
    short: &str,
    long: &str,
    words: &mut impl Iterator<Item = &'w OsStr>,
) -> Option<&'w OsStr> {
    if word == short || word == long {
        return words.next();
    }
    let bytes = word.as_bytes();
    let long_value = bytes.strip_prefix(long.as_bytes()).and_then(|rest| rest.strip_prefix(b"="));
    let short_value = || {
        let rest = bytes.strip_prefix(short.as_bytes())?;
        Some(rest.strip_prefix(b"=").unwrap_or(rest))
    };
    long_value.or_else(short_value).map(OsStr::from_bytes)
}

/// A lone dash is a prompt: standard input.
fn is_flag(word: &OsStr) -> bool {
    word.len() > 1 && word.as_bytes().starts_with(b"-")
}

fn is_one_of(word: &OsStr, known: &[&str]) -> bool {
    known.iter().any(|known| word == *known)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn read(words: &[&str]) -> CommandLine {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        CommandLine::read(&words)
    }

    #[test]
    fn what_asks_a_model_is_told_from_what_does_not() {
        for (words, expected) in [
            (&[][..], Asks::Yes),
            (&["fix the tests"], Asks::Yes),
            (&["-"], Asks::Yes),
            (&["exec", "say hi"], Asks::Yes),
            (&["e", "login"], Asks::Yes),
            (&["exec", "review"], Asks::Yes),
            (&["resume", "--last"], Asks::Yes),
            (&["fork"], Asks::Yes),
            (&["review", "--uncommitted"], Asks::Yes),
            (&["-m", "login"], Asks::Yes),
            (&["-C", "/tmp", "exec", "hi"], Asks::Yes),
            (&["-mgpt-5", "login"], Asks::No),
            (&["-m", "gpt-5", "login"], Asks::No),
            (&["--model=gpt-5", "login"], Asks::No),
            (&["--", "login"], Asks::Yes),
            (&["--", "--help"], Asks::Yes),
            (&["login", "status"], Asks::No),
            (&["logout"], Asks::No),
            (&["mcp", "list"], Asks::No),
            (&["completion", "bash"], Asks::No),
            (&["proxy"], Asks::Yes), // No command of theirs, and so a prompt.
            (&["responses-api-proxy"], Asks::No),
            (&["help", "exec"], Asks::No),
            (&["sandbox", "ls", "-h"], Asks::No),
            (&["--help"], Asks::No),
            (&["-V"], Asks::No),
            (&["exec", "--help"], Asks::No),
            (&["exec", "-h"], Asks::No),
            (&["exec", "--", "-h"], Asks::Yes),
            (&["app-server"], Asks::Perhaps),
            (&["app-server", "--help"], Asks::No),
            (&["app-server", "--listen", "unix://"], Asks::Perhaps),
            (&["app-server", "daemon", "stop"], Asks::No),
            (&["app-server", "generate-ts"], Asks::No),
            (&["mcp-server"], Asks::Perhaps),
            (&["-c", "a=1", "app-server"], Asks::Perhaps),
            // Codex takes these for images, up to the next flag.
            (&["-i", "a.png", "login"], Asks::Yes),
            (&["-i", "a.png", "--search", "login"], Asks::No),
            (&["--remote", "ws://127.0.0.1:1"], Asks::No),
            (&["--remote=ws://127.0.0.1:1", "resume"], Asks::No),
        ] {
            assert_eq!(read(words).asks, expected, "{words:?}");
        }
    }

    #[test]
    fn overrides_are_read_in_their_order_and_in_each_way_of_writing_them() {
        let words = ["-c", "a=1", "-cb=2", "-c=c=3", "exec", "--config", "d=4", "--config=e=5"];
        let seen = read(&[&words[..], &["hi", "-c", "f=6", "--", "-c", "g=7"]].concat());
        assert_eq!(seen.overrides, ["a=1", "b=2", "c=3", "d=4", "e=5", "f=6"]);
        assert_eq!(seen.asks, Asks::Yes);
        assert!(read(&["-c"]).overrides.is_empty());
    }

    #[test]
    fn the_last_profile_counts() {
        assert_eq!(read(&["hi"]).profile, None);
        for words in [
            &["-p", "mine"][..],
            &["-pmine"],
            &["-p=mine"],
            &["--profile", "mine", "exec"],
            &["-p", "other", "exec", "--profile=mine"],
        ] {
            assert_eq!(read(words).profile.as_deref(), Some("mine"), "{words:?}");
        }
        assert_eq!(read(&["--", "-p", "mine"]).profile, None);
    }

    #[test]
    fn flags_that_lead_elsewhere_are_seen() {
        assert!(read(&["--oss", "hi"]).is_oss && read(&["exec", "--oss"]).is_oss);
        assert!(read(&["--local-provider", "ollama"]).is_oss);
        assert!(read(&["exec", "--local-provider=ollama"]).is_oss);
        assert!(!read(&["--", "--oss"]).is_oss);
        assert!(read(&["exec", "--ignore-user-config", "hi"]).ignores_user_config);
        assert!(!read(&["exec", "hi"]).ignores_user_config);
    }

    #[test]
    fn odd_bytes_are_no_obstacle() {
        let odd = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        let seen = CommandLine::read(&[odd(b"\xff"), odd(b""), odd(b"-c\xfe=1"), odd(b"-\xff")]);
        assert_eq!((seen.asks, seen.overrides), (Asks::Yes, vec!["\u{fffd}=1".to_owned()]));
    }
}
