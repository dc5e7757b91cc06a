use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::*;

const URL: &str = "http://127.0.0.1:4000/v1";

fn to(port: u16) -> Deed {
    Deed::Point { base_url: format!("http://127.0.0.1:{port}/v1") }
}

/// A folder with this file in it.
fn with(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    fs::write(&file, text).unwrap();
    (folder, file)
}

fn done(file: &Path, deed: &Deed) -> Applied {
    Change::plan(file, deed).unwrap().apply().unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn nothing_is_written_before_it_is_done() {
    let (folder, file) = with("a = 1\n");
    let change = Change::plan(&file, &to(4000)).unwrap();
    assert_eq!((change.before(), change.is_none()), (Some("a = 1\n"), false));
    assert_eq!(change.after(), Some(edit::point(Some("a = 1\n"), URL).unwrap().as_str()));
    assert_eq!(fs::read_to_string(&file).unwrap(), "a = 1\n");
    assert_eq!(names(folder.path()), ["config.toml"]);
}

#[test]
fn mode_and_links_stay() {
    let (folder, real) = with("a = 1\n");
    let home = tempfile::tempdir().unwrap();
    let (file, middle) = (home.path().join("config.toml"), folder.path().join("middle"));
    symlink("config.toml", &middle).unwrap();
    symlink(&middle, &file).unwrap();
    fs::set_permissions(&real, Permissions::from_mode(0o640)).unwrap();
    let applied = done(&file, &to(4000));
    assert!(fs::symlink_metadata(&file).unwrap().is_symlink());
    assert_eq!(fs::read_link(&middle).unwrap(), Path::new("config.toml"));
    assert_eq!(fs::metadata(&real).unwrap().mode() & 0o7777, 0o640);
    assert!(edit::read(&fs::read_to_string(&real).unwrap()).unwrap().is_pointed());
    let backup = home.path().join("config.toml.before-openai-proxy");
    assert_eq!(applied.backup.as_deref(), Some(&*backup));
    assert_eq!(fs::metadata(&backup).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(fs::read_to_string(&backup).unwrap(), "a = 1\n");
    assert_eq!(done(&file, &Deed::Purge).backup, None);
    assert_eq!(fs::read_to_string(&file).unwrap(), "a = 1\n");
    assert_eq!((names(home.path()).len(), names(folder.path()).len()), (1, 2));
}

#[test]
fn a_link_to_nothing_leads_to_a_new_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    symlink("other.toml", &file).unwrap();
    assert_eq!(done(&file, &to(4000)).backup, None);
    assert_eq!(fs::metadata(folder.path().join("other.toml")).unwrap().mode() & 0o7777, 0o600);
    done(&file, &Deed::Purge);
    assert_eq!(names(folder.path()), ["config.toml"]);
    symlink("a", folder.path().join("b")).unwrap();
    symlink("b", folder.path().join("a")).unwrap();
    let error = Change::plan(&folder.path().join("a"), &to(4000)).unwrap_err();
    assert!(matches!(error, ConfigError::Unreadable { .. }), "{error:?}");
}

#[test]
fn a_file_and_its_folder_are_made_for_their_owner_alone() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join(".codex/config.toml");
    for deed in [Deed::Unpoint, Deed::Purge] {
        assert!(Change::plan(&file, &deed).unwrap().is_none());
    }
    done(&file, &to(4000));
    assert_eq!(fs::metadata(file.parent().unwrap()).unwrap().mode() & 0o7777, 0o700);
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o600);
    done(&file, &Deed::Unpoint);
    done(&file, &Deed::Purge);
    assert!(names(file.parent().unwrap()).is_empty());
}

#[test]
fn a_backup_is_never_made_of_a_file_that_has_something_of_ours() {
    let (folder, file) = with("model_provider = 'azure'\n");
    let backup = Change::backup_path(&file);
    assert!(done(&file, &to(4000)).is_new);
    for deed in [to(5000), Deed::Unpoint, to(4000), to(4000)] {
        let applied = done(&file, &deed);
        assert_eq!(applied, Applied { backup: Some(backup.clone()), is_new: false }, "{deed:?}");
        assert_eq!(fs::read_to_string(&backup).unwrap(), "model_provider = 'azure'\n", "{deed:?}");
    }
    fs::write(&file, fs::read_to_string(&file).unwrap() + "[later]\n").unwrap();
    // It is not what the backup says: that stays.
    assert_eq!(done(&file, &Deed::Purge).backup, Some(backup.clone()));
    // One that was there is made anew.
    assert!(done(&file, &to(4000)).is_new);
    assert_eq!(fs::read_to_string(&backup).unwrap(), "model_provider = 'azure'\n[later]\n");
    done(&file, &Deed::Purge);
    assert_eq!(names(folder.path()), ["config.toml"]);
}

