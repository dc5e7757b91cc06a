//! Doing what a plan says. What still has the groups that were given up is ended last, and only where that was agreed to.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::apply::{ApplyError, Outcome, Step, StepReport};
use crate::audit::kept;
use crate::journal::note;
use crate::plan::Plan;
use crate::processes::{Ended, StaleProcess, end_all, holding, waiting};

/// Processes start others until they end: so often it is looked again.
const ROUNDS: usize = 4;

/// Does what the plan says, as root, but for ending processes. `told` hears of each step as it is done; `interrupted` is
/// asked before each, and is a failure.
///
/// # Errors
///
/// A step could not be done. What was done in this run is taken back as far as that can be, and the error says what is left.
pub fn apply(
    plan: &Plan,
    told: &mut dyn FnMut(&StepReport),
    interrupted: &dyn Fn() -> bool,
) -> Result<Vec<StepReport>, ApplyError> {
    // sudo hands on the limits of who called it: with a small one a write would end this process (SIGXFSZ).
    for resource in [Resource::RLIMIT_FSIZE, Resource::RLIMIT_CPU, Resource::RLIMIT_AS] {
        let _ = getrlimit(resource).and_then(|(_, hard)| setrlimit(resource, hard, hard));
    }
    crate::apply::apply(&plan.intent, &|| plan.is_read_last(), told, interrupted)
}

/// Ends the processes of the plan and those that they have started since, and never one that this program was started by.
/// Each is asked to end, and after 2 s it is made to.
pub fn end_processes(plan: &Plan) -> StepReport {
    let mut report = end(plan);
    report.details.extend(sweep(plan));
    journalled(plan, report)
}

/// The same step where it was not agreed to, or there is nothing of it.
pub fn left_running(plan: &Plan) -> StepReport {
    let outcome = Outcome::Skipped;
    let stays = plan.to_end.iter().map(|process| format!("left running: {}", called(process)));
    let details: Vec<String> = stays.chain(sweep(plan)).collect();
    let report = StepReport { step: Step::Processes, outcome, details };
    if report.details.is_empty() { report } else { journalled(plan, report) }
}

/// Files without a name, which no search finds: whoever has one open may have handed it on.
fn sweep(plan: &Plan) -> Vec<String> {
    kept::sweep(plan.audit.account.uid, &|gid| plan.audit.privileged.contains(&gid))
}

/// What the journal can't be told stands in the report.
fn journalled(plan: &Plan, mut report: StepReport) -> StepReport {
    if let Err(error) = note(&plan.audit.account, &report) {
        report.details.push(format!("not in the journal: {error}"));
    }
    report
}

fn end(plan: &Plan) -> StepReport {
    let (uid, audit) = (plan.audit.account.uid, &plan.audit);
    // Not all that they have: a group that the account keeps is no reason to end others.
    let is_given_up = |gid: u32| audit.outdated.contains(&gid) && audit.privileged.contains(&gid);
    let mut report =
        StepReport { step: Step::Processes, outcome: Outcome::Already, details: Vec::new() };
    let mut next = plan.to_end.clone();
    for _ in 0..ROUNDS {
        if next.is_empty() {
            return report;
        }
        report.outcome = Outcome::Done;
        for (process, ended) in next.iter().zip(end_all(&next)) {
            report.details.push(words(process, &ended));
        }
        let left = holding(uid, &is_given_up).and_then(|left| Ok((left, waiting(&audit.account)?)));
        next = match left {
            Ok((left, waiting)) => {
                left.into_iter().filter(|process| !process.is_ours).chain(waiting).collect()
            }
            Err(error) => {
                report.outcome = Outcome::Failed;
                report.details.push(format!("whether others came can't be seen: {error}"));
                return report;
            }
        };
    }
    if !next.is_empty() {
        report.outcome = Outcome::Failed;
        report.details.push(format!("{} of them are still there", next.len()));
    }
    report
}

fn words(process: &StaleProcess, ended: &Ended) -> String {
    match ended {
        Ended::Gone => format!("ended {}", called(process)),
        Ended::Stayed(because) => format!("{} is still there: {because}", called(process)),
    }
}

fn called(process: &StaleProcess) -> String {
    format!("{} (pid {})", process.name, process.pid)
}
