//! What is going to be done, and what life is like afterwards. Nothing is changed here: even the rule is only tried in a
//! private view.

mod afterwards;
mod refusal;

use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

pub use refusal::Refusal;

use crate::apply::{DropIn, Intent, PamEdit, pam_text};
use crate::audit::stale::CHECK as STALE;
use crate::audit::{Audit, SudoState};
use crate::finding::{Closing, Finding, Grade};
use crate::processes::{StaleProcess, waiting};
use crate::sudo::proof::{Locks, Proof, SecondLock, all_rules, drop_in_name, prove};
use crate::sudo::rules::{after_ours, is_read_last};
use crate::sudo::view::{SERVICES, pam_file, pam_files};
use crate::verify::honoured;

/// What is going to be done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What is to be written and left.
    pub intent: Intent,
    /// What it is decided by.
    pub audit: Audit,
    /// Processes that still have what is given up, and may be ended.
    pub to_end: Vec<StaleProcess>,
    /// Those of them that this program was started by: they are never ended.
    pub stays: Vec<StaleProcess>,
    /// What stays open.
    pub stays_open: Vec<Finding>,
    /// What may stay open.
    pub undecided: Vec<Finding>,
    /// What life is like afterwards, a sentence each.
    pub afterwards: Vec<String>,
    /// The locks, tried in a private view before anything is written.
    pub rehearsal: Proof,
    /// Whether nothing is left to be done that somebody has to agree to. There may be tickets to take away, and
    /// processes to end, which is asked about by itself.
    pub is_done: bool,
}

/// Decides what is to be done. Everything stays as it is.
///
/// # Errors
///
/// A relinquishment can't be done here, or there is nothing to give up.
pub fn plan(audit: Audit) -> Result<Plan, Refusal> {
    let Some(ground) = audit.ground.clone() else { return Err(Refusal::of(&audit.sudo)) };
    if matches!(audit.sudo, SudoState::Unknown { .. } | SudoState::Broken { .. }) {
        return Err(Refusal::of(&audit.sudo));
    }
    if !has_something_to_close(&audit) {
        return Err(Refusal::NoSudo { account: audit.account.words() });
    }
    let uid = audit.account.uid;
    let name = drop_in_name(uid);
    let drop_in =
        DropIn { path: ground.folder.join(&name), text: pam_text::drop_in_text(&audit.account) };
    let pam: Vec<PamEdit> = pam_edits(uid);
    let intent = Intent {
        account: audit.account.clone(),
        drop_in,
        pam,
        leave: audit.leave.clone(),
        administered: audit.administered.clone(),
        tickets: audit.tickets.clone(),
        plants: audit.plants.clone(),
        sudoers: ground.sudo.sudoers.clone(),
    };
    let locks = Locks::Planned {
        drop_in: (name, intent.drop_in.text.clone()),
        pam: SERVICES.map(|service| {
            let edit = intent.pam.iter().find(|edit| edit.file == real(&pam_file(service)));
            edit.map(|edit| edit.after.clone())
        }),
    };
    let rehearsal = prove(&audit.subject, &ground.sudo, &ground.folder, &audit.privileged, &locks)?;
    if !rehearsal.through.is_empty() {
        return Err(Refusal::DoesNotHold { through: rehearsal.through });
    }
    let outdated = audit.outdated_processes().into_iter();
    let (stays, mut to_end): (Vec<_>, Vec<_>) = outdated.partition(|process| process.is_ours);
    to_end.extend(waiting(&audit.account).unwrap_or_default()); // What can't be seen is a finding of its own.
    let is_done = is_done(&intent);
    if !is_done {
        writable(&intent)?;
    }
    let (stays_open, undecided) = left(&audit, &rehearsal);
    let afterwards = afterwards::sentences(&audit);
    Ok(Plan { intent, audit, to_end, stays, stays_open, undecided, afterwards, rehearsal, is_done })
}

