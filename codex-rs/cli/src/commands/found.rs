//! What was found in place of a proxy, in words; and the one proxy that a verb is about.

use std::env;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use codex_config::shell_word;
use codex_proxy_client::{Found, RunningProxy, Search, ServerInfoError, find};
use codex_responses_api_proxy::plain::plain;
use codex_responses_api_proxy::report;
use nix::unistd::geteuid;
use unicode_width::UnicodeWidthStr;

use super::error::CommandError;

/// All that is there, and where it was looked for.
#[derive(Debug)]
pub(crate) struct Finds {
    pub(crate) found: Vec<Found>,
    /// The file that was named and is not there.
    pub(crate) missing: Option<PathBuf>,
    pub(crate) looked_in: String,
}

/// Looks for proxies, by the file that was named or where they leave theirs.
pub(crate) async fn look(named: Option<PathBuf>) -> Finds {
    let search = Search::new(named);
    let places = search.file().into_iter().chain(search.folders().iter().map(PathBuf::as_path));
    let places: Vec<String> = places.map(|place| place.display().to_string()).collect();
    let looked_in = places.join(" and ");
    let (gone, found): (Vec<_>, Vec<_>) = find(&search).await.into_iter().partition(is_gone);
    // One that was in a folder a moment ago belonged to a proxy that has stopped.
    let missing = search.file().filter(|_| !gone.is_empty()).map(Path::to_owned);
    Finds { found, missing, looked_in }
}

fn is_gone(found: &Found) -> bool {
    let Found::Unusable { error: ServerInfoError::Unreadable { source, .. }, .. } = found else {
        return false;
    };
    source.kind() == io::ErrorKind::NotFound
}

/// The one proxy that runs.
pub(crate) async fn the_one(named: Option<PathBuf>) -> Result<RunningProxy, CommandError> {
    one_of(look(named).await)
}

/// The one of these that runs.
pub(crate) fn one_of(finds: Finds) -> Result<RunningProxy, CommandError> {
    let Finds { found, missing, looked_in } = finds;
    let (mut running, mut others) = (Vec::new(), Vec::new());
    for found in found {
        match found {
            Found::Running(proxy) => running.push(proxy),
            other => others.push(other),
        }
    }
    if running.len() > 1 {
        let typed: Vec<OsString> = env::args_os().collect();
        let proxies = running.iter().map(|proxy| (&*proxy.file, &*proxy.info.base_url));
        let choices = choices(&typed, proxies);
        return Err(CommandError::SeveralRun { count: running.len(), choices });
    }
    running.pop().ok_or_else(|| match missing {
        Some(file) => CommandError::NoSuchFile { file },
        None => no_proxy(&looked_in, &others, geteuid().is_root()),
    })
}

/// Whether none runs, or none can be asked.
fn no_proxy(looked_in: &str, others: &[Found], is_root: bool) -> CommandError {
    let hint = others.iter().find_map(|found| remedy(found, is_root));
    if others.iter().any(may_run) {
        CommandError::NoneAnswers { found: listed(others), hint }
    } else {
        CommandError::NoneRuns { why: why_none(looked_in, others), hint }
    }
}

pub(crate) fn why_none(looked_in: &str, others: &[Found]) -> String {
    format!("looked in {}{}", plain(looked_in), listed(others))
}

/// Each find on a line of its own.
fn listed(finds: &[Found]) -> String {
    finds.iter().map(|found| format!("\n  {}", plain(&sentence(found)))).collect()
}

/// Whether there may be a proxy behind it for all that is known.
fn may_run(found: &Found) -> bool {
    match found {
        Found::Running(_) | Found::Silent { .. } | Found::Unusable { .. } => true,
        Found::Stale { .. } | Found::Forged { .. } => false,
    }
}

/// What can be done about it, where that is known.
pub(crate) fn remedy(found: &Found, is_root: bool) -> Option<String> {
    match found {
        Found::Silent { not_allowed: true, .. } if !is_root => {
            Some("ask as root with sudo, or as the account that started it".to_owned())
        }
        Found::Unusable { error: ServerInfoError::ForeignOwner { owner, .. }, .. } => {
            Some(format!("ask as that account: sudo -u '#{owner}' codex proxy …"))
        }
        Found::Unusable { error: ServerInfoError::Unreadable { source, .. }, .. }
            if !is_root && source.kind() == io::ErrorKind::PermissionDenied =>
        {
            Some("ask as root with sudo, or as the account that started it".to_owned())
        }
        Found::Unusable { .. } => {
            Some("name the file that the proxy was told to write with --server-info".to_owned())
        }
        Found::Forged { info, .. } => {
            Some(format!("find out who listens there: ss -ltnp 'sport = :{}'", info.port))
        }
        _ => None,
    }
}

/// What a file that leads to no running proxy is instead, and what becomes of it.
pub(crate) fn sentence(found: &Found) -> String {
    match found {
        Found::Running(proxy) => format!("{}: pid {} runs", proxy.file.display(), proxy.info.pid),
        Found::Stale { file, because, .. } => {
            format!("{} is left over: {because}; the next start replaces it", file.display())
        }
        Found::Forged { file, because, .. } => {
            format!("{} is forged, do not trust it: {because}", file.display())
        }
        Found::Silent { file, info, because, .. } => {
            let (file, port) = (file.display(), info.port);
            format!("{file}: pid {} on port {port} does not answer: {because}", info.pid)
        }
        Found::Unusable { error, .. } => report::in_one_line(error),
    }
}

/// The word for it in JSON.
pub(crate) fn state(found: &Found) -> &'static str {
    match found {
        Found::Running(_) => "running",
        Found::Stale { .. } => "stale",
        Found::Forged { .. } => "forged",
        Found::Silent { .. } => "silent",
        Found::Unusable { .. } => "unusable",
    }
}

