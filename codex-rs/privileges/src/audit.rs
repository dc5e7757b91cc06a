//! Every known way from an account to root, looked for side by side. Nothing is changed.

pub(crate) mod administrators;
mod capabilities;
mod cron;
mod devices;
mod doas;
mod groups;
mod interpreters;
pub(crate) mod kept;
mod own_program;
mod plants;
mod polkit;
mod reach;
mod root_account;
mod root_processes;
mod setuid;
mod side_by_side;
mod sockets;
pub(crate) mod stale;
mod su;
mod sudo_state;
mod tickets;
mod units;
mod waiting;
pub(crate) mod walk;
mod writable;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::unistd::{Group, geteuid};

pub use administrators::Administrators;
pub use side_by_side::Progress;
pub use sudo_state::SudoState;
pub use walk::Plant;

use crate::account::Account;
use crate::apply::Administered;
use crate::finding::Finding;
use crate::leading::LEADING;
use crate::processes::{self, StaleProcess};
use crate::subject::Subject;
use crate::sudo::installed::{Sudo, Unusable};
use crate::sudo::proof::{self, ProofError};
use crate::sudo::rules::{self, Rule};
use crate::tools;
use side_by_side::{Ending, Job, side_by_side};
use walk::Walked;

/// How long a check may take.
const LIMIT: Duration = Duration::from_secs(60);

/// What was found.
#[derive(Clone, Debug)]
pub struct Audit {
    /// Whose ways to root they are.
    pub account: Account,
    /// Whether root has looked; others see less.
    pub is_root: bool,
    /// The ways, and what may be one.
    pub findings: Vec<Finding>,
    /// How it stands with sudo.
    pub sudo: SudoState,
    /// Files that give a privileged group to whoever runs them.
    pub plants: Vec<Plant>,
    /// Processes that have a privileged group.
    pub processes: Vec<StaleProcess>,
    /// Who is left that could help.
    pub others: Administrators,
    /// How long it took.
    pub took: Duration,
    pub(crate) subject: Arc<Subject>,
    /// What a relinquishment stands on; `None` where there is no sudo to work with.
    pub(crate) ground: Option<Ground>,
    pub(crate) privileged: BTreeSet<u32>,
    /// Groups to leave.
    pub(crate) leave: Vec<String>,
    /// Groups that processes have and a login does not give, or will not when those are left.
    pub(crate) outdated: BTreeSet<u32>,
    pub(crate) administered: Vec<Administered>,
    pub(crate) tickets: Vec<PathBuf>,
    /// What was seen of the file systems; `None` where that took too long.
    walked: Option<Arc<Walked>>,
}

/// sudo, and what its rules say.
#[derive(Clone, Debug)]
pub(crate) struct Ground {
    pub(crate) sudo: Sudo,
    /// The folder that our rule goes into.
    pub(crate) folder: PathBuf,
    pub(crate) rules: Vec<Rule>,
}

/// What has to be known before anything else is asked.
pub(crate) struct Standing {
    pub(crate) subject: Subject,
    /// Where there is no sudo to work with: why.
    pub(crate) ground: Result<Ground, SudoState>,
    /// Groups that a process or a file of the account's might bring.
    pub(crate) privileged: BTreeSet<u32>,
}

impl Standing {
    pub(crate) fn of(account: &Account) -> Self {
        let subject = subject(account);
        let ground = if subject.is_root { ground() } else { Err(sudo_state::only_root()) };
        let privileged = privileged(ground.as_ref().ok());
        Self { subject, ground, privileged }
    }
}

/// What one job finds.
enum Found {
    Findings(Vec<Finding>),
    Walked(Box<Walked>, Vec<Finding>),
    Held(Result<Vec<String>, ProofError>),
    Others(Administrators),
}

/// Looks for every known way from this account to root. As root it sees all of it; as the account itself, less, and it
/// says so. A check that breaks or takes longer than a minute is a finding that says that.
pub fn audit(account: &Account, progress: &mut dyn FnMut(&Progress)) -> Audit {
    look(account, None, progress)
}

impl Audit {
    /// Processes with a group that was given up, or will be.
    pub(crate) fn outdated_processes(&self) -> Vec<StaleProcess> {
        having(&self.processes, &self.outdated)
    }

    /// The same once more, after something was changed. Whole file systems are not searched again: only where the account
    /// can write could anything have come since.
    pub(crate) fn again(&self, account: &Account) -> Self {
        look(account, self.walked.clone(), &mut |_| ())
    }
}

