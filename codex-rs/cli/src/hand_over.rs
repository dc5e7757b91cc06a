//! `codex …` that is not ours: handed over to the public Codex CLI by exec(2), so that arguments, standard input, exit
//! code, signals and terminal are what they would be without us.
//!
//! Where the user's Codex is pointed at the proxy, it is made sure first that it can reach it and that nobody else
//! has its port: a moved proxy is followed, a dead one is told at once. Where it is not, nothing is added, asked or said.
//!
//! This runs before anything is hardened and before any thread: the public Codex gets the environment and the limits
//! as they are. What is wrong with its configuration is not ours to say.

mod ancestors;
mod command_line;
mod error;
mod loopback;
mod marker;
mod pointing;
mod proxies;

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{self, Command};

use codex_config::{
    CodexHome, Effective, FileId, Layers, Lookup, Mend, NotInstalled, PublicCodex, Route,
    SYSTEM_FOLDER, effective, find_public_codex, shell_word,
};
use codex_responses_api_proxy::report;

use crate::commands::host::{Host, home};
use command_line::{Asks, CommandLine};
use error::HandOverError;
use marker::Marker;
use pointing::{Aim, Led, Trouble, Wish};
use proxies::Listener;

/// The words that are ours.
const OURS: [&str; 3] = ["proxy", "responses-api-proxy", "launcher"];

/// There is no public Codex CLI, and what was asked for can be shown by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShowOurs;

/// What goes to the public Codex CLI of the words after the program's name; `None` where they are ours.
pub(crate) fn theirs(arguments: &[OsString]) -> Option<Vec<OsString>> {
    let is_ours = |word: &OsString| OURS.iter().any(|ours| word == ours);
    match arguments {
        [word, ..] if is_ours(word) => None,
        [dashes, rest @ ..] if dashes == "--" && rest.first().is_some_and(is_ours) => {
            Some(rest.to_vec())
        }
        _ => Some(arguments.to_vec()),
    }
}

/// Hands over, and so returns only where that is not to be.
pub(crate) fn run(arguments: &[OsString]) -> Result<ShowOurs, HandOverError> {
    let before = env::var_os(marker::VARIABLE).and_then(|text| Marker::parse(&text));
    let passed_over =
        Marker::passed_over(before.as_ref(), process::id(), FileId::of_this_program());
    let codex = match find(&passed_over) {
        Err(none @ NotInstalled::NotOnPath { .. }) if we_can_answer(arguments) => {
            // Whoever typed `codex` alone wanted theirs.
            if arguments.is_empty() {
                report::line(&format!("codex: {none}; {}", none.hint()));
            }
            return Ok(ShowOurs);
        }
        found => found?,
    };
    let marker = Marker::next(before.as_ref(), process::id(), passed_over, codex.id);
    let marker = marker.ok_or_else(|| too_deep(&codex, before.map_or(0, |it| it.depth)))?;
    if let Some(depth) = ancestors::too_many(codex.id) {
        return Err(too_deep(&codex, depth));
    }

    let mut notices = Vec::new();
    let changes = changes(arguments, &mut notices);
    // Also before an error: they may say why.
    notices.iter().for_each(|notice| report::line(notice));
    let changes = changes?;
    let mut command = Command::new(&codex.program);
    command.args(changes.arguments).args(arguments);
    command.envs(changes.variables).env(marker::VARIABLE, marker.to_text());
    // Programs that are links to one and the same (Volta, asdf) go by the name that they are called by.
    if let Some(typed) = env::args_os().next().filter(|typed| is_codex(typed)) {
        command.arg0(typed);
    }
    // Rust's runtime ignores SIGPIPE from its start on, and exec gives it back its default.
    let source = command.exec();
    Err(HandOverError::Exec { program: codex.program, source })
}

