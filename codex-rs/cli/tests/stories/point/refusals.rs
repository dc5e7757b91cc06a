//! What stands in the way is named, and everything is left as it was.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::Command;

use codex_mock_upstream::Scenario;
use nix::unistd::geteuid;

use super::{AZURE, Desk, Ended, ended};
use crate::support::*;

/// An account that no machine has.
const ORDINARY: u32 = 61_238;

fn refused(how: &Ended, part: &str) {
    let (code, shown, said) = how;
    assert_eq!((*code, shown.as_str()), (Some(1), ""), "{said}");
    assert!(said.starts_with("error: ") && said.contains(part), "no {part:?} in {said}");
    assert!(said.contains("\nhint: "), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_edited_is_named_and_left_as_it_is() {
    let upstream = upstream(Scenario::Turn).await;
    let desk = Desk::start(&upstream);
    let config = desk.config().display().to_string();
    for (text, part) in [
        ("model = \n", "it is no TOML: line 1"),
        ("[model_providers.openai-proxy]\nname = \"Mine\"\n", "that is not ours"),
        ("model_provider = 5\n", "`model_provider` is no string"),
        ("model_providers = 5\n", "`model_providers` is no table"),
    ] {
        desk.write(text);
        for flags in [&[][..], &["--dry-run"]] {
            let how = desk.pointed(flags);
            refused(&how, part);
            assert!(how.2.contains(&config), "{}", how.2);
        }
        assert_eq!(desk.read(), text);
        assert!(!desk.backup().exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_codex_home_that_is_not_there_is_an_error_as_with_codex_itself() {
    let upstream = upstream(Scenario::Turn).await;
    let desk = Desk::start(&upstream);
    let gone = desk.folder.path().join("gone");
    let how = ended(desk.point(&[]).env("CODEX_HOME", &gone).output().unwrap());
    refused(&how, &format!("CODEX_HOME={} is no folder", gone.display()));
    assert!(how.2.contains(&format!("\nhint: make it (mkdir -p {})", gone.display())), "{}", how.2);
    assert!(!gone.exists());

    let file = desk.folder.path().join("file");
    fs::write(&file, "").unwrap();
    let how = ended(desk.point(&[]).env("CODEX_HOME", &file).output().unwrap());
    refused(&how, &format!("CODEX_HOME={} is no folder", file.display()));
    assert!(
        how.2.ends_with("\nhint: it is a file: name a folder, or unset CODEX_HOME\n"),
        "{}",
        how.2
    );

    let other = desk.folder.path().join("other");
    fs::create_dir(&other).unwrap();
    let (code, shown, said) = ended(desk.point(&[]).env("CODEX_HOME", &other).output().unwrap());
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    assert!(other.join("config.toml").exists() && !desk.codex_home().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_written_is_not() {
    let upstream = upstream(Scenario::Turn).await;
    let desk = Desk::with(&upstream, AZURE);
    let program = program_for_all(desk.folder.path());
    fs::set_permissions(desk.info(), Permissions::from_mode(0o644)).unwrap();
    let as_ordinary = |flags: &[&str]| {
        let typed = desk.point(flags);
        let mut command = clean(Command::new(&program));
        command.args(typed.get_args()).env_remove("CODEX_HOME").env_remove("SUDO_UID");
        command.env("HOME", desk.home()).current_dir("/");
        if geteuid().is_root() {
            command.uid(ORDINARY).gid(ORDINARY);
        }
        ended(command.output().unwrap())
    };
    if geteuid().is_root() {
        for path in [desk.home(), desk.codex_home(), desk.config()] {
            chown(&path, Some(ORDINARY), Some(ORDINARY)).unwrap();
        }
    }
    let (folder, file) =
        (desk.codex_home().display().to_string(), desk.config().display().to_string());
    for (path, closed, open, hint) in [
        (desk.config(), 0o444, 0o644, format!("allow it (chmod u+w {file}), or ")),
        (desk.codex_home(), 0o555, 0o755, format!("look who may: ls -ld {folder} {file}\n")),
    ] {
        fs::set_permissions(&path, Permissions::from_mode(closed)).unwrap();
        let (code, shown, said) = as_ordinary(&[]);
        fs::set_permissions(&path, Permissions::from_mode(open)).unwrap();
        assert_eq!((code, shown.as_str()), (Some(1), ""), "{said}");
        let error = format!("error: {}", desk.config().display());
        assert!(said.starts_with(&error), "{path:?}: {said}");
        assert!(said.contains(&format!("\nhint: {hint}")), "{path:?}: {said}");
        assert_eq!(desk.read(), AZURE);
    }
    if geteuid().is_root() {
        chown(desk.config(), Some(0), Some(ORDINARY)).unwrap();
        let how = as_ordinary(&[]);
        let hint = "make it yours (sudo chown \"$(id -u):$(id -g)\" ";
        refused(&how, &format!("\nhint: {hint}{file}"));
        assert_eq!(desk.read(), AZURE);
        // A group that the account is not in: the file gets its own, and nothing of the mode that was meant for the other.
        chown(desk.config(), Some(ORDINARY), Some(ORDINARY + 1)).unwrap();
        fs::set_permissions(desk.config(), Permissions::from_mode(0o664)).unwrap();
    }
    // And now it may. The proxy tells an account that is not its own nothing, and is trusted all the same.
    let (code, shown, said) = as_ordinary(&[]);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    assert!(shown.contains(&format!(" (pid {})\n", desk.proxy.pid())), "{shown}");
    assert!(desk.read().contains(&desk.base_url()));
    if geteuid().is_root() {
        let found = fs::metadata(desk.config()).unwrap();
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o777), (ORDINARY, ORDINARY, 0o604));
        let how = as_ordinary(&["--verify", "--yes"]);
        refused(&how, "tells this account nothing");
    }
    // Only root does it for others.
    let how = as_ordinary(&["--user", "root"]);
    refused(&how, "--user root: only root");
}
