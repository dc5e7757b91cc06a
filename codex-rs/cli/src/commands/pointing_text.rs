//! What `point` and `unpoint` tell, in words and as JSON, of the same values.

use std::path::Path;

use codex_config::{Effective, Layer, PROVIDER};
use codex_responses_api_proxy::plain::{plain, plain_json};
use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use super::sheet::wrap;

/// How far the rest of a line that is too long is set in.
const INDENT: usize = 2;

/// What has become of a configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    Pointed,
    AlreadyPointed,
    Unpointed,
    Purged,
    #[default]
    NotPointed,
    WouldChange,
}

/// All there is to tell. What there is not is null.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Told {
    pub(crate) state: State,
    /// As named.
    pub(crate) file: String,
    /// After links.
    pub(crate) place: String,
    pub(crate) backup: Option<String>,
    /// Whether it was made now.
    #[serde(skip)]
    pub(crate) is_backup_new: bool,
    /// What was put in, with the process that serves there.
    pub(crate) base_url: Option<String>,
    pub(crate) pid: Option<u32>,
    /// Whether it is about `codex -p openai-proxy`.
    pub(crate) profile: bool,
    /// Another account whose configuration it is.
    pub(crate) account: Option<String>,
    /// What a run of Codex would use now.
    pub(crate) effective: Option<InEffect>,
    /// Whether it came to what was wanted.
    pub(crate) has_effect: Option<bool>,
    pub(crate) warnings: Vec<String>,
    pub(crate) notes: Vec<String>,
    pub(crate) diff: Option<String>,
    pub(crate) verified: Option<bool>,
    /// What the file was found to say.
    #[serde(skip)]
    pub(crate) found: Found,
}

/// What stood in the file before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) is_there: bool,
    /// Whether nothing is left of it now.
    pub(crate) goes: bool,
    /// The provider that it selects, if that is not ours.
    pub(crate) foreign_selector: Option<String>,
    pub(crate) has_table: bool,
}

/// The provider that counts, and what says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct InEffect {
    pub(crate) provider: String,
    pub(crate) decided_by: String,
    pub(crate) base_url: Option<String>,
    #[serde(skip)]
    pub(crate) is_default: bool,
}

impl From<&Effective> for InEffect {
    fn from(effective: &Effective) -> Self {
        Self {
            provider: effective.provider.clone(),
            decided_by: effective.decided_by.to_string(),
            base_url: effective.shown_address(),
            is_default: effective.decided_by == Layer::BuiltIn,
        }
    }
}