#[test]
fn what_somebody_else_wrote_meanwhile_stays() {
    for (before, deed) in [(Some("a = 1\n"), to(4000)), (None, to(4000)), (Some(""), Deed::Purge)] {
        let (folder, file) = with("");
        match before {
            Some("") => drop(fs::write(&file, edit::point(None, URL).unwrap())),
            Some(text) => fs::write(&file, text).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        let change = Change::plan(&file, &deed).unwrap();
        fs::write(&file, "a = 2\n").unwrap();
        let error = change.apply().unwrap_err();
        assert!(matches!(error, ConfigError::Changed { .. }), "{error:?}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "a = 2\n");
        assert_eq!(names(folder.path()), ["config.toml"]);
    }
}

/// Whoever writes at the same time loses nothing, at whatever moment it comes.
#[test]
fn an_edit_of_somebody_else_at_any_moment_is_there() {
    const ROUNDS: u32 = 600;
    let (folder, file) = with("# 0\n");
    let ours = folder.path().join(".config.toml.openai-proxy-new");
    for round in 0..ROUNDS {
        let theirs = format!("# theirs {round}\n");
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let draft = folder.path().join("theirs");
                fs::write(&draft, &theirs).unwrap();
                let began = Instant::now();
                while !ours.exists() && began.elapsed() < Duration::from_secs(1) {}
                // From then on at another moment each time, over about as long as it takes.
                let (seen, pause) = (Instant::now(), Duration::from_micros(4) * round);
                while seen.elapsed() < pause {}
                fs::rename(&draft, &file).unwrap();
            });
            match Change::plan(&file, &to(4000)).and_then(Change::apply) {
                Ok(_) | Err(ConfigError::Changed { .. }) => {}
                Err(error) => panic!("{error}"),
            }
            writer.join().unwrap();
        });
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(&theirs), "{round}: {text}");
    }
}

/// Whoever can open the folder can take its lock, and must not lock anybody out with it.
#[test]
fn a_lock_that_somebody_keeps_is_waited_for_and_no_more() {
    let (folder, file) = with("a = 1\n");
    let _other = Folder::locked(&file).unwrap();
    done(&file, &to(4000));
    done(&file, &Deed::Purge);
    assert_eq!(names(folder.path()), ["config.toml"]);
}

#[test]
fn what_a_killed_one_of_us_has_left_is_removed() {
    let (folder, file) = with("a = 1\n");
    fs::write(folder.path().join(".config.toml.openai-proxy-new"), "half of i").unwrap();
    done(&file, &to(4000));
    done(&file, &Deed::Purge);
    assert_eq!(names(folder.path()), ["config.toml"]);
}

#[test]
fn what_is_no_text_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("bytes"), b"a = '\xff'\n").unwrap();
    fs::write(at("large"), "#".repeat(5 << 20)).unwrap();
    fs::create_dir(at("folder")).unwrap();
    rustix::fs::mknodat(CWD, at("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    for (name, expected) in [
        ("bytes", "is not UTF-8: byte 5"),
        ("large", "is larger than 262144 bytes"),
        ("folder", "is no regular file"),
        ("pipe", "is no regular file"),
    ] {
        let error = Change::plan(&at(name), &to(4000)).unwrap_err();
        assert_eq!(error.to_string(), format!("{} {expected}", at(name).display()));
    }
}

#[test]
fn other_names_of_a_file_are_told_of() {
    let (folder, file) = with("a = 1\n");
    assert!(Change::plan(&file, &to(4000)).unwrap().warnings().is_empty());
    fs::hard_link(&file, folder.path().join("other")).unwrap();
    let warnings = Change::plan(&file, &to(4000)).unwrap().warnings();
    assert!(warnings[0].contains("has 2 names (hard links)"), "{warnings:?}");
}
