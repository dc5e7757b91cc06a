//! The one place that prints: what went wrong and what to do, on standard error.
//!
//! Nothing here fails: a closed standard error is the operator's choice, and no reason to stop.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use codex_path_trust::Groups;
use codex_process_hardening::Hardened;
use nix::unistd::geteuid;

use crate::StartError;
use crate::environment::Environment;
use crate::ownership;
use crate::plain::plain;
use crate::settings::Authorities;

/// Says why the program ends, with causes and remedy; returns the exit code for it.
pub fn fatal(error: &anyhow::Error) -> ExitCode {
    fatal_with(error, None)
}

/// The same with a remedy for what this crate does not know.
pub fn fatal_with(error: &anyhow::Error, remedy: Option<&str>) -> ExitCode {
    line(&format!("error: {error}"));
    for cause in error.chain().skip(1) {
        line(&format!("  because: {cause}"));
    }
    let start = error.chain().find_map(|cause| cause.downcast_ref::<StartError>());
    if let Some(hint) = start.map(StartError::hint).or(remedy) {
        line(&format!("hint: {hint}"));
    }
    start.map_or(ExitCode::FAILURE, StartError::exit_code)
}

/// An error and its causes, in one line.
pub fn in_one_line(error: &dyn Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", in_one_line(cause)),
        None => error.to_string(),
    }
}

/// Says which variables were in the environment that should not have been, and what that means.
pub(crate) fn environment(hardened: &Hardened, environment: &Environment) {
    let code: Vec<_> = hardened
        .removed_variables()
        .map(|name| name.to_string_lossy().escape_debug().to_string())
        .filter(|name| !name.starts_with("SSL_"))
        .collect();
    if !code.is_empty() {
        line(&format!("warning: taken out of the environment: {}", code.join(", ")));
        line("  what they name may have been loaded into this process: start it without them");
    }
    if !environment.not_used.is_empty() {
        let as_root = if geteuid().is_root() { " as root" } else { "" };
        line(&format!("warning: not used{as_root}: {}", environment.not_used.join(", ")));
        line("  name authorities with --upstream-ca, a proxy with --upstream-proxy");
    }
}

/// Says which files of authorities somebody but root could change, where it is root that trusts them.
pub(crate) fn authorities(authorities: &[Authorities]) {
    for Authorities { path, named_by } in authorities {
        if geteuid().is_root() && path.exists() && !ownership::is_ours_alone(path, Groups::None) {
            let path = path.display();
            line(&format!("warning: others than root can change {path} ({named_by})"));
            line("  who does can have the key sent to himself: give it to root, mode 644");
        }
    }
}

/// Says what the operator should know, by a thread that nobody waits for: who reads standard error may have stopped.
#[derive(Clone, Debug)]
pub(crate) struct Words(SyncSender<String>);

/// How many may wait. More are lost.
const WORDS_WAITING: usize = 64;

impl Words {
    /// Starts the thread, which ends with the last clone.
    ///
    /// # Errors
    ///
    /// As [`thread::Builder::spawn`].
    pub(crate) fn start() -> io::Result<Self> {
        let (words, waiting) = sync_channel::<String>(WORDS_WAITING);
        let say = move || waiting.iter().for_each(|text| line(&text));
        thread::Builder::new().name("words".to_owned()).spawn(say)?;
        Ok(Self(words))
    }

    /// Never blocks.
    pub(crate) fn say(&self, text: String) {
        let _ = self.0.try_send(text); // What finds no room is lost.
    }
}

/// Says one thing that the operator should know. Paths and other words of somebody else's may be in it: nothing that a
/// terminal would act on gets there, and what goes on in another line is indented.
pub fn line(text: &str) {
    // In one write: what others write to the same file, a record say, comes before or after it.
    let _ = std::io::stderr().write_all(shown(text).as_bytes());
}

fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len() + 1);
    for (number, line) in text.split('\n').enumerate() {
        let is_indented = number == 0 || line.starts_with("  ");
        shown.push_str(if is_indented { "" } else { "  " });
        shown.push_str(&plain(line));
        shown.push('\n');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn nobody_elses_words_move_the_cursor_or_begin_a_line() {
        for (text, expected) in [
            ("ready: http://127.0.0.1:1/v1", "ready: http://127.0.0.1:1/v1\n"),
            ("looked in\n  /run/a\n  /run/b", "looked in\n  /run/a\n  /run/b\n"),
            ("error: /a\nhint: rm -rf /", "error: /a\n  hint: rm -rf /\n"),
            ("error: /a\u{1b}]0;x\u{7}\r", "error: /a\\u{1b}]0;x\\u{7}\\r\n"),
        ] {
            assert_eq!(shown(text), expected);
        }
    }
}