fn look(
    account: &Account,
    before: Option<Arc<Walked>>,
    progress: &mut dyn FnMut(&Progress),
) -> Audit {
    let begun = Instant::now();
    let Standing { subject, ground, privileged } = Standing::of(account);
    let (subject, privileged) = (Arc::new(subject), Arc::new(privileged));
    let files_seen = Arc::new(AtomicU64::new(0));
    let known = before.clone();
    let jobs = jobs(&subject, ground.as_ref().ok(), &privileged, before, &files_seen);
    let mut walked = None;
    let mut findings = Vec::new();
    let mut held = None;
    let unknown = Some("who else could become root could not be found out".to_owned());
    let mut others = Administrators { unknown, ..Administrators::default() };
    for (name, ending) in side_by_side(jobs, LIMIT, &files_seen, progress) {
        match ending {
            Ending::Done(Found::Findings(found)) => findings.extend(found),
            Ending::Done(Found::Walked(found, of_files)) => {
                walked = Some(Arc::from(found));
                findings.extend(of_files);
            }
            Ending::Done(Found::Held(found)) => held = Some(found),
            Ending::Done(Found::Others(found)) => others = found,
            Ending::Broken => findings.push(unfinished(name, "the check itself broke")),
            Ending::TooLate => {
                findings.push(unfinished(name, &format!("not done in {} s", LIMIT.as_secs())));
            }
        }
    }
    if let (None, Some(known)) = (&walked, &known) {
        findings.extend(plants::look(&subject, known)); // Not looked for again, so still there.
    }
    let has_privileged = |gid: u32| privileged.contains(&gid);
    let processes = processes::holding(account.uid, &has_privileged).unwrap_or_else(|error| {
        findings.push(stale::unseen(&subject, &error));
        Vec::new()
    });
    let (leave, administered) = given_up(&subject, ground.as_ref().ok());
    let outdated = outdated(&subject, &leave);
    findings.extend(stale::findings(&having(&processes, &outdated)));
    let tickets =
        ground.as_ref().map(|it| tickets::of(&it.sudo.tickets, account)).unwrap_or_default();
    findings.extend(tickets::look(&tickets));
    let sudo = sudo_state::state(account, ground.as_ref(), held);
    findings.extend(sudo_state::of_rules(account, &sudo));
    Audit {
        account: account.clone(),
        is_root: subject.is_root,
        findings,
        sudo,
        plants: walked
            .as_deref()
            .or(known.as_deref())
            .map(|it| it.plants.clone())
            .unwrap_or_default(),
        processes,
        others,
        took: begun.elapsed(),
        subject,
        ground: ground.ok(),
        privileged: (*privileged).clone(),
        leave,
        outdated,
        administered,
        tickets,
        walked,
    }
}

fn subject(account: &Account) -> Subject {
    let fresh = account.gids();
    let held = processes::gids_held(account.uid).unwrap_or_default();
    let stale = held.difference(&fresh).copied().collect();
    Subject { account: account.clone(), fresh, stale, is_root: geteuid().is_root() }
}

fn ground() -> Result<Ground, SudoState> {
    let of = |unusable| match unusable {
        Unusable::NotInstalled => SudoState::NotInstalled,
        Unusable::Unsupported(because) => SudoState::Unsupported { because },
        Unusable::Broken(because) => SudoState::Broken { because },
    };
    let sudo = Sudo::find().map_err(of)?;
    sudo.check().map_err(of)?;
    let folder = sudo.folder().map_err(of)?;
    let rules = proof::all_rules(&sudo)
        .map_err(|error| SudoState::Broken { because: error.to_string() })?;
    Ok(Ground { sudo, folder, rules })
}

/// Those that have one of these groups.
fn having(processes: &[StaleProcess], gids: &BTreeSet<u32>) -> Vec<StaleProcess> {
    processes.iter().filter(|process| !process.gids.is_disjoint(gids)).cloned().collect()
}

fn outdated(subject: &Subject, leave: &[String]) -> BTreeSet<u32> {
    let left =
        leave.iter().filter_map(|name| gid_of(name)).filter(|gid| *gid != subject.account.gid);
    left.chain(subject.stale.iter().copied()).collect()
}

fn gid_of(group: &str) -> Option<u32> {
    Some(Group::from_name(group).ok()??.gid.as_raw())
}

