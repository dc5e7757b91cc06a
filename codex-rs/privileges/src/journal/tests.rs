use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use tempfile::TempDir;

use super::*;
use crate::apply::Step;

/// The journals' folder, not made yet. `None`: we are not root, and nothing here would be allowed.
fn folder() -> Option<(TempDir, PathBuf)> {
    let folder = crate::processes::samples::is_root().then(tempfile::tempdir)?.unwrap();
    let journals = folder.path().canonicalize().unwrap().join("state/relinquished");
    Some((folder, journals))
}

fn account() -> Account {
    let (home, shell) = ("/home/alice".into(), "/bin/sh".into());
    Account { name: "alice".to_owned(), uid: 1_000, gid: 100, home, shell, groups: Vec::new() }
}

#[test]
fn a_journal_is_in_a_place_that_root_alone_can_read() {
    let Some((_folder, journals)) = folder() else { return };
    assert_eq!(Journal::read_in(&journals, 1_000).unwrap(), None);
    let journal = Journal::open_in(&journals, &account()).unwrap();
    assert!(journal.began_at > 1_500_000_000 && journal.steps.is_empty());
    assert_eq!(Journal::read_in(&journals, 1_000).unwrap().as_ref(), Some(&journal));
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(mode(journals.parent().unwrap()), 0o755);
    assert_eq!(mode(&journals), 0o700);
    assert_eq!(mode(&journals.join("1000.json")), 0o600);
    assert_eq!(fs::read_dir(&journals).unwrap().count(), 1);
}

#[test]
fn a_later_run_keeps_what_an_earlier_one_wrote() {
    let Some((_folder, journals)) = folder() else { return };
    let mut journal = Journal::open_in(&journals, &account()).unwrap();
    journal.begin("groups", vec!["leave the group sudo".to_owned()], vec!["undo".to_owned()]);
    journal.evidence = Some(serde_json::json!({"uid": 1000}));
    journal.write_in(&journals).unwrap();
    let mut again = Journal::open_in(&journals, &account()).unwrap();
    assert_eq!(again, journal);
    assert!(!again.settle("drop_in"));
    assert!(again.settle("groups"), "the run that began it was killed");
    assert!(!again.settle("groups"));
    assert_eq!(again.steps[0].outcome, "done");
    assert_eq!(again.begin("drop_in", Vec::new(), Vec::new()), 1);
    assert_eq!(again.begin("drop_in", Vec::new(), Vec::new()), 2);
    let outcomes: Vec<&str> = again.steps.iter().map(|entry| entry.outcome.as_str()).collect();
    assert_eq!(outcomes, ["done", "interrupted", "begun"]);
}

#[test]
fn a_step_by_itself_is_added() {
    let Some((_folder, journals)) = folder() else { return };
    for outcome in [Outcome::Already, Outcome::Failed, Outcome::Done] {
        let details = vec!["ended cat (pid 7)".to_owned()];
        let report = StepReport { step: Step::Processes, outcome, details };
        note_in(&journals, &account(), &report).unwrap();
    }
    let journal = Journal::read_in(&journals, 1_000).unwrap().unwrap();
    let told = journal.steps.iter().map(|entry| (entry.step.as_str(), entry.outcome.as_str()));
    assert_eq!(told.collect::<Vec<_>>(), [("processes", "failed"), ("processes", "done")]);
    assert_eq!(journal.steps[0].details, ["ended cat (pid 7)"]);
}

#[test]
fn a_journal_that_can_not_be_understood_is_moved_aside_and_never_lost() {
    let Some((_folder, journals)) = folder() else { return };
    let whole = {
        let journal = Journal::open_in(&journals, &account()).unwrap();
        serde_json::to_string(&journal).unwrap()
    };
    let path = journals.join("1000.json");
    let texts = [
        String::new(),
        whole[..whole.len() - 1].to_owned(),
        whole.replace("\"version\":1", "\"version\":2"),
        whole.replace("\"uid\":1000", "\"uid\":1001"),
        "[]".to_owned(),
    ];
    for (number, text) in (1..).zip(&texts) {
        fs::write(&path, text).unwrap();
        let error = Journal::read_in(&journals, 1_000).unwrap_err();
        assert!(matches!(error, JournalError::Garbled { .. }), "{error}");
        let journal = Journal::open_in(&journals, &account()).unwrap();
        assert!(journal.steps.is_empty());
        let suffix = if number == 1 { String::new() } else { format!(".{number}") };
        let aside = journals.join(format!("1000.json.unreadable{suffix}"));
        assert_eq!(&fs::read_to_string(aside).unwrap(), text);
    }
    assert!(Journal::read_in(&journals, 1_000).unwrap().is_some());
}

#[test]
fn what_others_could_have_written_is_not_believed() {
    let Some((_folder, journals)) = folder() else { return };
    Journal::open_in(&journals, &account()).unwrap();
    let path = journals.join("1000.json");
    chown(&path, Some(1_000), None).unwrap();
    assert!(matches!(Journal::read_in(&journals, 1_000), Err(JournalError::Garbled { .. })));
    chown(&path, Some(0), None).unwrap();
    assert!(Journal::read_in(&journals, 1_000).is_ok());
    fs::set_permissions(&journals, fs::Permissions::from_mode(0o777)).unwrap();
    let error = Journal::read_in(&journals, 1_000).unwrap_err();
    assert!(matches!(error, JournalError::Unreadable { .. }), "{error}");
    assert!(error.hint().starts_with("chmod go-w "), "{}", error.hint());
    assert!(Journal::lock_in(&journals).is_err());
}

#[test]
fn one_run_at_a_time_changes_anything() {
    let Some((_folder, journals)) = folder() else { return };
    let lock = Journal::lock_in(&journals).unwrap();
    thread::scope(|scope| {
        let other = scope.spawn(|| Journal::lock_in(&journals).is_ok());
        drop(lock);
        assert!(other.join().unwrap());
    });
}

#[test]
fn an_account_has_one_place_for_its_journal() {
    let expected = "/var/lib/codex-responses-api-proxy/relinquished/1000.json";
    assert_eq!(Journal::path(1_000), Path::new(expected));
}
