//! The files that a process runs code from, as the kernel and its command line tell.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::audit::interpreters::{self, without_version};
use crate::processes::words;

/// What is read of `maps`: some 40,000 lines.
const MAPS_BYTES: u64 = 4 * 1024 * 1024;
/// Words of a command line that are looked at.
const MOST_WORDS: usize = 32;
const DELETED: &[u8] = b" (deleted)";

/// How a process uses a file. The surest way to root stands first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Use {
    /// It is what runs.
    Program,
    /// It is what an interpreter runs.
    Script,
    /// Code is mapped from it: a library.
    Code,
    /// It stands in the command line.
    Word,
}

/// What a process uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Used {
    pub(super) files: Vec<(Use, PathBuf)>,
    /// Whether this account is not told all of it.
    pub(super) is_unseen: bool,
}

pub(super) fn used(pid: u32) -> Used {
    let link = |name: &str| fs::read_link(format!("/proc/{pid}/{name}"));
    let (words, exe) = (words(pid), link("exe"));
    let is_unseen =
        exe.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
    let called = words.first().map(PathBuf::from);
    let program = match exe {
        Ok(exe) => Some(exe),
        // What root's process says of itself is as good as true, if it is a path.
        Err(_) if is_unseen => called.filter(|path| path.is_absolute()),
        Err(_) => return Used::default(), // It has ended.
    };
    let mut files = Vec::new();
    let folder = link("cwd").ok();
    files.extend(from_words(program.as_deref(), &words, folder.as_deref(), &|path| path.is_file()));
    files.extend(mapped(pid, program.as_deref()).into_iter().map(|path| (Use::Code, path)));
    files.extend(program.filter(|path| !is_gone(path)).map(|path| (Use::Program, path)));
    Used { files, is_unseen }
}

/// The script that is run, or all files that are named.
fn from_words(
    program: Option<&Path>,
    words: &[OsString],
    folder: Option<&Path>,
    is_file: &dyn Fn(&Path) -> bool,
) -> Vec<(Use, PathBuf)> {
    let is_many = program.is_some_and(|program| program.ends_with("busybox"));
    let called = words.first().map(|word| Path::new(word.as_os_str())).filter(|_| is_many);
    let name = called.or(program).and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    let mut rest = words.iter().skip(1).take(MOST_WORDS).map(OsString::as_os_str);
    let mut is_script_to_come = is_interpreter(&name);
    let mut found = Vec::new();
    while let Some(word) = rest.next() {
        if is_script_to_come && is_code_flag(word, &name) {
            is_script_to_come = false;
            rest.next();
            continue;
        }
        if word.is_empty() || word.as_bytes().starts_with(b"-") {
            continue;
        }
        let path = Path::new(word);
        if is_script_to_come {
            let path = folder.unwrap_or(Path::new("/")).join(path);
            if is_file(&path) {
                return vec![(Use::Script, path)]; // What follows is for the script.
            }
        } else if path.is_absolute() && is_file(path) {
            found.push((Use::Word, path.to_owned()));
        }
    }
    found
}

pub(super) fn is_shell(name: &str) -> bool {
    interpreters::is_shell(name.trim_start_matches('-')) // A login shell has a dash before it.
}

fn is_interpreter(name: &str) -> bool {
    is_shell(name) || interpreters::is_interpreter(name)
}

/// Whether the next word is code, or the name of a module. A shell's `-e` is neither; in its `-lc` one letter says it.
fn is_code_flag(word: &OsStr, interpreter: &str) -> bool {
    let Some(word) = word.to_str() else { return false };
    let letters = word.strip_prefix('-').filter(|letters| !letters.starts_with('-'));
    let letters = letters.unwrap_or_default();
    match without_version(interpreter) {
        shell if is_shell(shell) => letters.contains('c'),
        "python" | "pypy" => letters.ends_with(['c', 'm']),
        "perl" => letters.len() <= 3 && letters.ends_with(['e', 'E']), // Not `-MFile`.
        "node" | "nodejs" => ["-e", "-p", "-pe", "--eval", "--print"].contains(&word),
        "php" => letters == "r",
        "ruby" | "lua" | "luajit" => letters.ends_with('e'),
        _ => false,
    }
}

/// Whether a shell waits for what is typed, or was given what to do.
pub(super) fn is_for_typing(words: &[OsString]) -> bool {
    words.iter().skip(1).all(|word| word.as_bytes().starts_with(b"-") && !is_code_flag(word, "sh"))
}

/// The files that code is mapped from, but for the program itself.
fn mapped(pid: u32, program: Option<&Path>) -> Vec<PathBuf> {
    let mut maps = Vec::new();
    if let Ok(file) = File::open(format!("/proc/{pid}/maps")) {
        let _ = file.take(MAPS_BYTES).read_to_end(&mut maps); // What has been read counts.
    }
    let mut found: Vec<PathBuf> = maps.split(|byte| *byte == b'\n').filter_map(code_in).collect();
    found.sort();
    found.dedup();
    found.retain(|path| Some(path.as_path()) != program);
    found
}

