//! What `unpoint` takes out, and what it leaves alone.

use std::fs;

use codex_mock_upstream::Scenario;

use super::{AZURE, Desk, ended, verb};
use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn unpoint_puts_the_former_selector_back_and_keeps_the_table() {
    let upstream = upstream(Scenario::Turn).await;
    let desk = Desk::with(&upstream, AZURE);
    desk.pointed(&[]);
    let (code, shown, said) = desk.unpointed(&[]);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    let config = desk.config().display().to_string();
    let unpointed = format!(
        "unpointed: {config}; the table [model_providers.openai-proxy] stays, so that old sessions still open (CODEX_PROXY=1 codex resume ID, or -c model_provider=openai-proxy); --purge takes it out"
    );
    let now = format!("now: Codex uses \"azure\", as {config} says");
    assert_eq!(shown.lines().collect::<Vec<_>>(), [unpointed, now]);
    let left = desk.read();
    assert!(left.starts_with(AZURE) && left.contains("[model_providers.openai-proxy]"), "{left}");

    let (code, shown, said) = desk.unpointed(&[]);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    let nothing = format!(
        "nothing to do: {config} selects \"azure\", which is not ours; the table [model_providers.openai-proxy] stays (--purge takes it out)\n"
    );
    assert_eq!(shown, nothing);
    assert_eq!(desk.read(), left);
}

#[tokio::test(flavor = "multi_thread")]
async fn purge_gives_back_the_same_bytes_and_takes_the_backup_along() {
    let upstream = upstream(Scenario::Turn).await;
    let desk = Desk::with(&upstream, AZURE);
    desk.pointed(&[]);
    assert!(desk.backup().exists());
    let (code, shown, said) = desk.unpointed(&["--purge"]);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    let purged = format!("purged: nothing of ours is left in {}\n", desk.config().display());
    assert!(shown.starts_with(&purged), "{shown}");
    assert_eq!(desk.read(), AZURE);
    assert!(!desk.backup().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_not_what_the_file_is_now_stays_and_is_named() {
    let upstream = upstream(Scenario::Turn).await;
    let desk = Desk::with(&upstream, AZURE);
    let backup = desk.backup().display().to_string();
    let (made, earlier) =
        (format!("\nbackup: {backup}\n"), format!("\nbackup: {backup} (of an earlier point)\n"));
    let (_, shown, _) = desk.pointed(&[]);
    assert!(shown.contains(&made), "{shown}");
    // The table has stayed, so this is no file without us.
    desk.unpointed(&[]);
    let (_, shown, _) = desk.pointed(&[]);
    assert!(shown.contains(&earlier), "{shown}");

    let later = desk.read() + "[later]\n";
    fs::write(desk.config(), &later).unwrap();
    let (code, shown, said) = desk.unpointed(&["--purge"]);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    let note = format!("note: {backup} stays: it is not what the file is now");
    assert!(shown.lines().any(|line| line == note), "{shown}");
    assert_eq!(fs::read_to_string(desk.backup()).unwrap(), AZURE);

    // Made anew, in place of that one, which then goes without a word.
    let (_, shown, _) = desk.pointed(&[]);
    assert!(shown.contains(&made), "{shown}");
    let (_, shown, _) = desk.unpointed(&["--purge"]);
    assert!(!desk.backup().exists() && !shown.contains("note: "), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_selector_that_somebody_chose_since_is_left_alone_and_named() {
    let upstream = upstream(Scenario::Turn).await;
    let desk = Desk::start(&upstream);
    desk.write("model_provider = \"azure\"\n");
    desk.pointed(&[]);
    let changed = desk.read().replace("\"openai-proxy\" #", "\"mistral\" #");
    fs::write(desk.config(), &changed).unwrap();
    let (code, shown, said) = desk.unpointed(&[]);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    assert!(shown.contains(" selects \"mistral\", which is not ours"), "{shown}");
    assert_eq!(desk.read(), changed);
    let (code, shown, said) = desk.unpointed(&["--purge"]);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    assert!(
        shown.contains("note: \"mistral\", which it selects, is not ours and stays"),
        "{shown}"
    );
    assert!(!desk.read().contains("[model_providers.openai-proxy]"));
}

/// Killed between the file's change and the backup's end.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_a_killed_purge_has_left_goes_with_the_next_one() {
    let upstream = upstream(Scenario::Turn).await;
    let desk = Desk::with(&upstream, AZURE);
    fs::write(desk.backup(), AZURE).unwrap();
    let (code, shown, said) = desk.unpointed(&["--purge"]);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    assert!(shown.starts_with("nothing to do: ") && !shown.contains("backup"), "{shown}");
    assert_eq!((desk.read().as_str(), desk.backup().exists()), (AZURE, false));
}

#[test]
fn where_nothing_is_nothing_is_done() {
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join(".codex/config.toml");
    for arguments in [&["unpoint"][..], &["unpoint", "--purge"], &["unpoint", "--dry-run"]] {
        let (code, shown, _) = ended(verb(home.path(), arguments).output().unwrap());
        assert_eq!(code, Some(0));
        assert_eq!(shown, format!("nothing to do: there is no {}\n", config.display()));
    }
    fs::create_dir(home.path().join(".codex")).unwrap();
    fs::write(&config, "model = \"gpt-5\"\n").unwrap();
    let (code, shown, _) = ended(verb(home.path(), &["unpoint"]).output().unwrap());
    let nothing =
        format!("nothing to do: {} does not point Codex at the proxy\n", config.display());
    assert_eq!((code, shown), (Some(0), nothing));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_is_gone_locks_nobody_out() {
    let upstream = upstream(Scenario::Turn).await;
    let mut desk = Desk::with(&upstream, AZURE);
    desk.pointed(&[]);
    desk.proxy.signal(nix::sys::signal::Signal::SIGKILL);
    desk.proxy.wait();
    let (code, shown, said) = desk.pointed(&[]);
    assert_eq!((code, shown.as_str()), (Some(1), ""), "{said}");
    assert!(said.starts_with("error: no proxy runs: ") && said.contains("\nhint: "), "{said}");
    let (code, shown, said) = desk.unpointed(&["--purge"]);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    assert_eq!(desk.read(), AZURE);
}
