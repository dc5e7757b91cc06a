//! Whether it is gone: tried again with what is really there, and everything looked at once more.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use thiserror::Error;

use crate::account::{Account, AccountError};
use crate::audit::stale::{self, CHECK as STALE};
use crate::audit::{Audit, Ground, Standing, SudoState};
use crate::evidence::SudoRelinquished;
use crate::finding::{Finding, Grade};
use crate::journal::{Journal, JournalError};
use crate::plan::{Plan, second_lock};
use crate::processes::StaleProcess;
use crate::subject::Subject;
use crate::sudo::proof::{Locks, ProofError, drop_in_name, prove};

/// sudo is gone, and this is how everything else stands.
#[derive(Clone, Debug)]
pub struct Verified {
    /// That it is gone.
    pub evidence: SudoRelinquished,
    /// What was open and is not any more.
    pub closed: Vec<Closed>,
    /// What still leads to root.
    pub open: Vec<Finding>,
    /// What may.
    pub undecided: Vec<Finding>,
    /// Processes that still have a group that was given up, and that nothing honours any more.
    pub stale: Vec<StaleProcess>,
}

/// A way that is closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Closed {
    /// What was open.
    pub what: String,
    /// How that is known.
    pub how: String,
}

/// Why there is no evidence.
#[derive(Debug, Error)]
pub enum NotGone {
    /// Something got through.
    #[error("{account} still gets through sudo: {}", through.join("; "))]
    Open {
        /// Whose.
        account: String,
        /// What got through.
        through: Vec<String>,
    },
    /// There is no journal, so nothing was given up here.
    #[error("{account} has not given sudo up on this system")]
    Never {
        /// Whose.
        account: String,
    },
    /// sudo can't be worked with any more.
    #[error("sudo can't be tried any more: {because}")]
    NoSudo {
        /// Why.
        because: String,
    },
    /// Nothing could be tried.
    #[error("whether sudo is gone could not be tried")]
    NoProof(#[from] ProofError),
    /// The account is gone.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// The journal can't be read or written.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl NotGone {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Open { .. } => "as root, look at what `sudo -l -U` says of it, and at what was changed in sudo's files since; then run it again",
            Self::Never { .. } => "as root, run codex proxy relinquish-sudo for it",
            Self::NoSudo { .. } | Self::NoProof(_) => "as root, see what `visudo -c` says; then run it again",
            Self::Account(error) => return error.hint(),
            Self::Journal(error) => return error.hint(),
        }
        .to_owned()
    }
}

/// Tries to become root in every known way, looks at everything else again, and keeps the evidence in the journal.
///
/// # Errors
///
/// Something got through, or nothing could be tried: there is no evidence then.
pub fn verify(plan: &Plan) -> Result<Verified, NotGone> {
    let account = Account::find(&plan.audit.account.uid.to_string())?;
    let now = plan.audit.again(&account);
    let evidence =
        evidence(&account, &now.subject, now.ground.as_ref().ok_or(&now.sudo), &now.privileged)?;
    keep(&account, &evidence)?;
    let (mut open, mut undecided): (Vec<_>, Vec<_>) = {
        let findings = now.findings.iter().filter(|finding| finding.check != STALE).cloned();
        findings.partition(|finding| finding.grade == Grade::Open)
    };
    undecided.extend(second_lock(evidence.second_lock()));
    open.extend(honoured(&now));
    open.extend(not_seen_again(&plan.audit, &now));
    let closed = closed(&plan.audit, &now, &evidence);
    let outdated = now.outdated_processes();
    let stale = outdated.into_iter().filter(|process| !leads(process, &now)).collect();
    Ok(Verified { evidence, closed, open, undecided, stale })
}

/// Evidence that was kept, tried again: what was so once is not believed. Nothing is written.
///
/// # Errors
///
/// As [`verify`]; and where the account has never given sudo up.
pub fn recheck(account: &Account) -> Result<SudoRelinquished, NotGone> {
    let kept = Journal::read(account.uid)?.and_then(|journal| journal.evidence);
    if kept.is_none() {
        return Err(NotGone::Never { account: account.words() });
    }
    let Standing { subject, ground, privileged } = Standing::of(account);
    evidence(account, &subject, ground.as_ref(), &privileged)
}

fn evidence(
    account: &Account,
    subject: &Subject,
    ground: Result<&Ground, &SudoState>,
    privileged: &BTreeSet<u32>,
) -> Result<SudoRelinquished, NotGone> {
    let Ground { sudo, folder, .. } =
        ground.map_err(|state| NotGone::NoSudo { because: state.words() })?;
    let proof = prove(subject, sudo, folder, privileged, &Locks::Present)?;
    let rule = folder.join(drop_in_name(account.uid));
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    SudoRelinquished::of(account, since.as_secs(), &sudo.version, rule, proof)
        .map_err(|through| NotGone::Open { account: account.words(), through })
}

fn keep(account: &Account, evidence: &SudoRelinquished) -> Result<(), JournalError> {
    let _lock = Journal::lock_in(Journal::folder())?;
    let journal = Journal::open_in(Journal::folder(), account)?;
    Journal { evidence: serde_json::to_value(evidence).ok(), ..journal }.write()
}

/// Stale processes that something still honours: sudo does not, or there would be no evidence; sockets, devices and doas
/// have been asked with their groups, and are findings of their own. What a group's files let it do was not.
pub(crate) fn honoured(now: &Audit) -> Vec<Finding> {
    let processes = now.outdated_processes();
    let leading: Vec<StaleProcess> =
        processes.into_iter().filter(|process| leads(process, now)).collect();
    stale::findings(&leading)
}

/// Whether it has something that was given up and is honoured all the same.
fn leads(process: &StaleProcess, now: &Audit) -> bool {
    process.gids.iter().any(|gid| now.outdated.contains(gid) && leads_without_sudo(*gid))
}

/// What was open, nothing of ours closes, and was not seen again. A check that can't be carried out sees nothing, and the
/// account may have seen to that: so it counts as open.
fn not_seen_again(before: &Audit, now: &Audit) -> Vec<Finding> {
    let was = before.findings.iter().filter(|finding| finding.grade == Grade::Open);
    let ours_to_close = |finding: &&Finding| finding.closed_by.is_some() || finding.check == STALE;
    let lost = was.filter(|finding| !ours_to_close(finding) && is_gone(finding, now));
    let told = lost.map(|finding| {
        let evidence = format!(
            "{}; it was not seen again, and nothing of this explains that",
            finding.evidence
        );
        finding.clone().seen(evidence)
    });
    told.collect()
}

fn is_gone(finding: &Finding, now: &Audit) -> bool {
    !now.findings.iter().any(|other| other.is_same(finding))
}

/// By its name, and through something else than sudo.
fn leads_without_sudo(gid: u32) -> bool {
    const SUDO_ALONE: [&str; 4] = ["sudo", "wheel", "admin", "google-sudoers"];
    let name = crate::subject::group_name(gid);
    crate::leading::leading(&name).is_some() && !SUDO_ALONE.contains(&name.as_str())
}

fn closed(before: &Audit, now: &Audit, evidence: &SudoRelinquished) -> Vec<Closed> {
    let sudo = Closed { what: "sudo's rules".to_owned(), how: evidence.words() };
    let was = before.findings.iter().filter(|finding| finding.closed_by.is_some());
    let others = was.filter(|finding| finding.check != "rules" && is_gone(finding, now));
    let how = "looked for again, and not there any more";
    let closed = |finding: &Finding| Closed { what: finding.what.clone(), how: how.to_owned() };
    [sudo].into_iter().chain(others.map(closed)).collect()
}