/// `ADDRESS PERMISSIONS OFFSET DEVICE INODE      PATH`, and only a newline in the path is escaped.
fn code_in(line: &[u8]) -> Option<PathBuf> {
    let permissions = line.split(|byte| *byte == b' ').nth(1)?;
    let path = &line[line.iter().position(|byte| *byte == b'/')?..];
    let path = PathBuf::from(OsString::from_vec(unescaped(path)));
    (permissions.contains(&b'x') && !is_gone(&path)).then_some(path)
}

fn unescaped(path: &[u8]) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::with_capacity(path.len()), path);
    while let Some((first, others)) = rest.split_first() {
        let newline = rest.strip_prefix(b"\\012");
        bytes.push(if newline.is_some() { b'\n' } else { *first });
        rest = newline.unwrap_or(others);
    }
    bytes
}

/// It has no name any more, or never had one (memfd_create(2)).
fn is_gone(path: &Path) -> bool {
    path.as_os_str().as_bytes().ends_with(DELETED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_script_is_found_and_code_in_a_word_is_not_a_path() {
        let files = ["/opt/run", "/opt/lib", "/srv/run", "/etc/it.conf"].map(Path::new);
        let is_file = |path: &Path| files.contains(&path);
        for (program, line, expected) in [
            ("/bin/bash", "bash /opt/run /etc/it.conf", "Script /opt/run"),
            ("/bin/dash", "/bin/sh -e /opt/run", "Script /opt/run"),
            ("/bin/bash", "bash -o pipefail /opt/run", "Script /opt/run"),
            ("/bin/bash", "bash run", "Script /srv/run"),
            ("/bin/bash", "bash ./run /opt/run", "Script /srv/./run"),
            ("/bin/bash", "-bash", ""),
            ("/bin/bash", "bash -c /opt/run", ""),
            ("/bin/bash", "bash -lc /opt/run name /opt/lib", "Word /opt/lib"),
            ("/bin/bash", "bash --rcfile none /opt/run", "Script /opt/run"),
            ("/usr/bin/python3.11", "python3 -u /opt/run", "Script /opt/run"),
            ("/usr/bin/python3.11", "python3 -m http /opt/run", "Word /opt/run"),
            ("/usr/bin/node", "node --enable-source-maps /opt/run", "Script /opt/run"),
            ("/usr/bin/python3", "python3 -Es /opt/run", "Script /opt/run"),
            ("/usr/bin/node", "node -r /opt/lib /opt/run", "Script /opt/lib"), // It runs both.
            ("/usr/bin/perl", "perl -MFile /opt/run", "Script /opt/run"),
            ("/usr/bin/perl", "perl -ne 1", ""),
            ("/bin/busybox", "sh /opt/run", "Script /opt/run"),
            ("/usr/sbin/it", "it -c /etc/it.conf /none run", "Word /etc/it.conf"),
            ("/usr/sbin/it", "it /opt/run /opt/lib", "Word /opt/run Word /opt/lib"),
            ("/usr/sbin/it", "/opt/run", ""),
        ] {
            let (program, folder) = (Path::new(program), Some(Path::new("/srv")));
            let found = from_words(Some(program), &words(line), folder, &is_file);
            let shown: Vec<String> =
                found.iter().map(|(how, path)| format!("{how:?} {}", path.display())).collect();
            assert_eq!(shown.join(" "), expected, "{line}");
        }
        assert_eq!(from_words(None, &[], None, &is_file), []);
    }

    #[test]
    fn a_shell_waits_for_what_is_typed_unless_it_was_given_something() {
        for (line, expected) in [
            ("-bash", true),
            ("bash -i", true),
            ("bash --norc", true),
            ("bash -c ls", false),
            ("sh -ec ls", false),
            ("bash /opt/run", false),
        ] {
            assert_eq!(is_for_typing(&words(line)), expected, "{line}");
        }
    }

    #[test]
    fn code_is_what_can_run_and_has_a_name() {
        for (line, expected) in [
            ("7f00-7f01 r-xp 00001000 fe:00 21   /usr/lib/libc.so.6", Some("/usr/lib/libc.so.6")),
            ("7f00-7f01 rwxp 00001000 fe:00 21   /opt/a b", Some("/opt/a b")),
            ("7f00-7f01 r-xp 00001000 fe:00 21   /opt/a\\012b", Some("/opt/a\nb")),
            ("7f00-7f01 r--p 00001000 fe:00 21   /usr/lib/libc.so.6", None),
            ("7f00-7f01 r-xp 00001000 fe:00 21   /opt/a (deleted)", None),
            ("7f00-7f01 rwxs 00000000 00:01 21   /memfd:jit (deleted)", None),
            ("7ffc-7ffd r-xp 00000000 00:00 0    [vdso]", None),
            ("7ffc-7ffd rwxp 00000000 00:00 0 ", None),
            ("", None),
        ] {
            assert_eq!(code_in(line.as_bytes()), expected.map(PathBuf::from), "{line}");
        }
    }

    #[test]
    fn this_process_uses_its_own_program() {
        let Used { files, is_unseen } = used(std::process::id());
        let own = std::env::current_exe().unwrap();
        assert!(!is_unseen && files.contains(&(Use::Program, own)), "{files:?}");
        assert_eq!(used(0), Used::default());
    }
}
