//! `--then-exec`: the program that takes our place, as the account and with none of its old rights.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use codex_privileges::{Account, fresh_command, terminal_is_anothers};
use codex_process_hardening::keep_descriptors;
use nix::unistd::geteuid;

use super::error::RelinquishError;
use super::signals::Signals;
use crate::args::RelinquishSudoArgs;
use crate::commands::End;
use crate::commands::error::CommandError;
use crate::commands::screen::say;

/// By anybody.
const EXECUTABLE: u32 = 0o111;

/// Becomes the program, if one was named; else it ended like this.
pub(super) fn go_on(
    args: &RelinquishSudoArgs,
    account: &Account,
    signals: Signals,
    end: End,
) -> Result<End, CommandError> {
    let Some(command) = command(&args.then_exec) else { return Ok(end) };
    if signals.have_come() {
        say("interrupted: the program was not started");
        return Ok(End::Interrupted);
    }
    // What is held would be held in the program, too.
    drop(signals);
    let mut fresh = fresh_command(account, command).map_err(RelinquishError::from)?;
    let failed = |source| CommandError::Running { program: PathBuf::from(&command[0]), source };
    keep_descriptors(None).map_err(failed)?; // Root's are not for it.
    Err(failed(fresh.exec()))
}

/// Looks whether there is such a program, and whose terminal it would get, as long as nothing has been done.
pub(super) fn check(args: &RelinquishSudoArgs, account: &Account) -> Result<(), RelinquishError> {
    let Some(command) = command(&args.then_exec) else { return Ok(()) };
    let fresh = fresh_command(account, command)?;
    let path = fresh.get_envs().find(|(name, _)| *name == "PATH").and_then(|(_, value)| value);
    let path = path.unwrap_or_default();
    if is_there(&command[0], path) {
        return if geteuid().is_root() && terminal_is_anothers(account) {
            Err(RelinquishError::ForeignTerminal { name: account.name.clone() })
        } else {
            Ok(())
        };
    }
    let words = |text: &OsStr| text.to_string_lossy().into_owned();
    Err(RelinquishError::NoProgram { program: words(&command[0]), path: words(path) })
}

/// A name with a slash is a path as it is; any other one is looked for in these folders (execvp(3)).
fn is_there(program: &OsStr, path: &OsStr) -> bool {
    if program.as_bytes().contains(&b'/') {
        return is_program(Path::new(program));
    }
    !program.is_empty() && env::split_paths(path).any(|folder| is_program(&folder.join(program)))
}

/// A folder that is closed to this account, as those of FUSE are to root, may have it.
fn is_program(path: &Path) -> bool {
    match fs::metadata(path) {
        Ok(found) => found.is_file() && found.permissions().mode() & EXECUTABLE != 0,
        Err(error) => error.kind() == ErrorKind::PermissionDenied,
    }
}

/// Its words. Who is used to `--` may write one before them.
fn command(typed: &[OsString]) -> Option<&[OsString]> {
    let words = match typed.split_first() {
        Some((first, rest)) if first == "--" => rest,
        _ => typed,
    };
    (!words.is_empty()).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_all_that_was_typed_but_dashes_before_it() {
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        for (typed, expected) in [
            (&[][..], None),
            (&["--"][..], None),
            (&["codex"][..], Some(&["codex"][..])),
            (&["--", "codex", "--", "x"][..], Some(&["codex", "--", "x"][..])),
            (&["env", "-u", "A", "codex"][..], Some(&["env", "-u", "A", "codex"][..])),
        ] {
            assert_eq!(command(&words(typed)).map(<[_]>::to_vec), expected.map(words), "{typed:?}");
        }
    }

    #[test]
    fn a_program_is_an_executable_file_by_its_path_or_in_one_of_the_folders() {
        let path = "/usr/local/bin:/usr/bin:/bin";
        for (program, expected) in [
            ("sh", true),
            ("/bin/sh", true),
            ("/bin/../bin/sh", true),
            ("/etc/passwd", false),
            ("/bin", false),
            ("/bin/no-such-program", false),
            ("no-such-program", false),
            ("passwd/sh", false),
            ("", false),
        ] {
            assert_eq!(is_there(OsStr::new(program), OsStr::new(path)), expected, "{program:?}");
        }
        assert!(!is_there(OsStr::new("sh"), OsStr::new("/etc:/no/such/folder")));
    }
}
