//! Whether the locks hold: tried with sudo's real program and real rules, in a private view, and each time with a
//! control that has to get through. What can't get through although it ought to proves nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;
use thiserror::Error;

use super::installed::{Sudo, Unusable};
use super::probe::{Credentials, FRESH, Form, Prober, credentials, forms, programs};
use super::rules::{self, Rule};
use super::view::{Pam, SERVICES, View, ViewError, pam_files, with_view};
use crate::apply::pam_text;
use crate::subject::Subject;
use crate::tools::ToolError;

/// In the view alone, read after all rules: sudo tells nobody of the tries, and needs no terminal for them.
const QUIET: &str = "zzzzz-codex-quiet";

/// Our rule, as `sudo -l` lists it.
const DENIED: &str = "(ALL : ALL) !ALL";

/// Which locks are tried.
#[derive(Clone, Debug)]
pub(crate) enum Locks {
    /// Those that are to be.
    Planned {
        /// The rule's file.
        drop_in: (String, String),
        /// What PAM's files are to say, one for each of [`SERVICES`].
        pam: [Option<Vec<u8>>; 2],
    },
    /// Those that are there.
    Present,
}

/// How the tries ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Proof {
    /// How many tries there were that might have got through.
    pub tried: usize,
    /// How many controls got through, as they had to.
    pub controls: usize,
    /// What got through: it is open.
    pub through: Vec<String>,
    /// Forms that don't even work where they are allowed.
    pub untried: Vec<String>,
    /// Whether PAM's line alone would do, and if not, why.
    pub second_lock: SecondLock,
}

/// Whether PAM's line alone would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SecondLock {
    /// Tried with a rule that allows everything: PAM refused.
    Holds,
    /// It would not do, or nobody can say.
    Unproven {
        /// Why.
        because: String,
    },
    /// Nothing was tried.
    #[default]
    Absent,
}

/// Why nothing is proved.
#[derive(Debug, Error)]
pub enum ProofError {
    /// A rule that is read later could allow everything again.
    #[error("the rule would not be read last: {} comes after it", later.join("; "))]
    NotLast {
        /// The rules that come after it.
        later: Vec<String>,
    },
    /// sudo does not read the file.
    #[error("sudo does not read {}", path.display())]
    NotRead {
        /// Which.
        path: PathBuf,
    },
    /// Nobody else's sudo may suffer.
    #[error("{who} could not use sudo any more")]
    OthersSuffer {
        /// Who.
        who: String,
    },
    /// What has to get through does not.
    #[error(
        "the control did not get through: where everything is allowed, sudo refuses this account all the same"
    )]
    NoControl,
    /// sudo's files are not as they should be.
    #[error("{because}")]
    Sudo {
        /// What its tools say.
        because: String,
    },
    /// There is no private view.
    #[error(transparent)]
    View(#[from] ViewError),
    /// A program of the system.
    #[error(transparent)]
    Tool(#[from] ToolError),
}

impl From<Unusable> for ProofError {
    fn from(unusable: Unusable) -> Self {
        let because = match unusable {
            Unusable::NotInstalled => "sudo is not installed".to_owned(),
            Unusable::Unsupported(because) | Unusable::Broken(because) => because,
        };
        Self::Sudo { because }
    }
}

/// What an account can do through sudo as it is: in words, nothing where it can do nothing.
pub(crate) fn held(
    subject: &Subject,
    sudo: &Sudo,
    folder: &Path,
    rules: &[Rule],
    privileged: &BTreeSet<u32>,
) -> Result<Vec<String>, ProofError> {
    in_view(sudo, folder, subject, |view| {
        view.pam(&Pam::Open)?;
        let prober = Prober::new(subject, sudo)?;
        let mut held = Vec::new();
        for credentials in credentials(subject, privileged) {
            let mut ways = prober.listing(&credentials)?;
            // What was allowed before is listed as well, and the last line counts.
            let is_denied = ways.last().is_some_and(|line| line == DENIED);
            if is_denied || ways.is_empty() {
                // What sudo does counts, not what it says.
                ways.clear();
                for form in forms(rules) {
                    if prober.opens(&credentials, &form)? {
                        ways.push(format!("`{}` works", form.words()));
                    }
                }
            }
            for way in ways {
                held.push(match &credentials.words {
                    words if words == FRESH => way,
                    words => format!("{way} (with {words})"),
                });
            }
        }
        Ok(held)
    })
}

/// Tries all, and says what got through. `Ok` does not mean that nothing did.
///
/// # Errors
///
/// Nothing could be proved.
pub(crate) fn prove(
    subject: &Subject,
    sudo: &Sudo,
    folder: &Path,
    privileged: &BTreeSet<u32>,
    locks: &Locks,
) -> Result<Proof, ProofError> {
    let name = drop_in_name(subject.account.uid);
    let pam = match locks {
        Locks::Planned { pam, .. } => pam.clone(),
        Locks::Present => pam_files(), // Within the view they are others.
    };
    in_view(sudo, folder, subject, |view| {
        if let Locks::Planned { drop_in: (name, text), .. } = locks {
            view.rules(name, Some(text))?;
        }
        sudo.check()?;
        let rules = all_rules(sudo)?;
        if !rules::is_read_last(&rules, subject.account.uid) {
            return Err(match rules::after_ours(&rules, subject.account.uid) {
                later if later.is_empty() => ProofError::NotRead { path: folder.join(&name) },
                later => ProofError::NotLast { later },
            });
        }
        let trial = Trial { view, prober: Prober::new(subject, sudo)?, subject, privileged, rules };
        let mut proof = Proof::default();
        trial.first_lock(&mut proof)?;
        let forms = trial.controls(&name, &mut proof)?;
        trial.second_lock(&forms, &pam, &mut proof)?;
        Ok(proof)
    })
}

pub(crate) fn drop_in_name(uid: u32) -> String {
    format!("zzzz-codex-{uid}")
}

/// The rules, as sudo reads them here and now.
pub(crate) fn all_rules(sudo: &Sudo) -> Result<Vec<Rule>, ProofError> {
    let json = sudo.rules_as_json()?;
    rules::read(&json).map_err(|error| {
        let because = format!("what cvtsudoers writes can't be read: {error}");
        ProofError::Sudo { because }
    })
}

fn in_view<T: Send>(
    sudo: &Sudo,
    folder: &Path,
    subject: &Subject,
    act: impl FnOnce(&View) -> Result<T, ProofError> + Send,
) -> Result<T, ProofError> {
    let quiet = quiet(subject.account.uid);
    with_view(sudo, folder, |view| {
        view.rules(QUIET, Some(&quiet))?;
        Ok(act(view))
    })?
}

fn quiet(uid: u32) -> String {
    let settings = [
        "!requiretty",
        "!use_pty",
        "!syslog",
        "!logfile",
        "!log_output",
        "!log_input",
        "!mail_always",
        "!mail_badpass",
        "!mail_no_host",
        "!mail_no_perms",
        "!mail_no_user",
        "!lecture",
        "listpw=never",
    ];
    format!("Defaults:#{uid} {}\n", settings.join(", "))
}

struct Trial<'t> {
    view: &'t View,
    prober: Prober<'t>,
    subject: &'t Subject,
    privileged: &'t BTreeSet<u32>,
    rules: Vec<Rule>,
}

