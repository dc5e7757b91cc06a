//! Stopped at each of its steps: by a signal that nothing can catch, or by a failure.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;

use crate::scene::{STORIES, Scene, Story, Tree};
use crate::traced::{Call, calls, is_possible, run_with};
use crate::{deed, say};

const SIGKILL: i32 = 9;
/// What all is about, in a [`Tree`]: the second is what the first leads to, if that is a link.
const FILES: [&str; 2] = ["home/config.toml", "elsewhere/codex.toml"];

/// What changes nothing outside the process: killed there it leaves what the next call would.
const OF_MEMORY: &[&str] = &["brk", "madvise", "mmap", "mprotect", "mremap", "munmap"];

/// A disk that breaks: any call that has to do with files.
const MAY_BREAK: &[&str] = &[
    "chmod",
    "chown",
    "copy_file_range",
    "faccessat",
    "faccessat2",
    "fchmod",
    "fchmodat",
    "fchmodat2",
    "fchown",
    "fchownat",
    "fdatasync",
    "fgetxattr",
    "flistxattr",
    "flock",
    "fsetxattr",
    "fstat",
    "fsync",
    "ftruncate",
    "getxattr",
    "link",
    "linkat",
    "listxattr",
    "lstat",
    "mkdir",
    "mkdirat",
    "newfstatat",
    "open",
    "openat",
    "openat2",
    "pread64",
    "pwrite64",
    "read",
    "readlink",
    "readlinkat",
    "rename",
    "renameat",
    "renameat2",
    "stat",
    "statx",
    "symlinkat",
    "unlink",
    "unlinkat",
    "utimensat",
    "write",
    "writev",
];
/// A disk that is full, and stays it.
const MAY_FILL: &[&str] =
    &["copy_file_range", "fdatasync", "fsync", "ftruncate", "mkdir", "pwrite64", "write", "writev"];
/// What somebody may have forbidden.
const MAY_BE_FORBIDDEN: &[&str] = &[
    "chmod",
    "chown",
    "fchmod",
    "fchmodat",
    "fchown",
    "fchownat",
    "link",
    "linkat",
    "mkdir",
    "open",
    "openat",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
];

/// Error, the calls that it is tried with, and whether it stays.
const FAILURES: [(&str, &[&str], &str); 3] = [
    ("error=EIO", MAY_BREAK, ""),
    ("error=ENOSPC", MAY_FILL, "+"),
    ("error=EACCES", MAY_BE_FORBIDDEN, ""),
];

