//! Programs that do whatever they are told: shells, interpreters, and tools that run others or write any file. With
//! somebody else's rights such a program is as good as that somebody.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use codex_config::regular::{Links, open_regular, read_regular};

use crate::audit::interpreters::{is_interpreter, is_shell};

const FOLDERS: [&str; 6] =
    ["/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/local/bin", "/usr/local/sbin"];
const SHELLS: &str = "/etc/shells";
const SHELLS_LIMIT_BYTES: u64 = 64 * 1024;

/// By exactly these names; shells and interpreters are others. What is commonly setuid for a purpose (su, mount, screen, …) is none of them.
#[rustfmt::skip]
const NAMES: &[&str] = &[
    "awk", "base32", "base64", "bpftrace", "busybox", "capsh", "cat", "chgrp", "chmod", "chown", "chroot",
    "coreutils", "cp", "cpio", "curl", "dd", "ed", "emacs", "env", "find", "flock", "gawk", "gcc", "gdb", "git",
    "grep", "gtar", "head", "install", "ionice", "jq", "ld", "less", "ln", "ltrace", "make", "mawk", "more", "mv",
    "nano", "nawk", "nc", "ncat", "nice", "nmap", "nohup", "nsenter", "nvim", "openssl", "perf", "pico", "pip",
    "rsync", "runc", "script", "sed", "setarch", "setpriv", "socat", "sort", "start-stop-daemon", "stdbuf", "strace",
    "tail", "tar", "taskset", "tee", "timeout", "toybox", "unshare", "vi", "vim", "wget", "xargs",
];
/// These too, with a version or a flavour: `gcc-12`, `vim.basic`.
const FAMILIES: &[&str] = &["emacs-", "gcc-", "gdb", "vim."];
const FLAVOURS: &[&str] = &["basic", "gtk", "gtk3", "nox", "pgtk", "static", "tiny"];

/// Larger ones are not compared.
const COMPARED_LIMIT_BYTES: u64 = 512 * 1024 * 1024;
const BLOCK_BYTES: usize = 64 * 1024;

/// Those of this system, by size.
#[derive(Debug)]
pub(in crate::audit) struct Obedient(HashMap<u64, Vec<PathBuf>>);

impl Obedient {
    pub(in crate::audit) fn of_this_system() -> Self {
        let shells = read_regular(Path::new(SHELLS), SHELLS_LIMIT_BYTES).ok().flatten();
        let shells = String::from_utf8_lossy(&shells.unwrap_or_default()).into_owned();
        let shells = shells.lines().filter(|line| line.starts_with('/')).map(PathBuf::from);
        Self::of(FOLDERS.iter().flat_map(|folder| named(Path::new(folder))).chain(shells))
    }

    fn of(paths: impl Iterator<Item = PathBuf>) -> Self {
        let (mut by_size, mut known) = (HashMap::<_, Vec<_>>::new(), HashSet::new());
        for path in paths {
            // Many are links, and to something else than is to be opened later.
            let Ok(path) = path.canonicalize() else { continue };
            let Ok(facts) = fs::symlink_metadata(&path) else { continue };
            let is_program = facts.is_file() && facts.mode() & 0o111 != 0 && facts.len() > 0;
            if is_program && known.insert((facts.dev(), facts.ino())) {
                by_size.entry(facts.len()).or_default().push(path);
            }
        }
        Self(by_size)
    }

    /// The one that a file is, or is a copy of.
    pub(in crate::audit) fn like(&self, path: &Path) -> Option<PathBuf> {
        let facts = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file)?;
        let is_like = |candidate: &&PathBuf| {
            let itself = fs::symlink_metadata(candidate)
                .is_ok_and(|other| (other.dev(), other.ino()) == (facts.dev(), facts.ino()));
            itself || facts.len() <= COMPARED_LIMIT_BYTES && has_same_bytes(candidate, path)
        };
        self.0.get(&facts.len())?.iter().find(is_like).cloned()
    }
}

/// Those in a folder.
fn named(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_named = |name: Option<&str>| name.is_some_and(is_obedient);
    entries.filter(|entry| is_named(entry.file_name().to_str())).map(|entry| entry.path()).collect()
}

fn is_obedient(name: &str) -> bool {
    let is_flavour = |rest: &str| {
        FLAVOURS.contains(&rest)
            || rest.chars().all(|letter| letter.is_ascii_digit() || ".-".contains(letter))
    };
    NAMES.contains(&name)
        || is_shell(name)
        || is_interpreter(name)
        || FAMILIES.iter().any(|family| name.strip_prefix(family).is_some_and(is_flavour))
}

/// Not so where one can't be read.
fn has_same_bytes(one: &Path, other: &Path) -> bool {
    let opened = |path: &Path| open_regular(path, Links::Refused).ok().flatten();
    let (Some(one), Some(other)) = (opened(one), opened(other)) else { return false };
    let (mut one, mut other) = (one.take(COMPARED_LIMIT_BYTES), other.take(COMPARED_LIMIT_BYTES));
    let (mut first, mut second) = (vec![0; BLOCK_BYTES], vec![0; BLOCK_BYTES]);
    loop {
        match (fill(&mut one, &mut first), fill(&mut other, &mut second)) {
            (Some(length), Some(same)) if length == same && first[..length] == second[..length] => {
                if length < BLOCK_BYTES {
                    return true;
                }
            }
            _ => return false,
        }
    }
}

/// As much as there is, up to the whole block.
fn fill(file: &mut std::io::Take<File>, block: &mut [u8]) -> Option<usize> {
    let mut length = 0;
    while length < block.len() {
        match file.read(&mut block[length..]).ok()? {
            0 => break,
            read => length += read,
        }
    }
    Some(length)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn names_count_with_versions_and_flavours_and_nothing_else() {
        for name in ["sh", "bash", "python3", "python3.11", "perl5.36.0", "vim.basic", "gcc-12"] {
            assert!(is_obedient(name), "{name}");
        }
        for name in
            ["su", "sudo", "mount", "passwd", "python3-config", "nodes", "shutdown", "screen", ""]
        {
            assert!(!is_obedient(name), "{name}");
        }
    }

    #[test]
    fn the_shell_of_this_system_is_known_by_its_name_and_by_a_copy() {
        let obedient = Obedient::of_this_system();
        let shell = Path::new("/bin/sh").canonicalize().unwrap();
        assert_eq!(obedient.like(&shell), Some(shell.clone()));
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("harmless");
        fs::copy(&shell, &copy).unwrap();
        assert!(obedient.like(&copy).is_some()); // Some systems have the same shell twice.
    }

    #[test]
    fn only_the_same_bytes_are_a_copy() {
        let folder = tempfile::tempdir().unwrap();
        let long = vec![b'x'; 3 * BLOCK_BYTES];
        let made = |name: &str, bytes: &[u8]| {
            let path = folder.path().canonicalize().unwrap().join(name);
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        let program = made("program", &long);
        let obedient = Obedient::of([program.clone(), folder.path().join("none")].into_iter());
        assert_eq!(obedient.like(&made("copy", &long)), Some(program.clone()));
        let mut other = long.clone();
        *other.last_mut().unwrap() = b'y';
        assert_eq!(obedient.like(&made("other", &other)), None);
        assert_eq!(obedient.like(&made("short", &long[1..])), None);
        let link = folder.path().join("link");
        symlink(&program, &link).unwrap();
        assert_eq!(obedient.like(&link), None);
    }
}
