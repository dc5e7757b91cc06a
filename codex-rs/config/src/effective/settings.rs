//! What one layer says of providers.

use std::collections::BTreeMap;
use std::path::Path;

use toml_edit::{Document, Item};

use super::{DEFAULT_PROVIDER, Problem};
use crate::{ConfigError, place};

/// The settings of one layer that choose a provider and its address. All others are left unread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    /// `model_provider`.
    pub(super) selector: Option<String>,
    /// `openai_base_url`, the address of the provider that is built in.
    openai_base_url: Option<String>,
    /// The ids of `model_providers`, each with its `base_url`.
    tables: BTreeMap<String, Option<String>>,
    /// Whether there is a root key `profile`.
    has_legacy_profile: bool,
}

/// Something wrong with a layer.
struct Wrong {
    what: String,
    is_unread: bool,
}

impl Wrong {
    fn said(what: &str) -> Self {
        Self { what: what.to_owned(), is_unread: false }
    }

    fn of(self, file: &Path) -> Problem {
        let Self { what, is_unread } = self;
        Problem { file: file.to_owned(), what, is_unread }
    }
}

impl Settings {
    /// A file's. One that is not there says nothing.
    pub(super) fn of_file(file: &Path, problems: &mut Vec<Problem>) -> Self {
        let mut wrong = Vec::new();
        let settings = Self::read(file, &mut wrong);
        if settings.has_legacy_profile {
            wrong.push(Wrong::said("has the key `profile`, which Codex no longer takes"));
        }
        problems.extend(wrong.into_iter().map(|what| what.of(file)));
        settings
    }

    /// Those of requirements.toml, in which some keys mean nothing.
    pub(super) fn of_requirements(file: &Path, problems: &mut Vec<Problem>) -> Self {
        let mut wrong = Vec::new();
        let settings = Self::read(file, &mut wrong);
        problems.extend(wrong.into_iter().map(|what| what.of(file)));
        Self { openai_base_url: None, ..settings }
    }

    /// What several `-c` come to: a later one takes the place of what earlier ones have set under the same key.
    pub(super) fn of_overrides(overrides: &[String], problems: &mut Vec<Problem>) -> Self {
        let (mut settings, mut wrong) = (Self::default(), Vec::new());
        for text in overrides {
            let Some((key, value)) = text.split_once('=') else {
                wrong.push(Wrong::said("one has no `=`"));
                continue;
            };
            // Quotes mean nothing in such a key.
            let path: Vec<&str> = key.trim().split('.').collect();
            settings.set(&path, &value_of(value), &mut wrong);
        }
        problems.extend(wrong.into_iter().map(|what| what.of(Path::new("-c"))));
        settings
    }

    /// The address that it has for a provider.
    pub(super) fn base_url(&self, provider: &str) -> Option<&str> {
        if provider == DEFAULT_PROVIDER {
            return self.openai_base_url.as_deref();
        }
        self.tables.get(provider)?.as_deref()
    }

    pub(super) fn has_table(&self, provider: &str) -> bool {
        self.tables.contains_key(provider)
    }

    fn read(file: &Path, wrong: &mut Vec<Wrong>) -> Self {
        let mut settings = Self::default();
        match place::follow(file).and_then(|place| place::read(&place)) {
            Ok(Some(content)) => settings.take(&content.text, wrong),
            Ok(None) => {}
            Err(error) => {
                let is_unread = !matches!(error, ConfigError::NotText { .. }); // Codex can't read that either.
                wrong.push(Wrong { what: words(&error), is_unread });
            }
        }
        settings
    }

    fn take(&mut self, text: &str, wrong: &mut Vec<Wrong>) {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        match Document::parse(text) {
            Ok(document) => {
                document.iter().for_each(|(key, item)| self.set(&[key], item, wrong));
            }
            Err(error) => {
                let place = error.span().map_or(0, |span| span.start);
                let line = text.get(..place).unwrap_or(text).matches('\n').count() + 1;
                let what = error.message().replace('\n', ", ");
                wrong.push(Wrong::said(&format!("is no TOML: line {line}: {what}")));
            }
        }
    }

    /// What stands at a path of keys.
    fn set(&mut self, path: &[&str], item: &Item, wrong: &mut Vec<Wrong>) {
        match path {
            ["model_provider"] => self.selector = string(path, item, wrong),
            ["openai_base_url"] => self.openai_base_url = string(path, item, wrong),
            ["profile"] => self.has_legacy_profile = true,
            ["model_providers"] => {
                self.tables.clear();
                for (id, item) in members(path, item, wrong) {
                    self.set(&["model_providers", id], item, wrong);
                }
            }
            ["model_providers", id] => {
                let mut base_url = None;
                for (key, item) in members(path, item, wrong) {
                    if key == "base_url" {
                        base_url = string(&["model_providers", *id, key], item, wrong);
                    }
                }
                self.tables.insert((*id).to_owned(), base_url);
            }
            ["model_providers", id, "base_url"] => {
                let base_url = string(path, item, wrong);
                self.tables.insert((*id).to_owned(), base_url);
            }
            _ => {}
        }
    }
}

fn string(path: &[&str], item: &Item, wrong: &mut Vec<Wrong>) -> Option<String> {
    if item.as_str().is_none() {
        wrong.push(Wrong::said(&wrong_type(path, item, "string")));
    }
    item.as_str().map(str::to_owned)
}

fn members<'i>(path: &[&str], item: &'i Item, wrong: &mut Vec<Wrong>) -> Vec<(&'i str, &'i Item)> {
    match item.as_table_like() {
        Some(table) => table.iter().collect(),
        None => {
            wrong.push(Wrong::said(&wrong_type(path, item, "table")));
            Vec::new()
        }
    }
}

/// No id: somebody may have put a key there.
fn wrong_type(path: &[&str], item: &Item, expected: &str) -> String {
    let shown = match path {
        [providers, _] => format!("{providers}.…"),
        [providers, _, key] => format!("{providers}.….{key}"),
        path => path.join("."),
    };
    format!("`{shown}` is no {expected} in it, but of the type {}", item.type_name())
}

/// The value of a `-c`: TOML, or if it is none, the text as it stands but for spaces and quotes around it.
fn value_of(text: &str) -> Item {
    // The name that Codex gives it, which matters where a text has more lines than one.
    let document = Document::parse(format!("_x_ = {text}"));
    let value = document.ok().and_then(|document| document.get("_x_").cloned());
    value.unwrap_or_else(|| toml_edit::value(text.trim().trim_matches(['"', '\''])))
}

/// The same as the error says, without the file's name.
fn words(error: &ConfigError) -> String {
    match error {
        ConfigError::Unreadable { source, .. } => format!("can't be read: {source}"),
        ConfigError::NotAFile { .. } => "is no regular file".to_owned(),
        ConfigError::TooLarge { limit_bytes, .. } => {
            format!("is larger than {limit_bytes} bytes")
        }
        ConfigError::NotText { offset, .. } => format!("is not UTF-8: byte {offset}"),
        other => other.to_string(),
    }
}
