//! What would be done, shown before it is. docs/guides/pointing.md has the same screen: a test here holds it.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;

use codex_mock_upstream::Scenario;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::openpty;
use serde_json::{Value, json};

use super::{AZURE, Desk, ended};
use crate::support::*;

const GUIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guides/pointing.md");

/// In the home and with the port that the guide speaks of.
fn as_in_the_guide(desk: &Desk, shown: &str) -> String {
    let port = format!("127.0.0.1:{}/", desk.proxy.port);
    shown.replace(str(&desk.home()), "/home/alice").replace(&port, "127.0.0.1:4000/")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_shows_the_guides_screen_and_writes_nothing() {
    let upstream = upstream(Scenario::Turn).await;
    let desk = Desk::with(&upstream, AZURE);
    let (code, shown, said) = desk.pointed(&["--dry-run"]);
    assert_eq!((code, said.as_str()), (Some(0), "nothing was written\n"), "{shown}");
    let screen = as_in_the_guide(&desk, &(shown + &said));
    let guide = fs::read_to_string(GUIDE).unwrap();
    let block = format!("```diff\n{screen}```\n");
    assert!(guide.contains(&block), "docs/guides/pointing.md does not show this:\n{screen}");
    assert!(guide.contains(&format!("```toml\n{AZURE}```\n")), "nor what was there before");
    assert_eq!(desk.read(), AZURE);
    let left: Vec<_> = fs::read_dir(desk.codex_home()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_makes_no_folder_and_an_undoing_has_one_too() {
    let upstream = upstream(Scenario::Turn).await;
    let desk = Desk::start(&upstream);
    let (code, shown, said) = desk.pointed(&["--dry-run"]);
    assert_eq!((code, said.as_str()), (Some(0), "nothing was written\n"));
    assert!(shown.starts_with("--- /dev/null\n+++ "), "{shown}");
    assert!(!desk.codex_home().exists());

    desk.write(AZURE);
    desk.pointed(&[]);
    let pointed = desk.read();
    let (code, shown, said) = desk.pointed(&["--dry-run"]);
    assert_eq!((code, said.as_str()), (Some(0), "nothing was written\n"));
    assert!(shown.starts_with("nothing to do: ") && shown.lines().count() == 1, "{shown}");
    let (code, shown, said) = desk.unpointed(&["--purge", "--dry-run"]);
    assert_eq!((code, said.as_str()), (Some(0), "nothing was written\n"));
    assert!(shown.contains("\n-[model_providers.openai-proxy]\n"), "{shown}");
    assert!(shown.contains("\n+model_provider = \"azure\"\n"), "{shown}");
    assert_eq!(desk.read(), pointed);
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_get_the_difference_as_text() {
    let upstream = upstream(Scenario::Turn).await;
    let desk = Desk::with(&upstream, AZURE);
    let (code, shown, said) = desk.pointed(&["--dry-run", "--json"]);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    let seen: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&seen["state"], &seen["effective"]), (&json!("would_change"), &Value::Null));
    let (_, text, _) = desk.pointed(&["--dry-run"]);
    assert_eq!(seen["diff"], text);
    assert_eq!(desk.read(), AZURE);
}

/// What a terminal shows until this is there. It holds some kilobytes for its reader.
fn read_until(master: &OwnedFd, part: &str) -> String {
    let (mut shown, mut chunk) = (Vec::new(), [0; 512]);
    while !contains(&shown, part.as_bytes()) {
        let mut watched = [PollFd::new(master.as_fd(), PollFlags::POLLIN)];
        let patience = PollTimeout::try_from(LIMIT).unwrap();
        assert_eq!(poll(&mut watched, patience), Ok(1), "no {part:?} in {:?}", text(&shown));
        let count = nix::unistd::read(master, &mut chunk).unwrap();
        shown.extend_from_slice(&chunk[..count]);
    }
    text(&shown)
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_terminal_gets_colour_and_what_it_could_act_on_is_shown() {
    let upstream = upstream(Scenario::Turn).await;
    let desk = Desk::with(&upstream, "# \u{202e}evil\nmodel_provider = \"azure\"\n");
    let (_, shown, _) = desk.pointed(&["--dry-run"]);
    assert!(shown.contains("\n # \\u{202e}evil\n") && !shown.contains('\u{1b}'), "{shown}");

    for (no_color, expected) in
        [(None, "\u{1b}[31m-model_provider"), (Some("1"), "\n-model_provider")]
    {
        let pty = openpty(None, None).unwrap();
        let mut command = desk.point(&["--dry-run"]);
        command.env("TERM", "xterm").envs(no_color.map(|value| ("NO_COLOR", value)));
        let stdout = Stdio::from(pty.slave.as_fd().try_clone_to_owned().unwrap());
        let mut child = command.stdout(stdout).stderr(Stdio::null()).spawn().unwrap();
        assert!(child.wait().unwrap().success());
        let shown = read_until(&pty.master, "wire_api");
        assert!(shown.contains(expected), "{shown:?}");
    }
    let forced = ended(desk.point(&["--dry-run"]).env("CLICOLOR_FORCE", "1").output().unwrap());
    assert!(!forced.1.contains('\u{1b}'), "not a terminal: {:?}", forced.1);
}
