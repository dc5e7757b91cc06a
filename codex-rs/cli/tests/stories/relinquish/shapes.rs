//! Every shape of rule that lets an account through, each on a machine as at the beginning: the judge says that a way is
//! open, sudo is given up, and the judge finds none; or it is refused, and all is as it was. Nobody else loses a right.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::Value;

use super::machine::*;

/// How many machines work side by side.
const MACHINES: usize = 2;

/// One way in which sudoers lets [`PERSON`] through.
pub(super) struct Shape {
    pub(super) name: &'static str,
    /// Lines of the machine's script.
    pub(super) lay: &'static str,
    pub(super) then: Then,
}

/// What comes of it.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Then {
    Gone,
    /// The same, but PAM alone would not hold it: it is asked about the account whose password is given.
    GoneByRule,
    /// A rule is read after ours whatever its name.
    Refused,
}
use Then::*;

#[rustfmt::skip]
pub(super) static SHAPES: [Shape; 30] = [
    Shape { name: "the plain name", lay: r#"rule 'tst_u ALL=(ALL:ALL) ALL'"#, then: Gone },
    Shape { name: "the plain name in /etc/sudoers", lay: r#"main 'tst_u ALL=(ALL:ALL) ALL'"#, then: Gone },
    Shape { name: "a member of the group sudo", lay: r#"join sudo"#, then: Gone },
    Shape { name: "a member of another group", lay: r#"join tst_ops; rule '%tst_ops ALL=(ALL:ALL) ALL'"#, then: Gone },
    Shape { name: "a group by its number", lay: r#"join tst_ops; rule "%#$OPS ALL=(ALL:ALL) ALL""#, then: Gone },
    Shape { name: "the account's number", lay: r##"rule "#$ACCOUNT ALL=(ALL:ALL) ALL""##, then: Gone },
    Shape { name: "an alias", lay: r#"rule 'User_Alias AGENTS = tst_third, tst_u' 'AGENTS ALL=(ALL:ALL) ALL'"#, then: Gone },
    Shape { name: "an alias of an alias", lay: r#"rule 'User_Alias ONE = tst_u' 'User_Alias BOTH = tst_third, ONE' 'BOTH ALL=(ALL:ALL) ALL'"#, then: Gone },
    Shape { name: "first in a list", lay: r#"rule 'tst_u,tst_third ALL=(ALL:ALL) ALL'"#, then: Gone },
    Shape { name: "last in a list", lay: r#"rule 'tst_third, tst_u ALL=(ALL:ALL) ALL'"#, then: Gone },
    Shape { name: "everybody", lay: r#"rule 'ALL ALL=(ALL:ALL) ALL'"#, then: Gone },
    Shape { name: "everybody but another", lay: r#"rule 'ALL,!tst_third ALL=(ALL:ALL) ALL'"#, then: Gone },
    Shape { name: "a quoted name", lay: r#"rule '"tst_u" ALL=(ALL:ALL) ALL'"#, then: Gone },
    Shape { name: "an escaped name", lay: r#"rule 'tst\x5fu ALL=(ALL:ALL) ALL'"#, then: Gone },
    Shape { name: "continued lines", lay: r#"rule 'tst_third, \' 'tst_u \' '  ALL=(ALL:ALL) \' '  ALL'"#, then: Gone },
    Shape { name: "an alias over several lines", lay: r#"rule 'User_Alias AGENTS = \' 'tst_u , \' 'tst_third' 'AGENTS ALL=(ALL:ALL) ALL'"#, then: Gone },
    Shape { name: "an included file", lay: r#"included 'tst_u ALL=(ALL:ALL) ALL'; main '@include /etc/sudoers.agents'"#, then: Gone },
    Shape { name: "an included file, as of old", lay: r#"included 'tst_u ALL=(ALL:ALL) ALL'; main '#include /etc/sudoers.agents'"#, then: Gone },
    Shape { name: "a linked file", lay: r#"included 'tst_u ALL=(ALL:ALL) ALL'; ln -s ../sudoers.agents /etc/sudoers.d/agents"#, then: Gone },
    Shape { name: "without a password", lay: r#"rule 'tst_u ALL=(ALL:ALL) NOPASSWD: ALL'"#, then: Gone },
    Shape { name: "as any user, not as any group", lay: r#"rule 'tst_u ALL=(ALL) ALL'"#, then: Gone },
    Shape { name: "as a group alone", lay: r#"rule 'tst_u ALL=(:root) ALL'"#, then: Gone },
    Shape { name: "as another administrator", lay: r#"rule 'tst_u ALL=(tst_other) ALL'"#, then: Gone },
    Shape { name: "an editor alone", lay: r#"rule 'tst_u ALL=(root) /usr/local/bin/vim'"#, then: Gone },
    Shape { name: "a package manager alone", lay: r#"rule 'tst_u ALL=(root) /usr/bin/apt-get'"#, then: Gone },
    Shape { name: "with root's password", lay: r#"rule 'Defaults targetpw' 'tst_u ALL=(ALL:ALL) ALL'"#, then: GoneByRule },
    Shape { name: "from a terminal alone", lay: r#"rule 'Defaults:tst_u requiretty' 'tst_u ALL=(ALL:ALL) ALL'; on_terminal"#, then: Gone },
    Shape { name: "on this machine alone", lay: r#"rule "tst_u $(hostname)=(ALL:ALL) ALL""#, then: Gone },
    Shape { name: "a rule after the last @includedir", lay: r#"late 'tst_u ALL=(ALL:ALL) ALL'"#, then: Refused },
    Shape { name: "a file that sorts after ours", lay: r#"rule 'tst_u ALL=(ALL:ALL) ALL'; mv /etc/sudoers.d/agents /etc/sudoers.d/zzzzz"#, then: Refused },
];

/// What one shape came to.
pub(super) struct Outcome {
    pub(super) shape: &'static Shape,
    pub(super) ended: Ended,
    before: Seen,
    after: Seen,
    /// Ways that were open to the fresh account before, and to it with every privileged group after.
    pub(super) open_before: Vec<String>,
    pub(super) open_after: Vec<String>,
    /// The same after, with our rule gone.
    open_without_rule: Vec<String>,
}

/// What others have.
struct Seen {
    etc: Vec<String>,
    others: String,
    rules: Value,
}

/// All shapes, each given up once; `None` where no machine can be made.
pub(super) fn outcomes() -> Option<&'static [Outcome]> {
    static OUTCOMES: OnceLock<Option<Vec<Outcome>>> = OnceLock::new();
    OUTCOMES.get_or_init(|| on_machines(outcome)).as_deref()
}

/// Goes through all shapes, on few machines, in order.
pub(super) fn on_machines<T: Send>(case: fn(&Machine, &'static Shape) -> T) -> Option<Vec<T>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let machine = Machine::here()?;
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(shape) = SHAPES.get(at) else { return Some(done) };
            machine.reset();
            machine.lay(shape.lay);
            done.push((at, case(&machine, shape)));
        }
    };
    let mut all = Vec::new();
    thread::scope(|scope| {
        let workers = [(); MACHINES].map(|()| scope.spawn(work));
        for worker in workers {
            all.extend(worker.join().unwrap()?);
        }
        Some(())
    })?;
    all.sort_by_key(|(at, _)| *at);
    Some(all.into_iter().map(|(_, outcome)| outcome).collect())
}

fn outcome(machine: &Machine, shape: &'static Shape) -> Outcome {
    let open_before = machine.judge(&[]);
    let before = Seen::of(machine);
    let ended = machine.give_up();
    let after = Seen::of(machine);
    let all = [SUDO, OPS, DOCKER];
    let open_after = machine.judge(&all);
    let open_without_rule = match shape.then {
        Gone => machine.judge_pam_alone(&[SUDO]),
        GoneByRule | Refused => vec![],
    };
    Outcome { shape, ended, before, after, open_before, open_after, open_without_rule }
}

impl Seen {
    fn of(machine: &Machine) -> Self {
        let rules = serde_json::from_str(&machine.ask(&["rules"])).unwrap();
        Self { etc: machine.etc(), others: machine.ask(&["others"]), rules }
    }

    /// The rules but for the last one.
    fn rules_but_ours(&self) -> Value {
        let mut rules = self.rules.clone();
        let last = rules["User_Specs"].as_array_mut().unwrap().pop();
        assert!(last.is_some_and(|last| last["User_List"][0]["userid"].is_number()), "{rules:#}");
        rules
    }
}

#[test]
fn whatever_the_rule_no_way_is_left_or_it_is_refused_and_nobody_else_loses_a_right() {
    let host = host_files();
    let Some(outcomes) = outcomes() else { return };
    for outcome in outcomes {
        let Outcome { shape, ended, before, after, .. } = outcome;
        let name = shape.name;
        assert!(
            !outcome.open_before.is_empty(),
            "{name}: the judge finds no way in the first place"
        );
        assert_eq!(before.others, after.others, "{name}: others have other rights: {ended:?}");
        match shape.then {
            Gone | GoneByRule => {
                ended.assert_gone();
                assert_eq!(outcome.open_after, [""; 0], "{name}: {ended:?}");
                assert_eq!(outcome.open_without_rule, [""; 0], "{name}: the PAM lock: {ended:?}");
                assert_eq!(before.rules, after.rules_but_ours(), "{name}: other rules changed");
            }
            Refused => {
                ended.assert_refused();
                assert_eq!(before.etc, after.etc, "{name}: refused, and /etc is another");
            }
        }
    }
    assert!(host == host_files(), "a file of the host's was changed");
}

#[test]
fn every_shape_has_a_name_of_its_own() {
    for (at, shape) in SHAPES.iter().enumerate() {
        let is_new = SHAPES[..at].iter().all(|other| other.name != shape.name);
        assert!(is_new, "{} is there twice", shape.name);
    }
}
