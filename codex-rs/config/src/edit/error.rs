//! Why a configuration is not edited.

use thiserror::Error;

use crate::{PROVIDER, PROVIDER_NAME};

/// Why a configuration is left as it is. No variant holds a word of the file: there may be keys in it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EditError {
    /// It is no TOML.
    #[error("it is no TOML: line {line}, column {column}: {what}")]
    Invalid {
        /// From 1 on.
        line: usize,
        /// In characters, from 1 on.
        column: usize,
        /// What the parser says.
        what: String,
    },
    /// A key of the file's root has a value that can't be one.
    #[error("`{key}` is no {expected} in it, but of the type {found}")]
    WrongType {
        /// The key.
        key: &'static str,
        /// What Codex wants.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// Somebody else made a table of our id.
    #[error("it has a table [model_providers.{PROVIDER}] that is not ours (its name is {})", named(name.as_deref()))]
    Conflict {
        /// What it calls itself.
        name: Option<String>,
    },
    /// Our table is not whole.
    #[error("its table [model_providers.{PROVIDER}] has no base_url that is a string")]
    Damaged,
    /// What would be written does not mean what it should.
    #[error("it is of a form that can't be edited without loss")]
    Lossy,
}

fn named(name: Option<&str>) -> String {
    name.map_or_else(|| "not set".to_owned(), |name| format!("{name:?}"))
}

impl EditError {
    /// What helps.
    pub fn hint(&self) -> String {
        match self {
            Self::Invalid { .. } => "mend it there; Codex can't read it either".to_owned(),
            Self::WrongType { key, expected, .. } => {
                format!("make `{key}` a {expected}, or remove it")
            }
            Self::Conflict { .. } => format!(
                "give that table another name (or remove it), and then try again; ours has the name {PROVIDER_NAME:?}"
            ),
            Self::Damaged => {
                "take it out with `codex proxy unpoint --purge`, and then try again".to_owned()
            }
            Self::Lossy => format!(
                "put `model_provider = {PROVIDER:?}` before its first table and a table [model_providers.{PROVIDER}] into it by hand"
            ),
        }
    }
}
