//! The one object of `--json`: docs/reference/relinquish-sudo.md explains each field. Ids and words stay, sentences may change.

use std::path::Path;

use codex_privileges::{
    Account, Administrators, Audit, Closed, Finding, Grade, Journal, NEVER_DECIDED, Plan, Proof,
    StaleProcess, StepReport, SudoRelinquished, SudoState, Verified,
};
use codex_responses_api_proxy::report::in_one_line;
use serde::Serialize;

use super::error::RelinquishError;
use crate::commands::End;
use crate::commands::error::CommandError;

/// All there is to tell. What there is not is null or empty.
#[derive(Debug, Serialize)]
pub(super) struct Object {
    /// None where it is not known whose sudo is meant.
    account: Option<Named>,
    result: &'static str,
    error: Option<Failure>,
    administrators: Option<Others>,
    plan: Option<Planned>,
    steps: Vec<StepReport>,
    /// After a failure: what was done and could not be taken back.
    left: Vec<String>,
    closed: Vec<Closed>,
    open: Vec<Finding>,
    undecided: Vec<Finding>,
    stale: Vec<StaleProcess>,
    never_decided: Vec<&'static str>,
    evidence: Option<SudoRelinquished>,
    journal: Option<String>,
    #[serde(skip)]
    has_begun: bool,
    #[serde(skip)]
    has_no_sudo: bool,
}

#[derive(Debug, Serialize)]
struct Named {
    name: String,
    uid: u32,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Failure {
    message: String,
    hint: Option<String>,
}

#[derive(Debug, Serialize)]
struct Others {
    #[serde(flatten)]
    known: Administrators,
    is_sole: bool,
}

#[derive(Debug, Serialize)]
struct Planned {
    is_done: bool,
    sudo: Sudo,
    closes: Vec<Finding>,
    drop_in: File,
    pam: Vec<File>,
    leave: Vec<String>,
    administered: Vec<Administered>,
    tickets: Vec<String>,
    plants: Vec<String>,
    to_end: Vec<StaleProcess>,
    stays: Vec<StaleProcess>,
    rehearsal: Proof,
    afterwards: Vec<String>,
}

/// What sudo lets the account do before anything is done.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Sudo {
    state: &'static str,
    by: Vec<String>,
    because: Option<String>,
}

#[derive(Debug, Serialize)]
struct File {
    path: String,
    text: String,
}

#[derive(Debug, Serialize)]
struct Administered {
    group: String,
    remaining: Vec<String>,
}

impl Object {
    pub(super) fn about(account: Option<&Account>) -> Self {
        Self {
            account: account.map(|it| Named { name: it.name.clone(), uid: it.uid }),
            result: "refused",
            error: None,
            administrators: None,
            plan: None,
            steps: Vec::new(),
            closed: Vec::new(),
            open: Vec::new(),
            undecided: Vec::new(),
            stale: Vec::new(),
            left: Vec::new(),
            never_decided: NEVER_DECIDED.to_vec(),
            evidence: None,
            journal: None,
            has_begun: false,
            has_no_sudo: false,
        }
    }

    pub(super) fn audited(&mut self, audit: &Audit) {
        let of = |grade| -> Vec<Finding> {
            let found = audit.findings.iter().filter(move |finding| finding.grade == grade);
            found.cloned().collect()
        };
        self.open = of(Grade::Open);
        self.undecided = of(Grade::Undecided);
        // Others can't read what that is told by.
        self.administrators = audit.is_root.then(|| Others::from(audit.others.clone()));
    }

    pub(super) fn planned(&mut self, plan: &Plan) {
        self.open.clone_from(&plan.stays_open);
        self.undecided.clone_from(&plan.undecided);
        self.plan = Some(Planned::from(plan));
    }

    /// From here on something may have been done.
    pub(super) fn begins(&mut self) {
        self.has_begun = true;
    }

    /// There is nothing to give up.
    pub(super) fn without_sudo(&mut self) {
        self.has_no_sudo = true;
    }

    /// Whether anything is known to lead to root.
    pub(super) fn has_open_path(&self) -> bool {
        !self.open.is_empty()
    }