/// Groups that sudo's rules, sockets or devices honour, or that lead to root by their names.
fn privileged(ground: Option<&Ground>) -> BTreeSet<u32> {
    let (names, mut gids) = ground.map(|ground| rules::groups(&ground.rules)).unwrap_or_default();
    gids.extend(names.iter().filter_map(|name| gid_of(name)));
    gids.extend(LEADING.iter().filter_map(|leading| gid_of(leading.group)));
    gids.extend(sockets::owning_gids());
    gids
}

fn jobs(
    subject: &Arc<Subject>,
    ground: Option<&Ground>,
    privileged: &Arc<BTreeSet<u32>>,
    before: Option<Arc<Walked>>,
    files_seen: &Arc<AtomicU64>,
) -> Vec<Job<Found>> {
    let mut jobs = Vec::new();
    let mut add = |name, act: Box<dyn FnOnce() -> Found + Send>| jobs.push(Job { name, act });
    let (us, gids, files) = (subject.clone(), privileged.clone(), files_seen.clone());
    add(
        "files",
        Box::new(move || {
            let is_privileged = |gid: u32| gids.contains(&gid);
            let walked = match before {
                Some(before) => {
                    let look = || walk::walk_again(&us, &is_privileged, &before.grounds);
                    let mut plants = look();
                    // What is moved while it is searched for hides from one search.
                    plants.extend(
                        look()
                            .into_iter()
                            .filter(|plant| !plants.contains(plant))
                            .collect::<Vec<_>>(),
                    );
                    Walked { plants, ..(*before).clone() }
                }
                None => {
                    walk::walk(&us, &is_privileged, &|seen| files.store(seen, Ordering::Relaxed))
                }
            };
            let found =
                [plants::look, setuid::look, capabilities::look].map(|look| look(&us, &walked));
            Found::Walked(Box::new(walked), found.into_iter().flatten().collect())
        }),
    );
    for (name, look) in CHECKS {
        let us = subject.clone();
        add(name, Box::new(move || Found::Findings(look(&us))));
    }
    let (us, gids) = (subject.clone(), privileged.clone());
    add("kept", Box::new(move || Found::Findings(kept::look(&us, &|gid| gids.contains(&gid)))));
    let (us, named) = (subject.clone(), named(ground));
    let has_sudo = tools::find("sudo").is_some();
    add(
        "group",
        Box::new(move || {
            Found::Findings(groups::look(&us, &|name| named.contains(name), has_sudo))
        }),
    );
    let (us, rules) =
        (subject.clone(), ground.map(|ground| ground.rules.clone()).unwrap_or_default());
    add("administrators", Box::new(move || Found::Others(administrators::look(&us, &rules))));
    if let Some(ground) = ground.cloned() {
        let us = subject.clone();
        add(
            "rules",
            Box::new(move || {
                let Ground { sudo, folder, rules, .. } = ground;
                Found::Held(proof::held(&us, &sudo, &folder, &rules, &us.stale))
            }),
        );
    }
    jobs
}

type Look = fn(&Subject) -> Vec<Finding>;

/// Those that need no more than to know whom they are about.
const CHECKS: [(&str, Look); 13] = [
    ("writable", writable::look),
    ("root_process", root_processes::look),
    ("unit", units::look),
    ("cron", cron::look),
    ("own_program", own_program::look),
    ("socket", sockets::look),
    ("device", devices::look),
    ("polkit", polkit::look),
    ("doas", doas::look),
    ("su", su::look),
    ("root_account", root_account::look),
    ("process_capability", capabilities::processes),
    ("waiting_sudo", waiting::look),
];

/// The groups that rules name.
fn named(ground: Option<&Ground>) -> BTreeSet<String> {
    ground.map(|ground| rules::groups(&ground.rules).0).unwrap_or_default()
}

fn given_up(subject: &Subject, ground: Option<&Ground>) -> (Vec<String>, Vec<Administered>) {
    // A group that is only named in a rule may be needed for other things: the locks close the rule.
    let leave = groups::held(subject, &|_| false).leave;
    let named = named(ground);
    let administered = groups::held(subject, &|name| named.contains(name)).administered;
    (leave, administered)
}

fn unfinished(name: &'static str, because: &str) -> Finding {
    let finding = Finding::undecided(name, "this check", "nothing is known of what it looks for");
    finding.seen(because).remedy("run it again; if it stays so, look at this by hand")
}
