//! Places that each account has for itself, so that none can take those of another.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use codex_peer_identity::Peer;
use tokio::sync::Semaphore;

/// As many accounts are kept before those that have nothing under way are forgotten.
const KEPT_ACCOUNTS: usize = 1_024;

/// So many places for each account. Those that could not be told share one account's.
#[derive(Debug)]
pub(crate) struct Shares {
    each: usize,
    accounts: Mutex<HashMap<Peer, Arc<Semaphore>>>,
}

impl Shares {
    pub(crate) fn new(each: usize) -> Self {
        Self { each, accounts: Mutex::default() }
    }

    /// This account's places.
    pub(crate) fn of(&self, peer: Peer) -> Arc<Semaphore> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if accounts.len() >= KEPT_ACCOUNTS && !accounts.contains_key(&peer) {
            // Whoever has a place, or waits for one, holds a clone.
            accounts.retain(|_, places| Arc::strong_count(places) > 1);
        }
        Arc::clone(accounts.entry(peer).or_insert_with(|| Arc::new(Semaphore::new(self.each))))
    }
}

#[cfg(test)]
mod tests {
    use codex_peer_identity::Uid;

    use super::*;

    fn user(uid: u32) -> Peer {
        Peer::User(Uid::from_raw(uid))
    }

    #[test]
    fn an_account_takes_its_own_places_only() {
        let shares = Shares::new(2);
        let first = shares.of(user(1)).try_acquire_owned().unwrap();
        let _second = shares.of(user(1)).try_acquire_owned().unwrap();
        assert!(shares.of(user(1)).try_acquire_owned().is_err());
        assert!(shares.of(user(2)).try_acquire_owned().is_ok());
        assert!(shares.of(Peer::Unknown).try_acquire_owned().is_ok());
        drop(first);
        assert!(shares.of(user(1)).try_acquire_owned().is_ok());
    }

    #[test]
    fn accounts_without_a_place_are_forgotten_and_the_others_are_not() {
        let shares = Shares::new(1);
        let _taken = shares.of(user(0)).try_acquire_owned().unwrap();
        for uid in 1..10 * KEPT_ACCOUNTS as u32 {
            drop(shares.of(user(uid)).try_acquire_owned().unwrap());
        }
        assert!(shares.accounts.lock().unwrap().len() <= KEPT_ACCOUNTS);
        assert!(shares.of(user(0)).try_acquire_owned().is_err());
    }
}