    pub(super) fn stepped(&mut self, report: &StepReport) {
        self.steps.push(report.clone());
    }

    /// Evidence of an earlier run, tried again.
    pub(super) fn tried_again(&mut self, evidence: SudoRelinquished) {
        self.evidence = Some(evidence);
    }

    /// What a failure has left.
    pub(super) fn left(&mut self, left: &[String]) {
        self.left = left.to_vec();
    }

    pub(super) fn verified(&mut self, verified: &Verified) {
        let Verified { evidence, closed, open, undecided, stale } = verified;
        self.closed.clone_from(closed);
        self.open.clone_from(open);
        self.undecided.clone_from(undecided);
        self.stale.clone_from(stale);
        self.evidence = Some(evidence.clone());
    }

    /// How it all came out.
    pub(super) fn ends(&mut self, ended: &Result<End, CommandError>, is_plan: bool) {
        let is_verified = self.evidence.is_some();
        let uid = self.account.as_ref().filter(|_| self.has_begun || is_verified).map(|it| it.uid);
        self.journal = uid.map(|uid| words(&Journal::path(uid)));
        self.error = ended
            .as_ref()
            .err()
            .map(|error| Failure { message: in_one_line(error), hint: error.hint() });
        self.result = match ended {
            Ok(End::Interrupted) => "interrupted",
            Ok(End::Done | End::PathOpen) if self.has_no_sudo => "no_sudo",
            Ok(End::Done) if is_plan => "planned",
            Ok(End::Done) => "gone",
            Ok(End::PathOpen) => "open",
            Ok(End::No | End::Code(_)) => "refused",
            Err(CommandError::Relinquish(RelinquishError::NotGone(_))) => "failed",
            Err(_) if self.has_begun => "failed",
            Err(_) => "refused",
        };
    }
}

impl From<Administrators> for Others {
    /// A fact only where all could be looked at. Who is asked is warned in doubt, too.
    fn from(known: Administrators) -> Self {
        Self { is_sole: known.is_sole() && known.unknown.is_none(), known }
    }
}

impl From<&Plan> for Planned {
    fn from(plan: &Plan) -> Self {
        let intent = &plan.intent;
        let closes = plan.audit.findings.iter().filter(|finding| finding.closed_by.is_some());
        let file = |path: &Path, text: String| File { path: words(path), text };
        let pam = intent.pam.iter();
        let administered = intent
            .administered
            .iter()
            .map(|it| Administered { group: it.group.clone(), remaining: it.remaining.clone() });
        Self {
            is_done: plan.is_done,
            sudo: Sudo::from(&plan.audit.sudo),
            closes: closes.cloned().collect(),
            drop_in: file(&intent.drop_in.path, intent.drop_in.text.clone()),
            pam: pam
                .map(|it| file(&it.file, String::from_utf8_lossy(&it.after).into_owned()))
                .collect(),
            leave: intent.leave.clone(),
            administered: administered.collect(),
            tickets: intent.tickets.iter().map(|ticket| words(ticket)).collect(),
            plants: intent.plants.iter().map(|plant| words(&plant.path)).collect(),
            to_end: plan.to_end.clone(),
            stays: plan.stays.clone(),
            rehearsal: plan.rehearsal.clone(),
            afterwards: plan.afterwards.clone(),
        }
    }
}

impl From<&SudoState> for Sudo {
    fn from(sudo: &SudoState) -> Self {
        let (state, by, because) = match sudo {
            SudoState::NotInstalled => ("not_installed", None, None),
            SudoState::Unsupported { because } => ("unsupported", None, Some(because)),
            SudoState::Broken { because } => ("broken", None, Some(because)),
            SudoState::None => ("none", None, None),
            SudoState::Held { by } => ("held", Some(by), None),
            SudoState::Locked => ("locked", None, None),
            SudoState::Unknown { because } => ("unknown", None, Some(because)),
        };
        Self { state, by: by.cloned().unwrap_or_default(), because: because.cloned() }
    }
}

