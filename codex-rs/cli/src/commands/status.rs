//! `codex proxy status`: every proxy that is found, what it says of itself, and what is left of others.

use std::io;
use std::path::Path;

use codex_proxy_client::{Found, ServerInfo, Status};
use codex_responses_api_proxy::plain::plain_json;
use codex_responses_api_proxy::report;
use nix::unistd::geteuid;
use serde::Serialize;

use super::End;
use super::error::{CommandError, LOOK_EVERYWHERE, START_ONE};
use super::found::{self, Finds};
use super::host::Host;
use super::overview;
use super::screen::Screen;
use super::sheet::Sheet;
use super::status_text;
use crate::args::StatusArgs;

pub(crate) async fn status(args: StatusArgs, screen: &mut Screen) -> Result<End, CommandError> {
    let finds = found::look(args.which.server_info).await;
    if args.json {
        let all = All { proxies: entries(&finds) };
        let json = serde_json::to_string(&all);
        let json = json.map_err(|error| CommandError::Output(io::Error::other(error)))?;
        screen.line(&plain_json(&json))?;
    } else {
        for line in lines(&finds, Host::this(), screen.width) {
            screen.line(&line)?;
        }
    }
    screen.flush()?;
    Ok(verdict(&finds.found))
}

/// Well, only if there is a proxy and every one that is found runs.
fn verdict(found: &[Found]) -> End {
    let all_run = found.iter().all(|found| matches!(found, Found::Running(_)));
    if all_run && !found.is_empty() { End::Done } else { End::No }
}

fn lines(finds: &Finds, host: Host, width: Option<usize>) -> Vec<String> {
    let mut sheet = Sheet::new(width);
    for (number, found) in finds.found.iter().enumerate() {
        if number > 0 {
            sheet.line("");
        }
        match found {
            Found::Running(proxy) => status_text::write(&proxy.status, host, &mut sheet),
            other => {
                sheet.paragraph(&found::sentence(other));
                if let Some(remedy) = found::remedy(other, geteuid().is_root()) {
                    sheet.paragraph(&remedy);
                }
            }
        }
    }
    overview::write(&finds.found, host, &mut sheet);
    if let Some(file) = &finds.missing {
        sheet.paragraph(&CommandError::NoSuchFile { file: file.clone() }.to_string());
        sheet.paragraph(LOOK_EVERYWHERE);
    } else if finds.found.is_empty() {
        sheet.paragraph(&format!("no proxy runs: {}", found::why_none(&finds.looked_in, &[])));
        sheet.paragraph(START_ONE);
    }
    sheet.lines
}

#[derive(Serialize)]
struct All<'finds> {
    proxies: Vec<Entry<'finds>>,
}

/// One find, for programs.
#[derive(Serialize)]
struct Entry<'finds> {
    state: &'static str,
    #[serde(serialize_with = "readable")]
    file: &'finds Path,
    because: Option<String>,
    info: Option<&'finds ServerInfo>,
    status: Option<&'finds Status>,
}

fn readable<S: serde::Serializer>(path: &&Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

fn entries(finds: &Finds) -> Vec<Entry<'_>> {
    let missing = finds.missing.as_deref().map(none);
    finds.found.iter().map(entry).chain(missing).collect()
}

/// A file that was named and is not there.
fn none(file: &Path) -> Entry<'_> {
    let because = Some("there is no such file".to_owned());
    Entry { state: "none", file, because, info: None, status: None }
}

fn entry(found: &Found) -> Entry<'_> {
    let state = found::state(found);
    let entry =
        |file, because: Option<String>, info| Entry { state, file, because, info, status: None };
    match found {
        Found::Running(proxy) => {
            Entry { status: Some(&proxy.status), ..entry(&proxy.file, None, Some(&proxy.info)) }
        }
        Found::Stale { file, info, because }
        | Found::Forged { file, info, because }
        | Found::Silent { file, info, because, .. } => {
            entry(file, Some(because.clone()), Some(info))
        }
        Found::Unusable { file, error } => entry(file, Some(report::in_one_line(error)), None),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use codex_proxy_client::ServerInfoError;
    use serde_json::{Value, json};

    use super::super::host::testing::HOST;
    use super::*;

    fn unusable() -> Found {
        let file = PathBuf::from("/tmp/info.json");
        let error = ServerInfoError::ForeignOwner { path: file.clone(), owner: 1_000 };
        Found::Unusable { file, error }
    }

    fn finds(found: Vec<Found>, missing: Option<&str>) -> Finds {
        let looked_in = "/run/a and /run/b".to_owned();
        Finds { found, missing: missing.map(PathBuf::from), looked_in }
    }

    #[test]
    fn who_finds_nothing_reads_where_was_looked_and_how_to_start_one() {
        let nothing = finds(Vec::new(), None);
        assert_eq!(
            lines(&nothing, HOST, Some(80)),
            [
                "no proxy runs: looked in /run/a and /run/b",
                "start one: printenv OPENAI_API_KEY | codex proxy --daemon"
            ]
        );
        assert_eq!(verdict(&nothing.found), End::No);
    }

    #[test]
    fn a_file_that_was_named_and_is_not_there_says_nothing_of_proxies() {
        let missing = finds(Vec::new(), Some("/tmp/none.json"));
        let seen = lines(&missing, HOST, None);
        assert_eq!(seen, ["there is no file /tmp/none.json", LOOK_EVERYWHERE]);
        assert_eq!(verdict(&missing.found), End::No);
    }

    #[test]
    fn a_file_that_is_of_no_use_is_told_and_is_no_success() {
        let finds = finds(vec![unusable()], None);
        assert_eq!(
            lines(&finds, HOST, Some(60)),
            [
                "/tmp/info.json belongs to uid 1000, neither to root nor to",
                "this account",
                "ask as that account: sudo -u '#1000' codex proxy …"
            ]
        );
        assert_eq!(verdict(&finds.found), End::No);
    }

    #[test]
    fn programs_get_an_entry_for_each_find() {
        let finds = finds(vec![unusable()], Some("/tmp/none.json"));
        let seen = serde_json::to_value(All { proxies: entries(&finds) }).unwrap();
        assert_eq!(
            seen,
            json!({ "proxies": [
                {
                    "state": "unusable", "file": "/tmp/info.json", "info": null, "status": null,
                    "because": "/tmp/info.json belongs to uid 1000, neither to root nor to this account"
                },
                {
                    "state": "none", "file": "/tmp/none.json", "info": null, "status": null,
                    "because": "there is no such file"
                }
            ]})
        );
        let line = serde_json::to_string(&All { proxies: entries(&finds) }).unwrap();
        assert!(line.starts_with(r#"{"proxies":[{"state":"unusable","file":"#), "{line}");
        let none: Value = serde_json::to_value(All { proxies: Vec::new() }).unwrap();
        assert_eq!(none, json!({ "proxies": [] }));
    }
}
