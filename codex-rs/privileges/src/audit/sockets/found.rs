//! The sockets of this system that have names: all below /run, and known ones elsewhere.
//!
//! Never goes where an account may have mounted something, which might never answer.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use crate::audit::reach::Owned;
use crate::audit::walk;

/// Known sockets that are not below /run.
const ELSEWHERE: [&str; 5] = [
    "/var/lib/lxd/unix.socket",
    "/var/snap/lxd/common/lxd/unix.socket",
    "/var/snap/microk8s/common/run/containerd.sock",
    "/var/lib/incus/unix.socket",
    "/var/lib/rancher/k3s/agent/containerd/containerd.sock",
];

const DEEPEST: usize = 6;
const MOST_ENTRIES: usize = 20_000;

/// All sockets below /run, and known ones elsewhere; and whether that is all.
pub(super) fn sockets() -> (Vec<Owned>, bool) {
    let mut walk = Walk { foreign: walk::foreign(), left: MOST_ENTRIES, found: Vec::new() };
    let tops = ["/run", "/var/run"].map(Path::new);
    let is_folder = |top: &&&Path| fs::symlink_metadata(top).is_ok_and(|found| found.is_dir());
    tops.iter().filter(is_folder).for_each(|top| walk.folder(top, DEEPEST));
    let is_all = walk.left > 0;
    for path in ELSEWHERE {
        if let Ok(found) = fs::symlink_metadata(path) {
            walk.file(PathBuf::from(path), &found);
        }
    }
    (walk.found, is_all)
}

struct Walk {
    foreign: HashSet<PathBuf>,
    left: usize,
    found: Vec<Owned>,
}

impl Walk {
    fn folder(&mut self, folder: &Path, depth: usize) {
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries.flatten() {
            if self.left == 0 {
                return;
            }
            self.left -= 1;
            let path = entry.path();
            // Accounts' own: their sockets are not root's, and what they mount there might never answer.
            if path.ends_with("run/user") || self.foreign.contains(&path) {
                continue;
            }
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && depth > 0 => self.folder(&path, depth - 1),
                Ok(kind) if kind.is_socket() => {
                    if let Ok(found) = entry.metadata() {
                        self.file(path, &found);
                    }
                }
                _ => {}
            }
        }
    }

    fn file(&mut self, path: PathBuf, found: &fs::Metadata) {
        if found.file_type().is_socket() {
            self.found.push(Owned::at(path, found));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_found_below_a_folder_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let path = folder.path().join("a/b/x.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        for (depth, left, expected) in [(2, 9, 1), (1, 9, 0), (2, 2, 0)] {
            let mut walk = Walk { foreign: HashSet::new(), left, found: Vec::new() };
            walk.folder(folder.path(), depth);
            assert_eq!(walk.found.len(), expected, "{depth} {left}");
        }
    }
}
