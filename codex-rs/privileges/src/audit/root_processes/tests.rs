use std::os::unix::fs::{chown, symlink};
use std::process::Command;

use super::*;
use crate::finding::Grade;
use crate::processes::samples::{Holder, UID, is_root, subject};

/// What is told of a path.
fn told(path: &Path) -> Option<Finding> {
    let begin = format!("{}, ", path.display());
    look(&subject()).into_iter().find(|finding| finding.what.starts_with(&begin))
}

/// A folder, and its path without links.
fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    (folder, path)
}

fn give(path: &Path) {
    chown(path, Some(UID), None).unwrap();
}

#[test]
fn a_program_in_an_accounts_folder_is_found_with_who_runs_it() {
    if !is_root() {
        return;
    }
    let (_folder, top) = folder();
    let bin = top.join("bin");
    fs::create_dir(&bin).unwrap();
    let path = bin.join("daemon");
    assert!(Command::new("cp").arg("/bin/cat").arg(&path).status().unwrap().success());
    let running = Holder::spawn(&mut Command::new(&path));
    assert_eq!(told(&path), None);
    give(&bin);
    let finding = told(&path).unwrap();
    assert_eq!((finding.grade, finding.check), (Grade::Open, "root_process"));
    assert_eq!(finding.what, format!("{}, a program that root runs", path.display()));
    assert!(finding.evidence.contains(&format!("daemon (pid {})", running.pid())), "{finding:?}");
    fs::remove_file(&path).unwrap();
    assert_eq!(told(&path), None, "it has no name any more");
}

#[test]
fn a_script_is_found_by_whatever_path_it_was_started() {
    if !is_root() {
        return;
    }
    let (_folder, top) = folder();
    let (script, link) = (top.join("run.sh"), top.join("link.sh"));
    fs::write(&script, "while read line; do echo \"$line\"; done\n").unwrap();
    symlink(&script, &link).unwrap();
    let _running = Holder::spawn(Command::new("sh").arg(&link));
    assert_eq!(told(&link), None);
    give(&script);
    let finding = told(&link).unwrap();
    assert_eq!(finding.grade, Grade::Open);
    assert!(finding.what.ends_with("a script that root runs"), "{finding:?}");
}

#[test]
fn a_file_that_a_program_was_started_with_is_undecided() {
    if !is_root() {
        return;
    }
    let (_folder, top) = folder();
    let file = top.join("it.conf");
    fs::write(&file, "hello\n").unwrap();
    give(&file);
    let _running = Holder::spawn(Command::new("cat").arg("-").arg(&file));
    assert_eq!(told(&file).unwrap().grade, Grade::Undecided);
}

#[test]
fn the_same_file_in_another_namespace_is_the_same() {
    let subject = subject();
    let mut look = Look::new(&subject);
    let (namespace, own) = (Path::new("mnt:[1]"), std::process::id());
    let cat = Path::new("/bin/sh").canonicalize().unwrap();
    assert!(look.is_same(namespace, own, &cat));
    assert!(!look.is_same(namespace, own, Path::new("/nonexistent/file")));
    assert!(!look.is_same(namespace, 0, Path::new("/")));
}

#[test]
fn many_are_counted_and_what_is_open_comes_first() {
    let subject = subject();
    let mut look = Look::new(&subject);
    let who = codex_path_trust::Who::Everyone;
    let open = |name: &str| Open {
        ways: vec![WayIn { place: name.into(), owner: 0, who: who.clone() }],
        used_by: ["a (pid 1)".to_owned()].into(),
    };
    for number in 0..MOST {
        let name = format!("/opt/{number}");
        look.open.insert((Use::Word, name.clone().into()), open(&name));
    }
    for how in [Use::Word, Use::Program] {
        look.open.insert((how, "/opt/program".into()), open("/opt/program"));
    }
    look.unseen = (0..10).map(|number| format!("name{number}")).collect();
    let findings = look.findings();
    assert_eq!(findings.len(), MOST + 2);
    assert_eq!(findings[0].what, "/opt/program, a program that root runs");
    assert_eq!(findings[MOST].what, "… and 1 more files that root's processes use");
    assert!(findings[MOST + 1].evidence.ends_with("name7 and 2 more"), "{findings:#?}");
}