/// What was typed, once for each proxy with its file; its address stands beside it.
fn choices<'proxies>(
    typed: &[OsString],
    proxies: impl Iterator<Item = (&'proxies Path, &'proxies str)>,
) -> String {
    let choices: Vec<(String, &str)> =
        proxies.map(|(file, base_url)| (choice(typed, file), base_url)).collect();
    let widest = choices.iter().map(|(command, _)| command.width()).max().unwrap_or(0);
    let line = |(command, base_url): &(String, &str)| {
        let gap = widest - command.width() + 4;
        format!("  {command}{:gap$}# {}", "", plain(base_url))
    };
    choices.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn choice(typed: &[OsString], file: &Path) -> String {
    let mut words: Vec<String> =
        typed.iter().map(|word| shell_word(&word.to_string_lossy())).collect();
    words.extend(["--server-info".to_owned(), shell_word(&file.to_string_lossy())]);
    plain(&words.join(" ")).into_owned()
}

#[cfg(test)]
mod tests {
    use codex_proxy_client::ServerInfo;

    use super::*;

    fn info() -> ServerInfo {
        serde_json::from_value(serde_json::json!({
            "port": 4321, "pid": 17, "base_url": "http://127.0.0.1:4321/v1", "uid": 1000,
            "listener_uid": 0, "instance": "0123456789abcdef", "started_at": 1_800_000_000,
            "version": "0.1.0"
        }))
        .unwrap()
    }

    #[test]
    fn each_find_is_one_sentence() {
        let file = PathBuf::from("/run/4321.json");
        let because = "process 17 is gone".to_owned();
        let stale = Found::Stale { file: file.clone(), info: info(), because };
        let because = "uid 1000 listens on port 4321, not uid 0".to_owned();
        let forged = Found::Forged { file: file.clone(), info: info(), because };
        let because = "it tells this account nothing: no".to_owned();
        let silent = Found::Silent { file: file.clone(), info: info(), because, not_allowed: true };
        let error = ServerInfoError::ForeignOwner { path: file.clone(), owner: 1_000 };
        let foreign = Found::Unusable { file: file.clone(), error };
        let source = io::Error::from(io::ErrorKind::PermissionDenied);
        let error = ServerInfoError::Unreadable { path: file.clone(), source };
        let closed = Found::Unusable { file, error };
        for (found, word, expected) in [
            (
                stale,
                "stale",
                "/run/4321.json is left over: process 17 is gone; the next start replaces it",
            ),
            (
                forged,
                "forged",
                "/run/4321.json is forged, do not trust it: uid 1000 listens on port 4321, not uid 0",
            ),
            (
                silent,
                "silent",
                "/run/4321.json: pid 17 on port 4321 does not answer: it tells this account nothing: no",
            ),
            (
                foreign,
                "unusable",
                "/run/4321.json belongs to uid 1000, neither to root nor to this account",
            ),
            (closed, "unusable", "/run/4321.json could not be read: permission denied"),
        ] {
            assert_eq!((state(&found), sentence(&found).as_str()), (word, expected));
            assert!(!is_gone(&found));
        }
    }

    #[test]
    fn a_choice_can_be_typed_as_it_stands() {
        let typed = ["codex", "proxy", "log", "--model", "it's $HOME"].map(OsString::from);
        let proxies = [("/run/a b.json", "http://127.0.0.1:4321/v1"), ("/r/c.json", "http://x")];
        let proxies = proxies.iter().map(|(file, base_url)| (Path::new(*file), *base_url));
        let expected = [
            r"  codex proxy log --model 'it'\''s $HOME' --server-info '/run/a b.json'    # http://127.0.0.1:4321/v1",
            r"  codex proxy log --model 'it'\''s $HOME' --server-info /r/c.json          # http://x",
        ];
        assert_eq!(choices(&typed, proxies), expected.join("\n"));
    }

    #[test]
    fn who_finds_nothing_reads_where_was_looked() {
        assert_eq!(why_none("/run/a", &[]), "looked in /run/a");
        let because = "of it\u{1b}".to_owned();
        let stale = [Found::Stale { file: "/run/a/1.json".into(), info: info(), because }];
        let expected = "looked in /run/a\n  /run/a/1.json is left over: of it\\u{1b}; the next start replaces it";
        assert_eq!(why_none("/run/a", &stale), expected);
        let error = no_proxy("/run/a", &stale, false);
        assert_eq!(error.to_string(), format!("no proxy runs: {expected}"));
        assert_eq!(
            error.hint().as_deref(),
            Some("start one: printenv OPENAI_API_KEY | codex proxy --daemon")
        );
    }

    #[test]
    fn that_none_runs_is_never_said_where_one_may() {
        let file = PathBuf::from("/run/4321.json");
        let silent = |not_allowed| Found::Silent {
            file: file.clone(),
            info: info(),
            because: "of it".to_owned(),
            not_allowed,
        };
        let error = ServerInfoError::ForeignOwner { path: file.clone(), owner: 12_345 };
        let foreign = Found::Unusable { file: file.clone(), error };
        let ask = "ask as root with sudo, or as the account that started it";
        for (found, is_root, hint) in [
            (silent(true), false, Some(ask)),
            (silent(true), true, None),
            (silent(false), false, None),
            (foreign, true, Some("ask as that account: sudo -u '#12345' codex proxy …")),
        ] {
            let error = no_proxy("/run", &[found], is_root);
            let said = error.to_string();
            let headline = "no proxy tells this account about itself:\n  /run/4321.json";
            assert!(said.starts_with(headline), "{said}");
            assert_eq!(error.hint().as_deref(), hint);
        }
    }
}
