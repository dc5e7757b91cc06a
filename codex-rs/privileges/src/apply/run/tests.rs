use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::account::Account;

/// A world in which names can be put, and in which some things do not work.
#[derive(Default)]
struct World {
    names: RefCell<BTreeSet<&'static str>>,
    failing: Option<&'static str>,
    /// It is done, and fails then.
    failing_late: Option<&'static str>,
    staying: Option<&'static str>,
}

struct Put<'w> {
    world: &'w World,
    name: &'static str,
}

impl Deed for Put<'_> {
    fn plan(&self) -> String {
        format!("put {}", self.name)
    }

    fn reverse(&self) -> Option<String> {
        Some(format!("take {}", self.name))
    }

    fn act(&mut self) -> Result<String, Trouble> {
        let trouble = || Trouble::new(format!("no room for {}", self.name), "make room");
        if self.world.failing == Some(self.name) {
            return Err(trouble());
        }
        self.world.names.borrow_mut().insert(self.name);
        if self.world.failing_late == Some(self.name) {
            return Err(trouble());
        }
        Ok(format!("put {}", self.name))
    }

    fn undo(&self) -> Undone {
        if !self.world.names.borrow().contains(self.name) {
            return Undone::NotNeeded;
        }
        if self.world.staying == Some(self.name) {
            return Undone::No(format!("{} stays", self.name));
        }
        self.world.names.borrow_mut().remove(self.name);
        Undone::Yes(format!("took {}", self.name))
    }
}

impl World {
    fn look<'w>(&'w self, names: &'static [&'static str]) -> Look<'w> {
        Box::new(move || {
            let missing = names.iter().filter(|name| !self.names.borrow().contains(*name));
            let deeds = missing.map(|&name| Box::new(Put { world: self, name }) as Box<dyn Deed>);
            let deeds = deeds.collect();
            if names.is_empty() {
                return Ok(Due::Nothing);
            }
            Ok(Due::deeds(deeds, names.iter().map(|name| format!("{name} is there")).collect()))
        })
    }

    fn steps(&self) -> Vec<(Step, Look<'_>)> {
        vec![
            (Step::DropIn, self.look(&["rule"])),
            (Step::PamLock, self.look(&[])),
            (Step::Groups, self.look(&["docker", "sudo"])),
            (Step::Plants, self.look(&["python"])),
        ]
    }

    fn names(&self) -> Vec<&'static str> {
        self.names.borrow().iter().copied().collect()
    }
}

/// Where journals are, and an account. `None`: we are not root, and no journal would be allowed.
fn journals() -> Option<(TempDir, PathBuf, Account)> {
    let folder = crate::processes::samples::is_root().then(tempfile::tempdir)?.unwrap();
    let journals = folder.path().canonicalize().unwrap().join("state/relinquished");
    let (home, shell) = ("/".into(), "/bin/sh".into());
    let name = "alice".to_owned();
    Some((folder, journals, Account { name, uid: 1_000, gid: 7, home, shell, groups: Vec::new() }))
}

/// What came of it, what was told, and the journal: `step outcome: details | reverse`.
fn run(
    world: &World,
    (journals, account): (&Path, &Account),
    interrupted: &dyn Fn() -> bool,
) -> (Result<Vec<StepReport>, ApplyError>, Vec<StepReport>, Vec<String>) {
    let mut told = Vec::new();
    let mut tell = |report: &StepReport| told.push(report.clone());
    let journal = Journal::open_in(journals, account).unwrap();
    let result = Run::new(journals, journal, &mut tell).all(world.steps(), interrupted);
    let journal = Journal::read_in(journals, account.uid).unwrap().unwrap();
    let lines = journal.steps.iter().map(|entry| {
        let (details, reverse) = (entry.details.join(", "), entry.reverse.join(", "));
        format!("{} {}: {details} | {reverse}", entry.step, entry.outcome)
    });
    (result, told, lines.collect())
}

fn words(reports: &[StepReport]) -> Vec<String> {
    let words = |report: &StepReport| {
        format!("{:?} {:?}: {}", report.step, report.outcome, report.details.join(", "))
    };
    reports.iter().map(words).collect()
}

#[test]
fn each_step_is_done_and_told_and_a_second_run_changes_nothing() {
    let Some((_folder, journals, account)) = journals() else { return };
    let (world, at) = (World::default(), (journals.as_path(), &account));
    let (result, told, first) = run(&world, at, &|| false);
    assert_eq!(result.unwrap(), told);
    assert_eq!(
        words(&told),
        [
            "DropIn Done: put rule",
            "PamLock Skipped: ",
            "Groups Done: put docker, put sudo",
            "Plants Done: put python",
        ]
    );
    assert_eq!(
        first,
        [
            "drop_in done: put rule | take rule",
            "groups done: put docker, put sudo | take docker, take sudo",
            "plants done: put python | take python",
        ]
    );
    let (result, told, second) = run(&world, at, &|| false);
    assert_eq!(result.unwrap(), told);
    assert_eq!(
        words(&told),
        [
            "DropIn Already: rule is there",
            "PamLock Skipped: ",
            "Groups Already: docker is there, sudo is there",
            "Plants Already: python is there",
        ]
    );
    assert_eq!(second, first);
}

