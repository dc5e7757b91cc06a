//! Why a command line was not handed over, each with its remedy.

use std::io;
use std::path::PathBuf;

use codex_config::{ConfigError, Layer, NotInstalled};
use thiserror::Error;

#[derive(Debug, Error)]
pub(crate) enum HandOverError {
    #[error(transparent)]
    NotInstalled(#[from] NotInstalled),
    #[error("`codex` calls itself through {program:?}, {depth} times by now")]
    Loop { program: PathBuf, depth: u32 },
    #[error("{program:?} can't be run")]
    Exec { program: PathBuf, source: io::Error },
    #[error("pointed at {base_url}, but nothing listens there")]
    NothingListens { base_url: String, hint: String },
    #[error("{file} can't be looked at (it {what}), so whether it points at the proxy is not known", file = file.display())]
    Unread { file: PathBuf, what: String },
    #[error("whether an HTTP proxy would get your prompts is not known")]
    UnreadEnv(#[source] ConfigError),
    #[error("{layer} writes the proxy's address in a way that can't be looked at")]
    OddAddress { layer: Layer },
    #[error("port {port} belongs to {owner}, not to your proxy")]
    Foreign { port: u16, owner: String, hint: String },
    /// `proxies` are lines.
    #[error("{because}, and {count} proxies run:\n{proxies}")]
    Several { because: String, count: usize, proxies: String },
    #[error("CODEX_PROXY=1, but no proxy runs")]
    NoneRuns { hint: String },
    #[error("CODEX_PROXY=1, but {layer} chooses the provider {provider:?}")]
    Overruled { layer: Layer, provider: String },
}

impl HandOverError {
    /// What the person at the keyboard can do about it.
    pub(crate) fn hint(&self) -> String {
        match self {
            Self::NotInstalled(error) => error.hint().to_owned(),
            Self::Loop { .. } => {
                "name the public Codex CLI itself: CODEX_REAL_BIN=/path/to/codex; if it does not call itself: unset CODEX_HANDED_OVER".to_owned()
            }
            Self::Exec { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "what its first line names is not there: install it, or codex again: npm install -g @openai/codex"
                    .to_owned()
            }
            Self::Exec { .. } => {
                "install it again: npm install -g @openai/codex (or name another: CODEX_REAL_BIN=/path/to/codex)"
                    .to_owned()
            }
            Self::NothingListens { hint, .. }
            | Self::Foreign { hint, .. }
            | Self::NoneRuns { hint } => hint.clone(),
            Self::Unread { .. } => {
                "make it smaller than 256 KiB and a regular file, or CODEX_PROXY=0 codex … to run Codex as it is"
                    .to_owned()
            }
            Self::UnreadEnv(error) => {
                format!("{}, or CODEX_PROXY=0 codex … to run Codex as it is", error.hint())
            }
            Self::OddAddress { .. } => {
                "write it as http://127.0.0.1:PORT/v1 (codex proxy point does), or CODEX_PROXY=0 codex … to run Codex as it is"
                    .to_owned()
            }
            Self::Several { .. } => {
                "say which for good: codex proxy point --port PORT".to_owned()
            }
            Self::Overruled { .. } => "take out one of the two".to_owned(),
        }
    }
}