impl Trial<'_> {
    fn fresh(&self) -> Credentials {
        credentials(self.subject, &BTreeSet::new()).remove(0)
    }

    /// The rule, with authentication out of the way.
    fn first_lock(&self, proof: &mut Proof) -> Result<(), ProofError> {
        self.view.pam(&Pam::Open)?;
        for credentials in credentials(self.subject, self.privileged) {
            for form in forms(&self.rules) {
                proof.tried += 1;
                if self.prober.opens(&credentials, &form)? {
                    proof.through.push(format!("`{}` as {}", form.words(), credentials.words));
                }
            }
            for program in programs(&self.rules) {
                proof.tried += 1;
                if self.prober.allows(&credentials, &program)? {
                    let program = program.join(" ");
                    proof.through.push(format!("`sudo {program}` as {}", credentials.words));
                }
            }
        }
        Ok(())
    }

    /// The same account, with a rule that allows everything in the place of ours. The forms that got through.
    fn controls(&self, name: &str, proof: &mut Proof) -> Result<Vec<Form>, ProofError> {
        let allowing = format!("#{} ALL=(ALL:ALL) ALL\n", self.subject.account.uid);
        self.view.rules(name, Some(&allowing))?;
        let fresh = self.fresh();
        let mut working = Vec::new();
        for form in forms(&self.rules) {
            if self.prober.opens(&fresh, &form)? {
                proof.controls += 1;
                working.push(form);
            } else {
                proof.untried.push(form.words());
            }
        }
        if working.first() != forms(&[]).first() {
            return Err(ProofError::NoControl);
        }
        Ok(working)
    }

    /// PAM's line, with the rule out of the way: that allows everything here.
    fn second_lock(
        &self,
        forms: &[Form],
        locked: &[Option<Vec<u8>>; 2],
        proof: &mut Proof,
    ) -> Result<(), ProofError> {
        let uid = self.subject.account.uid;
        let unlocked = locked.clone().map(|file| file.map(|file| pam_text::unlock(&file, uid)));
        if unlocked == *locked {
            proof.second_lock = SecondLock::Absent;
            return Ok(());
        }
        let fresh = self.fresh();
        self.view.pam(&Pam::Account(&unlocked))?;
        let root_could = self.prober.root_gets_through()?;
        let mut working = Vec::new();
        for form in forms {
            if self.prober.opens(&fresh, form)? {
                working.push(form);
            }
        }
        self.view.pam(&Pam::Account(locked))?;
        if root_could && !self.prober.root_gets_through()? {
            return Err(ProofError::OthersSuffer { who: "root".to_owned() });
        }
        if working.is_empty() {
            let because =
                format!("PAM refuses this account without it, too (/etc/pam.d/{})", SERVICES[0]);
            proof.second_lock = SecondLock::Unproven { because };
            return Ok(());
        }
        proof.controls += working.len();
        for form in working {
            proof.tried += 1;
            if self.prober.opens(&fresh, form)? {
                let because =
                    format!("with a rule that allows it, `{}` gets through PAM", form.words());
                proof.second_lock = SecondLock::Unproven { because };
                return Ok(());
            }
        }
        proof.second_lock = SecondLock::Holds;
        Ok(())
    }
}
