//! Evidence that an account's sudo is gone.

use std::path::PathBuf;

use serde::Serialize;

use crate::account::Account;
use crate::sudo::proof::{Proof, SecondLock};

/// Evidence that an account's sudo is gone: it was tried in every known way, and the locks held.
///
/// Only [`verify()`](crate::verify()) and [`recheck()`](crate::recheck()) make one, so to have one is to have tried. It is
/// as old as [`verified_at`](Self::verified_at): what root changes later it can't know.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SudoRelinquished {
    account: String,
    uid: u32,
    verified_at: u64,
    sudo_version: String,
    rule: PathBuf,
    tries: usize,
    controls: usize,
    untried: Vec<String>,
    second_lock: SecondLock,
}

impl SudoRelinquished {
    /// Of a proof in which nothing got through.
    pub(crate) fn of(
        account: &Account,
        verified_at: u64,
        sudo_version: &str,
        rule: PathBuf,
        proof: Proof,
    ) -> Result<Self, Vec<String>> {
        if !proof.through.is_empty() {
            return Err(proof.through);
        }
        Ok(Self {
            account: account.name.clone(),
            uid: account.uid,
            verified_at,
            sudo_version: sudo_version.to_owned(),
            rule,
            tries: proof.tried,
            controls: proof.controls,
            untried: proof.untried,
            second_lock: proof.second_lock,
        })
    }

    /// Whose it was.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// Its number.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// When it was tried, in seconds since 1970.
    pub fn verified_at(&self) -> u64 {
        self.verified_at
    }

    /// The file with the rule that is read last.
    pub fn rule(&self) -> &std::path::Path {
        &self.rule
    }

    /// How many ways were tried, none of which led to root.
    pub fn tries(&self) -> usize {
        self.tries
    }

    /// How many of them led there when everything was allowed, so that their failing says something.
    pub fn controls(&self) -> usize {
        self.controls
    }

    /// Whether PAM's line alone would do.
    pub fn second_lock(&self) -> &SecondLock {
        &self.second_lock
    }

    /// In one sentence.
    pub fn words(&self) -> String {
        let second = match &self.second_lock {
            SecondLock::Holds => {
                "; PAM refuses it as well, tried with a rule that allows everything".to_owned()
            }
            SecondLock::Unproven { because } => format!("; the second lock is unproven: {because}"),
            SecondLock::Absent => "; there is no second lock".to_owned(),
        };
        format!(
            "{} tries to become root or anybody else through sudo, with authentication out of the way, all failed; {} controls got through, as they had to{second}",
            self.tries, self.controls
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::testing::subject;

    #[test]
    fn there_is_none_where_anything_got_through() {
        let account = subject(61_500, &[61_500]).account;
        let proof = |through: &[&str]| Proof {
            tried: 40,
            controls: 8,
            through: through.iter().map(|&way| way.to_owned()).collect(),
            untried: Vec::new(),
            second_lock: SecondLock::Holds,
        };
        let of = |proof| SudoRelinquished::of(&account, 1, "1.9", "/etc/x".into(), proof);
        assert_eq!(
            of(proof(&["`sudo` as a fresh login"])).unwrap_err(),
            ["`sudo` as a fresh login"]
        );
        let evidence = of(proof(&[])).unwrap();
        assert!(evidence.words().starts_with("40 tries"), "{}", evidence.words());
        assert_eq!((evidence.account(), evidence.uid()), ("tst_u", 61_500));
    }
}