#[test]
fn a_failure_takes_back_what_this_run_did_and_no_more() {
    let Some((_folder, journals, account)) = journals() else { return };
    for (failing, failing_late, groups) in [
        (Some("sudo"), None, "groups failed: no room for sudo, took docker | "),
        (None, Some("sudo"), "groups failed: no room for sudo, took sudo, took docker | "),
        (Some("docker"), None, "groups failed: no room for docker | "),
    ] {
        let world = World { failing, failing_late, ..World::default() };
        let (result, told, lines) = run(&world, (&journals, &account), &|| false);
        let error = result.unwrap_err();
        assert_eq!(world.names(), [""; 0]);
        assert_eq!(error.step, Step::Groups);
        assert!(error.to_string().starts_with("leaving groups failed: no room for "), "{error}");
        assert_eq!(error.hint(), "make room");
        assert_eq!(error.undone.last().unwrap(), "took rule");
        assert_eq!((error.left.len(), error.reports.to_vec()), (0, told.clone()));
        assert_eq!(told.last().unwrap().outcome, Outcome::Undone);
        assert_eq!(&lines[lines.len() - 2..], ["drop_in undone: put rule, took rule | ", groups]);
    }
}

#[test]
fn what_was_there_before_stays_and_what_can_not_be_taken_back_is_said() {
    let Some((_folder, journals, account)) = journals() else { return };
    let world = World { failing: Some("sudo"), staying: Some("docker"), ..World::default() };
    world.names.borrow_mut().insert("rule");
    let (result, _, lines) = run(&world, (&journals, &account), &|| false);
    let error = result.unwrap_err();
    assert_eq!(world.names(), ["docker", "rule"]);
    assert_eq!(error.undone, [""; 0]);
    assert_eq!(error.left, ["docker stays"]);
    let groups = "groups failed: no room for sudo, docker stays | take docker, take sudo";
    assert_eq!(lines, [groups]);
}

/// The account could see to it that one can't be closed.
#[test]
fn a_planted_file_that_stays_takes_nothing_back() {
    let Some((_folder, journals, account)) = journals() else { return };
    let world = World { failing: Some("python"), ..World::default() };
    let (result, _, lines) = run(&world, (&journals, &account), &|| false);
    let reports = result.unwrap();
    assert_eq!(words(&reports[3..]), ["Plants Failed: no room for python (make room)"]);
    assert_eq!(world.names(), ["docker", "rule", "sudo"]);
    assert!(lines[2].starts_with("plants failed: no room for python"), "{lines:?}");
}

#[test]
fn an_interruption_is_a_failure_of_the_step_that_is_next() {
    let Some((_folder, journals, account)) = journals() else { return };
    let world = World::default();
    let (result, told, _) = run(&world, (&journals, &account), &|| world.names().contains(&"rule"));
    let error = result.unwrap_err();
    assert_eq!((error.step, error.because.as_str()), (Step::PamLock, "it was interrupted"));
    assert_eq!(world.names(), [""; 0]);
    assert_eq!(
        words(&told),
        ["DropIn Done: put rule", "PamLock Failed: it was interrupted", "DropIn Undone: took rule"]
    );
}

/// As if the process had been killed right after the deed.
#[test]
fn a_run_after_a_killed_one_finishes_and_says_so() {
    let Some((_folder, journals, account)) = journals() else { return };
    let mut killed = Journal::open_in(&journals, &account).unwrap();
    killed.begin("drop_in", vec!["put rule".to_owned()], vec!["take rule".to_owned()]);
    killed.write_in(&journals).unwrap();
    let world = World::default();
    world.names.borrow_mut().insert("rule");
    let (result, _, lines) = run(&world, (&journals, &account), &|| false);
    assert!(result.is_ok());
    assert_eq!(world.names(), ["docker", "python", "rule", "sudo"]);
    assert_eq!(lines[0], "drop_in done: put rule | take rule");
    assert_eq!(lines.len(), 3);
}

#[test]
fn nothing_is_changed_that_the_journal_can_not_tell() {
    let Some((_folder, journals, account)) = journals() else { return };
    let journal = Journal::open_in(&journals, &account).unwrap();
    std::fs::create_dir(journals.join(".1000.json.new")).unwrap();
    let world = World::default();
    let mut tell = |_: &StepReport| {};
    let result = Run::new(&journals, journal, &mut tell).all(world.steps(), &|| false);
    let error = result.unwrap_err();
    assert_eq!(error.step, Step::DropIn);
    assert!(error.because.contains("is in the way"), "{error}");
    assert!(error.left[0].starts_with("the journal does not tell how this ended"), "{error:?}");
    assert_eq!(world.names(), [""; 0]);
}
