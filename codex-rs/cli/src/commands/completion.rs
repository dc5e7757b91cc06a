//! `codex proxy completion SHELL`: what a shell has to know to complete every command line of this program.

use std::env;
use std::ffi::OsStr;
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::Shell;

use super::End;
use super::error::CommandError;
use super::screen::Screen;
use crate::args::Args;

pub(crate) fn completion(shell: Shell, screen: &mut Screen) -> Result<End, CommandError> {
    let called = env::args_os().next();
    screen.text(&script(shell, &name_of(called.as_deref())))?;
    screen.flush()?;
    Ok(End::Done)
}

/// What the program is called by, if a shell takes that for one plain word.
fn name_of(called: Option<&OsStr>) -> String {
    let name = called.and_then(|called| Path::new(called).file_name()).and_then(OsStr::to_str);
    let is_plain = |name: &&str| {
        name.starts_with(|letter: char| letter.is_ascii_alphanumeric())
            && name.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter))
    };
    name.filter(is_plain).unwrap_or("codex").to_owned()
}

fn script(shell: Shell, name: &str) -> String {
    let mut script = Vec::new(); // Written here first: the generator panics where writing fails.
    clap_complete::generate(shell, &mut visible(&Args::command()), name, &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    match shell {
        // The generator writes a hyphen in the program's own name in two ways, which do not meet.
        Shell::Bash if name.contains('-') => {
            script.replace(&name.replace('-', "__subcmd__"), &name.replace('-', "__"))
        }
        _ => script,
    }
}

/// The same command as far as help shows it: the generators would offer hidden flags, too.
fn visible(command: &Command) -> Command {
    let mut shown = Command::new(kept(command.get_name()))
        .visible_aliases(command.get_visible_aliases().map(kept))
        .args(command.get_arguments().filter(|argument| !argument.is_hide_set()).cloned())
        .subcommands(command.get_subcommands().filter(|verb| !verb.is_hide_set()).map(visible));
    if let Some(about) = command.get_about() {
        shown = shown.about(about.clone());
    }
    if let Some(version) = command.get_version() {
        shown = shown.version(kept(version));
    }
    shown
}

/// A handful of names, which clap wants for as long as the program runs.
fn kept(word: &str) -> &'static str {
    word.to_owned().leak()
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Write};
    use std::process::{self, Stdio};

    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_shell_learns_every_verb_and_no_hidden_flag() {
        for shell in Shell::value_variants() {
            let script = script(*shell, "codex");
            for word in [
                "responses-api-proxy",
                "status",
                "log",
                "stop",
                "rotate-key",
                "completion",
                "follow",
            ] {
                assert!(script.contains(word), "{shell}: {word}");
            }
            for hidden in [
                "daemon-serving",
                "github-oidc",
                "oidc-audience",
                "identity-provider-id",
                "service-account-id",
            ] {
                assert!(!script.contains(hidden), "{shell}: {hidden}");
            }
        }
    }

    #[test]
    fn what_is_not_shown_is_exactly_what_is_hidden() {
        let (all, shown) = (Args::command(), visible(&Args::command()));
        let flags = |command: &Command, with_hidden: bool| -> Vec<String> {
            let proxy = command.find_subcommand("responses-api-proxy").unwrap();
            let flags = proxy.get_arguments().filter(|flag| with_hidden || !flag.is_hide_set());
            flags.map(|flag| flag.get_id().to_string()).collect()
        };
        assert_eq!(flags(&shown, true), flags(&all, false));
        assert!(flags(&all, true).len() > flags(&all, false).len());
        visible(&Args::command()).debug_assert();
    }

    #[test]
    fn they_are_for_the_name_that_was_called() {
        for (called, expected) in [
            (Some("/usr/local/bin/key-guard"), "key-guard"),
            (Some("codex"), "codex"),
            (Some("./codex_2.0"), "codex_2.0"),
            (Some("a b"), "codex"),
            (Some("$(x)"), "codex"),
            (Some("-x"), "codex"),
            (Some(""), "codex"),
            (None, "codex"),
        ] {
            assert_eq!(name_of(called.map(OsStr::new)), expected, "{called:?}");
        }
    }

    #[test]
    fn bash_takes_them_and_completes_verbs() {
        for name in ["codex", "key-guard"] {
            let function = format!("_{}", name.replace('-', "__"));
            let test = format!(
                "source /dev/stdin && complete -p {name} && COMP_WORDS=({name} proxy log --sin) COMP_CWORD=3 && \
                 {function} {name} --sin log && echo \"${{COMPREPLY[@]}}\""
            );
            let mut bash = process::Command::new("bash");
            bash.args(["--norc", "-c", &test]).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut bash = match bash.spawn() {
                Err(error) if error.kind() == ErrorKind::NotFound => return,
                started => started.unwrap(),
            };
            bash.stdin.take().unwrap().write_all(script(Shell::Bash, name).as_bytes()).unwrap();
            let shown = bash.wait_with_output().unwrap();
            let shown = String::from_utf8(shown.stdout).unwrap();
            assert!(shown.ends_with(&format!(" -F {function} {name}\n--since\n")), "{shown}");
        }
    }
}