fn words(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use std::io;

    use codex_privileges::{Outcome, Refusal, Step};

    use super::*;

    fn object() -> Object {
        Object::about(Some(&Account {
            name: "alice".to_owned(),
            uid: 1_000,
            gid: 1_000,
            home: "/home/alice".into(),
            shell: "/bin/sh".into(),
            groups: Vec::new(),
        }))
    }

    #[test]
    fn nothing_known_is_null_or_empty_and_every_key_is_there() {
        let mut object = object();
        object.ends(&Ok(End::No), false);
        let never = serde_json::to_string(&NEVER_DECIDED.to_vec()).unwrap();
        let expected = format!(
            r#"{{"account":{{"name":"alice","uid":1000}},"result":"refused","error":null,"administrators":null,"plan":null,"steps":[],"left":[],"closed":[],"open":[],"undecided":[],"stale":[],"never_decided":{never},"evidence":null,"journal":null}}"#
        );
        assert_eq!(serde_json::to_string(&object).unwrap(), expected);
    }

    #[test]
    fn the_result_is_one_word() {
        let failed = || Err(RelinquishError::Looking(io::Error::other("no thread")).into());
        let refused = |refusal| Err(RelinquishError::Refused(Box::new(refusal)).into());
        for (ended, is_plan, has_begun, expected) in [
            (Ok(End::Done), true, false, "planned"),
            (Ok(End::Interrupted), true, false, "interrupted"),
            (Ok(End::Done), false, true, "gone"),
            (Ok(End::PathOpen), false, false, "open"),
            (Ok(End::No), false, false, "refused"),
            (failed(), false, false, "refused"),
            (failed(), false, true, "failed"),
            (refused(Refusal::NotRoot), false, false, "refused"),
        ] {
            let mut object = object();
            if has_begun {
                object.begins();
            }
            object.ends(&ended, is_plan);
            assert_eq!(object.result, expected, "{ended:?}");
            assert_eq!(object.journal.is_some(), has_begun, "{ended:?}");
            assert_eq!(object.error.is_some(), ended.is_err(), "{ended:?}");
        }
    }

    #[test]
    fn without_sudo_there_is_nothing_to_be_done() {
        for end in [End::Done, End::PathOpen] {
            let mut object = object();
            object.without_sudo();
            object.ends(&Ok(end), false);
            assert_eq!((object.result, object.journal), ("no_sudo", None));
        }
    }

    #[test]
    fn nobody_is_the_last_administrator_where_not_all_could_be_looked_at() {
        for (unknown, others, expected) in [
            (None, &[][..], true),
            (None, &["bob"][..], false),
            (Some("/etc/shadow can't be read"), &[][..], false),
        ] {
            let known = Administrators {
                others: others.iter().map(|it| (*it).to_owned()).collect(),
                unknown: unknown.map(str::to_owned),
                ..Administrators::default()
            };
            assert_eq!(Others::from(known.clone()).is_sole, expected, "{known:?}");
        }
    }

    #[test]
    fn a_failure_has_its_causes_and_its_hint() {
        let mut object = object();
        object.ends(&Err(RelinquishError::WhoseSudo.into()), false);
        let failure = object.error.unwrap();
        assert_eq!(failure.message, RelinquishError::WhoseSudo.to_string());
        assert_eq!(failure.hint, RelinquishError::WhoseSudo.hint());
        assert!(failure.hint.is_some());
    }

    #[test]
    fn a_step_and_what_sudo_lets_are_words() {
        let mut object = object();
        object.stepped(&StepReport {
            step: Step::DropIn,
            outcome: Outcome::Done,
            details: vec!["wrote it".to_owned()],
        });
        let steps = serde_json::to_string(&object.steps).unwrap();
        assert_eq!(steps, r#"[{"step":"drop_in","outcome":"done","details":["wrote it"]}]"#);
        let held = Sudo::from(&SudoState::Held { by: vec!["%sudo: (ALL : ALL) ALL".to_owned()] });
        let expected = r#"{"state":"held","by":["%sudo: (ALL : ALL) ALL"],"because":null}"#;
        assert_eq!(serde_json::to_string(&held).unwrap(), expected);
        let unknown = Sudo::from(&SudoState::Unknown { because: "not root".to_owned() });
        assert_eq!((unknown.state, unknown.because.as_deref()), ("unknown", Some("not root")));
    }
}
