//! Why a verb failed, each with its remedy.

use std::io;
use std::path::PathBuf;

use codex_config::{ConfigError, EditError, HomeError, NotInstalled};
use codex_doctor::masked;
use codex_key_custody::CustodyError;
use codex_peer_identity::IdentityError;
use codex_proxy_client::ControlError;
use codex_request_log::LogFileError;
use codex_responses_api_proxy::plain::plain;
use codex_responses_api_proxy::report;
use thiserror::Error;

use super::relinquish::RelinquishError;

pub(crate) const START_ONE: &str = "start one: printenv OPENAI_API_KEY | codex proxy --daemon";
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
    #[error(transparent)]
    Config(ConfigError),
    #[error(transparent)]
    Home(#[from] HomeError),
    #[error(transparent)]
    NotInstalled(#[from] NotInstalled),
    #[error("nobody listens on 127.0.0.1:{port}")]
    NobodyListens { port: u16 },
    #[error(
        "127.0.0.1:{port} is listened on by {account}, which is neither root nor the account whose Codex it would serve"
    )]
    ForeignListener { port: u16, account: String },
    #[error("who listens on 127.0.0.1:{port} can't be told")]
    UnknownListener { port: u16, source: IdentityError },
    #[error("the proxy on port {port} (pid {pid}) is coming to its end")]
    Draining { port: u16, pid: u32 },
    #[error("--user {user}: only root changes another account's configuration", user = plain(user))]
    OnlyRootForOthers { user: String },
    /// Under sudo.
    #[error("whose Codex is meant, {user}'s or root's?", user = plain(user))]
    WhichUser { user: String },
    /// `way` says where and by whom.
    #[error("root would write where others can change what that leads to: {way}", way = plain(way))]
    NotRootsAlone { way: String },
    #[error("this process could not become {account}", account = plain(account))]
    Becoming { account: String, source: io::Error },
    #[error(
        "--verify runs one small turn, which the owner of the key pays for, and nobody is there to be asked"
    )]
    NobodyToAsk,
    #[error("--verify would run what {account}'s configuration names from this terminal", account = plain(account))]
    VerifyForOther { account: String },
    #[error("the proxy on port {port} tells this account nothing, so no turn can be verified")]
    NoRecords { port: u16 },
    #[error("no empty folder could be made for Codex to run in")]
    Folder(#[source] io::Error),
    #[error("{program} can't be run", program = plain(&program.to_string_lossy()))]
    Running { program: PathBuf, source: io::Error },
    /// `said` are lines: what Codex said last, each after a line's end.
    #[error("not verified: {why}{said}")]
    NotVerified { why: String, said: String },
    #[error(transparent)]
    Relinquish(#[from] RelinquishError),
    /// What was to be done is done.
    #[error("it was done, but standard output can't be written")]
    DoneUntold(#[source] io::Error),
    #[error("standard output can't be written")]
    Output(#[source] io::Error),
    /// What was to be done is done.
    #[error("the key was replaced, but standard output can't be written")]
    ReplacedUntold(#[source] io::Error),
}

/// Somebody may have put a key where the name of a table belongs.
impl From<ConfigError> for CommandError {
    fn from(mut error: ConfigError) -> Self {
        if let ConfigError::Edit { source: EditError::Conflict { name: Some(name) }, .. } =
            &mut error
        {
            *name = masked(name);
        }
        Self::Config(error)
    }
}

impl CommandError {
    /// Whether it only means that whoever read the output has had enough.
    pub(crate) fn reader_left(&self) -> bool {
        matches!(self, Self::Output(error) | Self::ReplacedUntold(error) | Self::DoneUntold(error) if error.kind() == io::ErrorKind::BrokenPipe)
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
            Self::Config(error) => return Some(error.hint()),
            Self::Home(error) => return Some(error.hint()),
            Self::NotInstalled(error) => error.hint(),
            Self::NobodyListens { port } => {
                return Some(format!(
                    "start a proxy there: printenv OPENAI_API_KEY | codex proxy --daemon --port {port}"
                ));
            }
            Self::ForeignListener { port, .. } => {
                return Some(format!(
                    "it would read every prompt: find out what it is (sudo ss -ltnp 'sport = :{port}'), and use another port"
                ));
            }
            Self::UnknownListener { .. } => "name the proxy with --server-info",
            Self::Draining { .. } => START_ONE,
            Self::OnlyRootForOthers { .. } => "use sudo, or leave --user out",
            Self::WhichUser { user } => {
                return Some(format!("say --user {}, or --user root", plain(user)));
            }
            Self::NotRootsAlone { .. } => "say whose Codex is meant: --user NAME",
            Self::Becoming { .. } => "run it as that account",
            Self::NobodyToAsk => "say --yes as well",
            Self::VerifyForOther { .. } => "log in as that account: codex proxy point --verify",
            Self::NoRecords { .. } => "ask as root with sudo, or as the account that started it",
            Self::NotVerified { .. } => {
                "the pointing stays; `codex proxy log` shows what the proxy saw"
            }
            Self::Relinquish(error) => return error.hint(),
            Self::SeveralRun { .. }
            | Self::Folder(_)
            | Self::Running { .. }
            | Self::DoneUntold(_)
            | Self::Reading { .. }
            | Self::Output(_)
            | Self::ReplacedUntold(_) => return None,
        };
        Some(hint.to_owned())
    }
}
