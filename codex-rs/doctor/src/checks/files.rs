//! Keys in files where they are often left: histories, what shells read when they start, settings, Codex's own files.
//!
//! A failure each, for whatever runs as this account reads them too. Told is which file and which lines, never what
//! stands there. Transcripts (`sessions/` in CODEX_HOME) and projects are not looked at.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use codex_config::regular::{Links, open_regular};

use crate::check::blocking;
use crate::finding::Finding;
use crate::host::Host;
use crate::listing::and;
use crate::looks_like_key::{Form, lines_with_keys};

mod places;

use places::{Kind, Place, places};

const ID: &str = "files";
const MIB: u64 = 1024 * 1024;
/// How many lines of a file are named.
const MOST_LINES: usize = 5;

/// What was seen in a file.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// None is there.
    NoFile,
    Unreadable,
    Text {
        /// Counted from 1; no more than are named, and one.
        lines: Vec<usize>,
        /// Only its end was looked at, and lines are counted from there.
        is_end: bool,
    },
}

pub(crate) async fn look(host: Arc<Host>) -> Vec<Finding> {
    blocking(move || {
        let places = places(&host);
        let seen: Vec<(Place, Seen)> = places
            .into_iter()
            .map(|place| {
                let seen = see(&place, limit_bytes(place.kind));
                (place, seen)
            })
            .collect();
        judge(&seen)
    })
    .await
}

/// Of each file, from its end: what is newest in a history.
fn limit_bytes(kind: Kind) -> u64 {
    match kind {
        Kind::History | Kind::Prompts => 16 * MIB,
        Kind::StartUp | Kind::Codex | Kind::System => MIB,
    }
}

fn see(place: &Place, limit_bytes: u64) -> Seen {
    let form = if place.is_codex_config() { Form::CodexConfig } else { Form::Text };
    match read_end(&place.path, limit_bytes) {
        Ok(None) => Seen::NoFile,
        Ok(Some((bytes, is_end))) => {
            let lines = lines_with_keys(&bytes, form).take(MOST_LINES + 1).collect();
            Seen::Text { lines, is_end }
        }
        // `HISTFILE=/dev/null`, for one.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Seen::NoFile,
        Err(_) => Seen::Unreadable,
    }
}

/// The end of a file, and whether there is more before it.
fn read_end(path: &Path, limit_bytes: u64) -> io::Result<Option<(Vec<u8>, bool)>> {
    let Some(mut file) = open_regular(path, Links::Followed)? else { return Ok(None) };
    let before = file.metadata()?.len().saturating_sub(limit_bytes);
    file.seek(SeekFrom::Start(before))?;
    let mut bytes = Vec::new();
    file.take(limit_bytes).read_to_end(&mut bytes)?;
    Ok(Some((bytes, before > 0)))
}

fn judge(seen: &[(Place, Seen)]) -> Vec<Finding> {
    let (mut looked_at, mut at_the_end, mut unreadable) = (0, 0, 0);
    let mut findings = Vec::new();
    for (place, seen) in seen {
        match seen {
            Seen::NoFile => {}
            Seen::Unreadable => unreadable += 1,
            Seen::Text { lines, is_end } => {
                looked_at += 1;
                at_the_end += u32::from(*is_end);
                if !lines.is_empty() {
                    let evidence = evidence(place, lines, *is_end);
                    findings.push(Finding::fail(ID, evidence, remedy(place.kind)));
                }
            }
        }
    }
    if findings.is_empty() {
        let mut counts = format!("{looked_at} looked at");
        if at_the_end > 0 {
            counts.push_str(&format!(", {at_the_end} of them only at the end"));
        }
        if unreadable > 0 {
            counts.push_str(&format!("; {unreadable} more can't be read by this account"));
        }
        let evidence = format!(
            "nothing looks like a key in the histories, start-up files and settings that are there \
             ({counts})"
        );
        findings.push(Finding::pass(ID, evidence));
    }
    findings
}

fn evidence(place: &Place, lines: &[usize], is_end: bool) -> String {
    let named = &lines[..lines.len().min(MOST_LINES)];
    let mut names: Vec<String> = named.iter().map(usize::to_string).collect();
    if lines.len() > named.len() {
        names.push("later ones".to_owned());
    }
    let word = if names.len() == 1 { "line" } else { "lines" };
    let end = match is_end {
        true => format!("the last {} MiB of ", limit_bytes(place.kind) / MIB),
        false => String::new(),
    };
    let lines = and(&names, names.len());
    format!("something in {word} {lines} of {end}{} looks like an API key", place.path.display())
}

fn remedy(kind: Kind) -> &'static str {
    match kind {
        Kind::History => {
            "close your other shells, which would write it back, take those lines out, and replace the key if it still works"
        }
        Kind::StartUp => {
            "take it out, log in anew, and give the key to the proxy alone; replace the key if an agent has run here"
        }
        Kind::Codex => {
            "take it out: through the proxy Codex needs no key; replace the key if an agent has run here"
        }
        Kind::Prompts => {
            "take those lines out while no Codex runs, and replace the key: prompts have been sent to the model"
        }
        Kind::System => {
            "have root take it out, and replace the key: every account of this machine may be able to read it"
        }
    }
}

#[cfg(test)]
mod tests;