/// A path as it may be shown.
pub(crate) fn path_words(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// For programs.
pub(crate) fn as_json(told: &Told) -> Result<String, serde_json::Error> {
    Ok(plain_json(&serde_json::to_string(told)?).into_owned())
}

/// After `point`, up to what is to be typed next.
pub(crate) fn pointing_lines(told: &Told) -> Vec<String> {
    let mut lines = vec![headline(told)];
    written(told, &mut lines);
    remarks(told, &mut lines);
    if told.has_effect == Some(false) {
        lines.push("It has no effect: change that first, or ask whoever decides there.".to_owned());
    } else {
        let profile = if told.profile { format!(" -p {PROVIDER}") } else { String::new() };
        let who = told.account.as_ref().map(|account| format!(", as {account}"));
        lines.push(format!("next{}: codex{profile}", who.unwrap_or_default()));
    }
    shown(lines)
}

/// After `unpoint`.
pub(crate) fn unpointing_lines(told: &Told) -> Vec<String> {
    let mut lines = vec![headline(told)];
    written(told, &mut lines);
    if let Some(effective) = told.effective.as_ref().filter(|_| told.state != State::NotPointed) {
        let InEffect { provider, decided_by, .. } = effective;
        let run = if told.profile { format!("codex -p {PROVIDER}") } else { "Codex".to_owned() };
        lines.push(if effective.is_default {
            format!("now: {run} uses {provider:?}, its own default")
        } else {
            format!("now: {run} uses {provider:?}, as {decided_by} says")
        });
    }
    remarks(told, &mut lines);
    shown(lines)
}

fn headline(told: &Told) -> String {
    let file = &told.file;
    let pid = told.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
    let url = format!("{}{pid}", told.base_url.as_deref().unwrap_or_default());
    let run = if told.profile { format!("`codex -p {PROVIDER}`") } else { "Codex".to_owned() };
    let is_in_vain = told.has_effect == Some(false);
    match told.state {
        State::Pointed if is_in_vain => format!("written: {file} points at {url}"),
        State::Pointed => format!("pointed: {file} now makes {run} use {url}"),
        State::AlreadyPointed if is_in_vain => {
            format!("nothing to do: {file} already points at {url}")
        }
        State::AlreadyPointed => format!("nothing to do: {file} already makes {run} use {url}"),
        State::Unpointed => format!(
            "unpointed: {file}; the table [model_providers.{PROVIDER}] stays, so that old sessions still open (CODEX_PROXY=1 codex resume ID, or {}); --purge takes it out",
            in_this_run(told.profile)
        ),
        State::Purged if told.found.goes => {
            format!("purged: {file} is gone, because all that was in it was ours")
        }
        State::Purged => format!("purged: nothing of ours is left in {file}"),
        State::WouldChange => format!("{file} would be changed"),
        State::NotPointed => not_pointed(told),
    }
}

/// What makes one run use the table. In a profile it is found by the profile's name alone.
fn in_this_run(profile: bool) -> String {
    let selector = format!("-c model_provider={PROVIDER}");
    if profile { format!("-p {PROVIDER} {selector}") } else { selector }
}

fn not_pointed(told: &Told) -> String {
    let (file, found) = (&told.file, &told.found);
    let mut line = match &found.foreign_selector {
        Some(selector) => {
            format!("nothing to do: {file} selects {selector:?}, which is not ours")
        }
        None if !found.is_there => format!("nothing to do: there is no {file}"),
        None => format!("nothing to do: {file} does not point Codex at the proxy"),
    };
    if found.has_table {
        let stays =
            format!("; the table [model_providers.{PROVIDER}] stays (--purge takes it out)");
        line.push_str(&stays);
    }
    line
}

fn written(told: &Told, lines: &mut Vec<String>) {
    let has_changed = matches!(told.state, State::Pointed | State::Unpointed | State::Purged);
    if has_changed && told.place != told.file {
        lines.push(format!("written: {}, which {} leads to", told.place, told.file));
    }
    if let Some(backup) = told.backup.as_ref().filter(|_| told.state == State::Pointed) {
        let earlier = if told.is_backup_new { "" } else { " (of an earlier point)" };
        lines.push(format!("backup: {backup}{earlier}"));
    }
}

/// Lines as they fit a terminal, broken between words. Only what begins a line begins on the left.
pub(crate) fn fitted(lines: &[String], width: Option<usize>) -> Vec<String> {
    let fit = |line: &String| match width {
        Some(width) if line.width() > width => {
            let mut parts = wrap(line, Some(width.saturating_sub(INDENT).max(1)));
            parts.iter_mut().skip(1).for_each(|part| part.insert_str(0, &" ".repeat(INDENT)));
            parts
        }
        _ => vec![line.clone()],
    };
    lines.iter().flat_map(fit).collect()
}

/// What is not as it should be, and what is good to know.
pub(crate) fn remarks(told: &Told, lines: &mut Vec<String>) {
    lines.extend(told.warnings.iter().map(|warning| format!("warning: {warning}")));
    lines.extend(told.notes.iter().map(|note| format!("note: {note}")));
}

fn shown(lines: Vec<String>) -> Vec<String> {
    lines.iter().map(|line| plain(line).into_owned()).collect()
}

#[cfg(test)]
mod tests;