/// Tries all stories side by side: nearly all that is done is waiting for processes to start.
pub(crate) fn try_all() -> ExitCode {
    if !can_run() {
        return ExitCode::SUCCESS;
    }
    let told = thread::scope(|scope| {
        let tried = STORIES.map(|story| {
            scope.spawn(move || (story.name, catch_unwind(|| try_each_step(&story)).is_ok()))
        });
        tried.map(|tried| tried.join().unwrap())
    });
    for (name, is_ok) in told {
        say(&format!("test {name} ... {}", if is_ok { "ok" } else { "FAILED" }));
    }
    // The words of the ordinary harness, for whoever counts.
    let failed = told.iter().filter(|(_, is_ok)| !is_ok).count();
    let result = if failed == 0 { "ok" } else { "FAILED" };
    say(&format!("test result: {result}. {} passed; {failed} failed", told.len() - failed));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn can_run() -> bool {
    if is_possible() {
        return true;
    }
    let missing = "strace that may trace (apt-get install strace)";
    let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(!in_ci, "CI must run this test: {missing}");
    say(&format!("not run: {missing}"));
    false
}

fn try_each_step(story: &Story) {
    let scene = Scene::of(story);
    let calls = calls(&scene, story);
    let after = scene.tree();
    let names: BTreeSet<&str> = calls.iter().map(|call| call.name.as_str()).collect();
    assert_ne!(scene.before, after, "nothing was done");
    assert!(names.iter().any(|name| name.starts_with("rename")), "not in one step: {names:?}");
    is_brought_to_the_disk(&calls, &scene.before, &after);
    for call in calls.iter().filter(|call| !OF_MEMORY.contains(&call.name.as_str())) {
        is_killed_at(story, &after, call);
        for (error, may_fail, on) in FAILURES {
            if may_fail.contains(&call.name.as_str()) {
                fails_at(story, &after, call, error, on);
            }
        }
    }
}

/// A kill can't show it, a power cut would: a text is on the disk before it has its name, and its name after that.
fn is_brought_to_the_disk(calls: &[Call], before: &Tree, after: &Tree) {
    let places = |name: &str| -> Vec<usize> {
        let of_name = |(place, call): (usize, &Call)| call.name.starts_with(name).then_some(place);
        calls.iter().enumerate().filter_map(of_name).collect()
    };
    let (synced, renamed) = (places("fsync"), places("rename"));
    let is_new = |file: &&str| {
        let path = Path::new(file);
        after.contains_key(path) && after.get(path) != before.get(path)
    };
    if FILES.iter().any(is_new) {
        assert!(synced.first() < renamed.first(), "renamed before it is on the disk: {calls:?}");
    }
    assert!(synced.last() > renamed.last(), "the folder is not brought to the disk: {calls:?}");
}

/// Whatever there was is still there, or there is what was to be.
fn is_killed_at(story: &Story, after: &Tree, call: &Call) {
    let what = format!("{}, killed at {} {}", story.name, call.name, call.number);
    let scene = Scene::of(story);
    let status = run_with(&scene, story, call, "signal=SIGKILL", "");
    assert_eq!(status.signal(), Some(SIGKILL), "{what}: {status}");
    is_old_or_new(&scene, after, &what);
    it_goes_on(&scene, story, after, &what);
}

/// The same; and what had been begun was taken away.
fn fails_at(story: &Story, after: &Tree, call: &Call, error: &str, on: &str) {
    let what = format!("{}, {error} at {} {}{on}", story.name, call.name, call.number);
    let scene = Scene::of(story);
    let status = run_with(&scene, story, call, error, on);
    assert!(matches!(status.code(), Some(0 | 1)), "{what}: {status}");
    is_old_or_new(&scene, after, &what);
    if !call.name.starts_with("unlink") {
        let strays = strays(&scene, after);
        assert!(strays.is_empty(), "{what}: {strays:?}");
    }
    if status.success() {
        is_new(&scene, after, &what); // And not only said to be.
    }
    it_goes_on(&scene, story, after, &what);
}

/// Text, mode, owner and links of all that is there before or after; the backup among them.
fn is_old_or_new(scene: &Scene, after: &Tree, what: &str) {
    let tree = scene.tree();
    for path in scene.before.keys().chain(after.keys()) {
        let (old, new, found) = (scene.before.get(path), after.get(path), tree.get(path));
        assert!(found == old || found == new, "{what}: {} is {found:#?}", path.display());
    }
}

fn is_new(scene: &Scene, after: &Tree, what: &str) {
    let tree = scene.tree();
    for file in FILES.map(Path::new) {
        assert_eq!(tree.get(file), after.get(file), "{what}");
    }
}

/// Files that are neither there before nor after.
fn strays(scene: &Scene, after: &Tree) -> Vec<PathBuf> {
    let is_known = |path: &PathBuf| scene.before.contains_key(path) || after.contains_key(path);
    scene.tree().into_keys().filter(|path| !is_known(path)).collect()
}

/// Nothing that was left over is in the way of the next time; and nothing of it is left after that.
fn it_goes_on(scene: &Scene, story: &Story, after: &Tree, what: &str) {
    scene.apply(&deed(story.deed));
    is_new(scene, after, &format!("{what}, and once more"));
    scene.apply(&deed("point 4002"));
    scene.apply(&deed("purge"));
    assert_eq!(scene.tree(), scene.original, "{what}, and all undone");
}