fn find(passed_over: &[FileId]) -> Result<PublicCodex, NotInstalled> {
    let (path, real_bin) = (env::var_os("PATH"), env::var_os("CODEX_REAL_BIN"));
    find_public_codex(&Lookup { path: path.as_deref(), real_bin: real_bin.as_deref(), passed_over })
}

/// Whether somebody only wants to know what there is.
fn we_can_answer(arguments: &[OsString]) -> bool {
    match arguments {
        [] => true,
        [word] => ["--help", "-h", "help", "--version", "-V"].iter().any(|known| word == known),
        [help, word] => help == "help" && OURS.iter().any(|ours| word == ours),
        _ => false,
    }
}

fn too_deep(codex: &PublicCodex, depth: u32) -> HandOverError {
    HandOverError::Loop { program: codex.program.clone(), depth }
}

fn is_codex(typed: &OsStr) -> bool {
    Path::new(typed).file_name().is_some_and(|name| name == "codex")
}

/// What is different for the public Codex CLI than it was for us.
#[derive(Debug, Default)]
struct Changes {
    arguments: Vec<OsString>,
    variables: Vec<(&'static str, OsString)>,
}

/// Nothing but what leads to the proxy, and that only where the user wants it. `notices` gets lines for whoever typed it.
fn changes(arguments: &[OsString], notices: &mut Vec<String>) -> Result<Changes, HandOverError> {
    let wish = Wish::parse(env::var_os(pointing::VARIABLE).as_deref()).unwrap_or_else(|| {
        // Not what it says: it may be anything, a key too.
        let name = pointing::VARIABLE;
        notices.push(format!("codex: {name} is neither 0 nor 1, and not used"));
        Wish::AsPointed
    });
    let mut changes = Changes::default();
    if wish == Wish::Never {
        return Ok(changes);
    }
    let home = CodexHome::of(env::var_os("CODEX_HOME"), home()).ok();
    let line = CommandLine::read(arguments);
    let effective = home.as_ref().map(|home| in_effect(home, &line));
    let unread = effective.as_ref().and_then(|it| pointing::unread(&line, home.as_ref(), it));
    or_warning(unread.map_or(Ok(()), Err), &line, notices)?;
    let aim = match pointing::aim(wish, &line, effective.as_ref()) {
        Ok(Aim::Elsewhere) => {
            notices.extend(effective.as_ref().and_then(|it| pointing::overruled(&line, it)));
            return Ok(changes);
        }
        aim if line.asks == Asks::Yes => aim?,
        Err(error) => {
            let (): () = or_warning(Err(error), &line, notices)?;
            return Ok(changes);
        }
        Ok(aim) => aim,
    };
    changes.variables.extend(loopback::exempted(|name| env::var_os(name)));
    if line.asks == Asks::No {
        return Ok(changes);
    }
    let detour = home.as_ref().map_or(Ok(None), |home| detour(home, &changes.variables));
    let detour = or_warning(detour, &line, notices)?;
    notices.extend(detour);
    let led = or_warning(lead_to_proxy(&aim), &line, notices)?;
    changes.arguments = led.arguments;
    notices.extend(led.notice);
    Ok(changes)
}

/// What a run of this command line would use.
fn in_effect(home: &CodexHome, line: &CommandLine) -> Effective {
    let (profile, overrides) = (line.profile.as_deref(), &line.overrides[..]);
    effective(&Layers { home, system_folder: Path::new(SYSTEM_FOLDER), profile, overrides })
}

/// An error where nothing works without a proxy. Elsewhere it may be long until one is asked, which may be there by then.
fn or_warning<T: Default>(
    tried: Result<T, HandOverError>,
    line: &CommandLine,
    notices: &mut Vec<String>,
) -> Result<T, HandOverError> {
    match tried {
        Err(_) if line.asks == Asks::No => Ok(T::default()),
        Err(error) if line.asks == Asks::Perhaps => {
            notices.push(format!("codex: warning: {error}; {}", error.hint()));
            Ok(T::default())
        }
        tried => tried,
    }
}

/// What leads to the proxy.
fn lead_to_proxy(aim: &Aim) -> Result<Led, HandOverError> {
    let pointed = match aim {
        Aim::Elsewhere => return Ok(Led::default()),
        Aim::Wanted => return pointing::lead(&proxies::look()),
        Aim::Pointed(pointed) => pointed,
    };
    let trouble = match proxies::who_listens(pointed.port) {
        Listener::Trusted | Listener::Unknown(None) => return Ok(Led::default()),
        Listener::Unknown(Some(because)) => {
            let port = pointed.port;
            let notice =
                format!("codex: warning: who listens on port {port} can't be told: {because}");
            return Ok(Led { notice: Some(notice), ..Led::default() });
        }
        Listener::Nobody => Trouble::NothingListens,
        Listener::Foreign(uid) => Trouble::Foreign { owner: Host::this().account(uid) },
    };
    pointing::follow(pointed, &trouble, &proxies::look())
}

/// Codex's own `.env` is stronger than the environment, and may lead elsewhere.
fn detour(
    home: &CodexHome,
    variables: &[(&'static str, OsString)],
) -> Result<Option<String>, HandOverError> {
    let Some(text) = home.read_env_file().map_err(HandOverError::UnreadEnv)? else {
        return Ok(None);
    };
    let file = home.env_file();
    let set = |name: &str| variables.iter().find(|(set, _)| *set == name).map(|(_, value)| value);
    let variable = |name: &str| {
        let value = set(name).cloned().or_else(|| env::var_os(name))?;
        Some(value.to_string_lossy().into_owned())
    };
    let route = Route::of(variable, Some((file.as_path(), text.as_str())));
    let Some(mend) = route.mend() else { return Ok(None) };
    let remedy = match mend {
        Mend::EnvFile { file, no_proxy } => {
            format!("put NO_PROXY={} into {}", shell_word(no_proxy), file.display())
        }
        Mend::Environment { no_proxy } => format!("export NO_PROXY={}", shell_word(no_proxy)),
    };
    let file = file.display();
    Ok(Some(format!(
        "codex: warning: with {file} an HTTP proxy gets what is meant for 127.0.0.1: {remedy}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn three_words_are_ours_and_all_else_is_handed_over_as_it_is() {
        for (typed, expected) in [
            (&["proxy"][..], None),
            (&["proxy", "status"], None),
            (&["responses-api-proxy", "--help"], None),
            (&["launcher"], None),
            (&["--", "proxy"], Some(&["proxy"][..])),
            (
                &["--", "responses-api-proxy", "--port", "1"],
                Some(&["responses-api-proxy", "--port", "1"]),
            ),
            (&["--", "launcher"], Some(&["launcher"])),
            (&["--", "--", "proxy"], Some(&["--", "--", "proxy"])),
            (&["--", "exec"], Some(&["--", "exec"])),
            (&["--"], Some(&["--"])),
            (&[], Some(&[])),
            (&["--help"], Some(&["--help"])),
            (&["exec", "proxy"], Some(&["exec", "proxy"])),
            (&["-c", "a=1", "proxy"], Some(&["-c", "a=1", "proxy"])),
            (&["Proxy"], Some(&["Proxy"])),
            (&[""], Some(&[""])),
        ] {
            assert_eq!(theirs(&words(typed)), expected.map(words), "{typed:?}");
        }
    }

    #[test]
    fn without_a_public_codex_we_tell_what_there_is_and_nothing_else() {
        for (typed, expected) in [
            (&[][..], true),
            (&["--help"], true),
            (&["-h"], true),
            (&["help"], true),
            (&["help", "proxy"], true),
            (&["--version"], true),
            (&["-V"], true),
            (&["help", "exec"], false),
            (&["exec"], false),
            (&["exec", "--help"], false),
            (&["-h", "x"], false),
            (&["--"], false),
        ] {
            assert_eq!(we_can_answer(&words(typed)), expected, "{typed:?}");
        }
    }
}
