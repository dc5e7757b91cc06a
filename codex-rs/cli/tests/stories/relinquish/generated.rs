//! A hundred sudoers made of odd pieces at random: our rule changes nothing for anybody else, and shuts the account out;
//! or the tool refuses, and all is as it was.
//!
//! The same ones each time. A failure names the seed of its case, and the machine has had it in /mnt/cases.

#[path = "../../../../config/tests/generated/chance.rs"]
mod chance;
mod rules;

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use super::crash::on_machines;
use super::machine::*;
use rules::Rules;

const CASES: u64 = 120;
/// They are tried in parts, each on a machine of its own.
const PARTS: u64 = 2;
/// So often the tool itself is tried where its rule alone has held.
const BY_TOOL: usize = 16;

/// How many there were of each kind.
#[derive(Debug, Default)]
struct Tally {
    valid: AtomicUsize,
    /// In which the account gets through without our rule.
    open: AtomicUsize,
    held: AtomicUsize,
    refused: AtomicUsize,
}

/// What was seen of a case, without our rule or with it.
struct Look {
    /// `None`: cvtsudoers wrote what is no JSON (1.9.13 does, where an alias is used that is not there).
    rules: Option<Value>,
    others: String,
    /// `None`: the judge could not say.
    open: Option<String>,
}

/// A case on its machine.
struct Case<'m> {
    machine: &'m Machine,
    seed: u64,
}

impl Case<'_> {
    fn folder(&self) -> String {
        format!("/mnt/cases/{:03}", self.seed)
    }

    fn write(&self) {
        let Rules { main, agents, folder } = Rules::of(self.seed, self.machine.account);
        let place = self.machine.path(&self.folder());
        fs::create_dir_all(place.join("d")).unwrap();
        fs::write(place.join("sudoers"), main).unwrap();
        fs::write(place.join("agents"), agents).unwrap();
        for (name, text) in folder {
            fs::write(place.join("d").join(name), text).unwrap();
        }
    }

    fn has(&self, name: &str) -> bool {
        self.machine.path(&self.folder()).join(name).exists()
    }

    fn look(&self, when: &str) -> Look {
        let place = self.machine.path(&self.folder());
        let read = |kind: &str| fs::read(place.join(format!("{when}.{kind}")));
        let as_text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Look {
            rules: serde_json::from_slice(&read("rules").unwrap()).ok(),
            others: as_text(read("others").unwrap()),
            open: read("open").ok().map(as_text),
        }
    }

    /// With the rule alone. `None`: it can't be said of this one, and the tool has to see that itself.
    fn holds(&self, tally: &Tally) -> Option<()> {
        if self.has("broken") {
            return None;
        }
        let (before, after, seed) = (self.look("before"), self.look("after"), self.seed);
        tally.open.fetch_add(
            usize::from(before.open.is_some_and(|ways| !ways.is_empty())),
            Ordering::Relaxed,
        );
        let (before_rules, mut after_rules) = (before.rules?, after.rules?);
        let specs = after_rules["User_Specs"].as_array_mut()?;
        let last = specs.pop()?;
        if last["User_List"] != serde_json::json!([{ "userid": self.machine.account }]) {
            return None;
        }
        assert_eq!(
            last["Cmnd_Specs"][0]["Commands"],
            serde_json::json!([{ "command": "ALL", "negated": true }])
        );
        assert_eq!(before_rules, after_rules, "seed {seed}: other rules changed");
        assert_eq!(before.others, after.others, "seed {seed}: others have other rights");
        assert_eq!(after.open.as_deref(), Some(""), "seed {seed}: a way is open");
        Some(())
    }

    /// With the tool: gone, or refused with all as it was.
    fn by_tool(&self) -> Ended {
        let (machine, seed) = (self.machine, self.seed);
        machine.ask(&["lay_case", &self.folder()]);
        let (etc, others) = (machine.etc(), machine.ask(&["others"]));
        let ended = machine.give_up();
        assert_eq!(others, machine.ask(&["others"]), "seed {seed}: {ended:?}");
        if ended.code == Some(0) {
            ended.assert_gone();
            assert_eq!(machine.judge(&[]), [""; 0], "seed {seed}: {ended:?}");
            machine.reset();
            machine.lay("join sudo");
        } else {
            ended.assert_refused();
            assert_eq!(etc, machine.etc(), "seed {seed}: refused, and /etc is another: {ended:?}");
        }
        ended
    }
}

#[test]
fn whatever_the_rules_ours_changes_nothing_for_others_and_no_way_is_left() {
    let host = host_files();
    let tally = Tally::default();
    let parts: Vec<u64> = (0..PARTS).collect();
    on_machines(&parts, |machine, part| {
        machine.lay("join sudo");
        let plan = machine.plan();
        let rule = plan["plan"]["drop_in"]["text"].as_str().unwrap();
        fs::write(machine.path("/mnt/rule"), rule).unwrap();
        let seeds = (1..=CASES).filter(|seed| seed % PARTS == *part);
        let cases: Vec<Case<'_>> = seeds.map(|seed| Case { machine, seed }).collect();
        cases.iter().for_each(Case::write);
        machine.ask(&["try_cases"]);
        try_all(&cases, &tally);
    });
    if tally.valid.load(Ordering::Relaxed) > 0 {
        is_telling(&tally);
    }
    assert!(host == host_files(), "a file of the host's was changed");
}

fn try_all(cases: &[Case<'_>], tally: &Tally) {
    let mut held = 0_usize;
    for case in cases.iter().filter(|case| !case.has("invalid")) {
        tally.valid.fetch_add(1, Ordering::Relaxed);
        if case.holds(tally).is_none() {
            let ended = case.by_tool();
            assert_eq!(
                ended.code,
                Some(1),
                "seed {}: the rule alone is not enough: {ended:?}",
                case.seed
            );
            tally.refused.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        tally.held.fetch_add(1, Ordering::Relaxed);
        held += 1;
        if held.is_multiple_of(BY_TOOL) {
            case.by_tool();
        }
    }
}

/// Else they prove little.
fn is_telling(tally: &Tally) {
    let [valid, open, held, refused] = [&tally.valid, &tally.open, &tally.held, &tally.refused]
        .map(|it| it.load(Ordering::Relaxed));
    let all = usize::try_from(CASES).unwrap();
    assert!(valid * 2 >= all, "visudo accepts too few: {tally:?}");
    assert!(open * 4 >= valid, "the account is let through in too few: {tally:?}");
    assert!(held * 2 >= valid, "too few can be compared: {tally:?}");
    assert!(refused > 0, "none comes after ours, or is broken by it: {tally:?}");
}

#[test]
fn a_seed_makes_one_machine_of_rules_and_each_another() {
    for seed in 1..CASES {
        assert_eq!(Rules::of(seed, 1), Rules::of(seed, 1));
        assert_ne!(Rules::of(seed, 1), Rules::of(seed + 1, 1));
    }
}
