//! Why a verb failed, each with its remedy.

use std::io;
use std::path::PathBuf;

use codex_key_custody::CustodyError;
use codex_proxy_client::ControlError;
use codex_request_log::LogFileError;
use codex_responses_api_proxy::report;
use thiserror::Error;

use super::plain::plain;

pub(crate) const START_ONE: &str = "start one: printenv OPENAI_API_KEY | codex proxy";
pub(crate) const LOOK_EVERYWHERE: &str =
    "with neither --server-info nor CODEX_PROXY_SERVER_INFO the run folders are looked through";

#[derive(Debug, Error)]
pub(crate) enum CommandError {
    /// `why` says where was looked, or what was found in place of a proxy.
    #[error("no proxy runs: {why}")]
    NoneRuns { why: String, hint: Option<String> },
    /// `found` are lines: what was found, each after a line's end.
    #[error("no proxy tells this account about itself:{found}")]
    NoneAnswers { found: String, hint: Option<String> },
    /// It was named.
    #[error("there is no file {file}", file = plain(&file.to_string_lossy()))]
    NoSuchFile { file: PathBuf },
    /// `choices` are lines: the command to type, and what it means.
    #[error("{count} proxies run, so say which one is meant:\n{choices}")]
    SeveralRun { count: usize, choices: String },
    #[error("--user {user:?}: there is no such account")]
    NoSuchUser {
        user: String,
        /// What the system said, if it was not simply no.
        source: Option<io::Error>,
    },
    #[error(transparent)]
    LogFile(#[from] LogFileError),
    #[error("{file} could not be read", file = file.display())]
    Reading { file: PathBuf, source: io::Error },
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error("pid {pid} still runs {seconds} s after its last answer")]
    StillRuns { pid: u32, seconds: u64 },
    /// Somebody was asked for it.
    #[error("{words}; the old key stays in use", words = report::in_one_line(error))]
    TypedKey { error: CustodyError },
    #[error("standard input can't be handed to the proxy")]
    Handing(#[source] io::Error),
    #[error("standard output can't be written")]
    Output(#[source] io::Error),
    /// What was to be done is done.
    #[error("the key was replaced, but standard output can't be written")]
    ReplacedUntold(#[source] io::Error),
}

impl CommandError {
    /// Whether it only means that whoever read the output has had enough.
    pub(crate) fn reader_left(&self) -> bool {
        matches!(self, Self::Output(error) | Self::ReplacedUntold(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    pub(crate) fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoneRuns { hint: None, .. } => START_ONE,
            Self::NoneRuns { hint, .. } | Self::NoneAnswers { hint, .. } => return hint.clone(),
            Self::NoSuchFile { .. } => LOOK_EVERYWHERE,
            Self::NoSuchUser { .. } => "give a name that `getent passwd` knows, or a uid",
            Self::LogFile(error) => return Some(error.reading_hint().to_owned()),
            Self::Control(error) => return error.hint().map(|hint| hint.to_string()),
            Self::StillRuns { .. } => "look at it with `ps`; end it with `kill -9`",
            Self::TypedKey { error: CustodyError::Empty } => {
                "type or paste the new key, and then Enter"
            }
            // The proxy reads it itself, then, and this process needs no memory for it.
            Self::TypedKey {
                error: CustodyError::Lock(_) | CustodyError::Page(_) | CustodyError::Read(_),
            }
            | Self::Handing(_) => "pipe the key in: `printenv NEW_KEY | codex proxy rotate-key`",
            Self::TypedKey { error } => error.hint(),
            Self::SeveralRun { .. }
            | Self::Reading { .. }
            | Self::Output(_)
            | Self::ReplacedUntold(_) => return None,
        };
        Some(hint.to_owned())
    }
}