/// Whether anything of ours would close anything.
fn has_something_to_close(audit: &Audit) -> bool {
    let is_held = matches!(audit.sudo, SudoState::Held { .. } | SudoState::Locked);
    // A ticket by itself lets nobody do anything.
    let closes = |finding: &Finding| finding.closed_by.is_some_and(|it| it != Closing::Tickets);
    is_held || audit.findings.iter().any(closes)
}

fn pam_edits(uid: u32) -> Vec<PamEdit> {
    let files = SERVICES.into_iter().zip(pam_files());
    let edits = files.filter_map(|(service, before)| {
        let before = before?;
        let after = pam_text::lock(&before, uid);
        Some(PamEdit { file: real(&pam_file(service)), before, after })
    });
    let mut edits: Vec<PamEdit> = edits.collect();
    edits.dedup_by(|one, other| one.file == other.file); // One may be a link to the other.
    edits
}

/// At the end of its links.
fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

fn is_done(intent: &Intent) -> bool {
    let rule = fs::read(&intent.drop_in.path);
    rule.is_ok_and(|rule| rule == intent.drop_in.text.as_bytes())
        && intent.pam.iter().all(|edit| edit.before == edit.after)
        && intent.leave.is_empty()
        && intent.administered.is_empty()
        && intent.plants.is_empty()
}

/// Before anything is changed: where all of it is going to be written.
fn writable(intent: &Intent) -> Result<(), Refusal> {
    let folders =
        [intent.drop_in.path.parent(), Some(Path::new("/etc")), Some(Path::new("/var/lib"))];
    let pam = intent.pam.iter().map(|edit| edit.file.parent());
    for folder in folders.into_iter().chain(pam).flatten() {
        // Root may write anywhere but to what is mounted read-only (access(2), EROFS).
        access(folder, AccessFlags::W_OK).map_err(|errno| Refusal::NotWritable {
            folder: folder.to_owned(),
            source: errno.into(),
        })?;
    }
    Ok(())
}

/// What nothing of ours closes: known to be open, and undecided.
fn left(audit: &Audit, rehearsal: &Proof) -> (Vec<Finding>, Vec<Finding>) {
    let left = audit.findings.iter().filter(|it| it.check != STALE).cloned().chain(honoured(audit));
    let left = left.filter(|finding| finding.closed_by.is_none());
    let (open, mut undecided): (Vec<_>, Vec<_>) = left.partition(|it| it.grade == Grade::Open);
    undecided.extend(second_lock(&rehearsal.second_lock));
    (open, undecided)
}

/// A second lock that does not hold is no way to root while the first one does.
pub(crate) fn second_lock(second: &SecondLock) -> Option<Finding> {
    let because = match second {
        SecondLock::Holds => return None,
        SecondLock::Unproven { because } => because.clone(),
        SecondLock::Absent => "there is no file for sudo in /etc/pam.d".to_owned(),
    };
    let why =
        "if rules came from elsewhere than sudo's files one day, nothing else would stop them";
    let finding = Finding::undecided("rules", "the second lock, PAM's line", why);
    Some(
        finding.seen(because).remedy(
            "keep all of sudo's rules in its files (`sudoers: files` in /etc/nsswitch.conf)",
        ),
    )
}

impl Plan {
    /// Whether the rule, which is there now, is the last one; else why not.
    pub(crate) fn is_read_last(&self) -> Result<(), String> {
        let Some(ground) = &self.audit.ground else { return Err(self.audit.sudo.words()) };
        let rules = all_rules(&ground.sudo).map_err(|error| error.to_string())?;
        let uid = self.audit.account.uid;
        if is_read_last(&rules, uid) {
            return Ok(());
        }
        let later = after_ours(&rules, uid);
        let words = if later.is_empty() {
            "sudo does not read it".to_owned()
        } else {
            format!("after it comes {}", later.join("; "))
        };
        Err(format!("the rule is not the last one: {words}"))
    }

    /// What is closed by this, by the part of it that does it.
    pub fn closes(&self, closing: Closing) -> impl Iterator<Item = &Finding> {
        self.audit.findings.iter().filter(move |finding| finding.closed_by == Some(closing))
    }
}
