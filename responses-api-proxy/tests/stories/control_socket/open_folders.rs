//! The proxy's files are not made where another account chooses what a path leads to.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use super::end::refused_start;
use super::fixture::open_folder;
use crate::support::*;

/// An account that need not exist.
const FOREIGN_UID: u32 = 61_001;

fn make(folder: &Path, mode: u32) {
    fs::create_dir(folder).unwrap();
    fs::set_permissions(folder, Permissions::from_mode(mode)).unwrap(); // Whatever the umask is.
}

/// Everything below a folder.
fn all(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(all(&entry.path()));
        }
        found.push(entry.path());
    }
    found.sort();
    found
}

/// Folders in which, or on the way to which, another account may change something.
fn open_to_others(home: &Path) -> Vec<&'static str> {
    let at = |name: &str| home.join(name);
    make(&at("closed"), 0o755);
    make(&at("open"), 0o777);
    make(&at("open/inside"), 0o755);
    make(&at("closed/open"), 0o757);
    symlink(at("open"), at("link")).unwrap();
    symlink(at("open/inside"), at("closed/way-in")).unwrap();
    symlink(at("closed/way-in"), at("closed/way-to-it")).unwrap();
    symlink(at("closed"), at("open/way-out")).unwrap(); // Who may write there can turn it elsewhere.
    let mut names = vec![
        "open",
        "open/inside",
        "closed/open",
        "link",
        "link/inside",
        "closed/way-in",
        "closed/way-to-it",
        "open/way-out",
        "open/../closed",
    ];
    // An ordinary user's own group is let in, and only root can give a folder away.
    if geteuid().is_root() {
        make(&at("shared"), 0o775);
        make(&at("given"), 0o755);
        make(&at("given/inside"), 0o755);
        chown(at("given"), Some(FOREIGN_UID), None).unwrap();
        symlink(at("given/inside"), at("closed/given")).unwrap();
        names.extend(["shared", "given", "given/inside", "closed/given"]);
    }
    names
}

#[test]
fn a_folder_that_another_account_may_change_ends_the_start() {
    let home = open_folder();
    let names = open_to_others(home.path());
    let before = all(home.path());
    for name in names {
        for (flag, file) in [("--control-socket", "control.sock"), ("--log-file", "log.jsonl")] {
            let path = home.path().join(name).join(file);
            let said = refused_start(&[flag, str(&path)], &path);
            let expected = format!("error: other accounts can change what {} leads to", str(&path));
            assert!(said.contains(&expected), "{flag} in {name}: {said}");
            assert_eq!(all(home.path()), before, "{flag} in {name} left something");
        }
    }
}

/// What was made before the refusal goes with it.
#[test]
fn a_log_file_in_its_place_does_not_help_a_control_socket_that_is_not() {
    let home = open_folder();
    make(&home.path().join("open"), 0o777);
    let (log, socket) = (home.path().join("log.jsonl"), home.path().join("open/control.sock"));
    refused_start(&["--log-file", str(&log), "--control-socket", str(&socket)], &socket);
    assert!(!socket.exists());
    assert!(!log.exists(), "the log file was left behind");
    let socket = home.path().join("control.sock");
    let log = home.path().join("open/log.jsonl");
    refused_start(&["--log-file", str(&log), "--control-socket", str(&socket)], &log);
    assert!(!log.exists() && !socket.exists());
}

/// The sticky bit keeps a folder's files their makers', as in /tmp.
#[test]
fn a_folder_with_the_sticky_bit_is_good_enough() {
    let home = open_folder();
    let folder = home.path().join("sticky");
    make(&folder, 0o1777);
    let (log, socket) = (folder.join("log.jsonl"), folder.join("control.sock"));
    let flags = ["--log-file", str(&log), "--control-socket", str(&socket)];
    let proxy = Proxy::start_for("http://127.0.0.1:9/v1/responses", &flags);
    assert!(log.exists() && socket.exists());
    proxy.stop();
    assert!(!socket.exists());
}
