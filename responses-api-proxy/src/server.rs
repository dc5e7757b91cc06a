//! Accepting connections until told to stop, then waiting for those that are open.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use codex_peer_identity::Peer;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::exchange::Proxy;
use crate::ledger::turned_away;
use crate::link::Link;
use crate::shares::Shares;
use crate::users::Users;
use crate::{connection, report};

/// How long to wait when the machine has run out of something that a connection needs.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// Connections of one account, for each exchange that it may have under way, and at least.
const CONNECTIONS_AN_EXCHANGE: usize = 4;
const LEAST_CONNECTIONS: usize = 1_024;
/// Connections in all, in shares of an account, where every account is served.
const ACCOUNTS: usize = 4;

/// Open files that are no connections: the runtime's, the log, some dumps.
const OTHER_FILES: usize = 64;

/// How many connections are kept. More are closed at once: an error of ours would cost what is to be saved.
struct Doors {
    all: Arc<Semaphore>,
    by_account: Shares,
}

/// A connection's places. Dropped with it.
type Entered = (OwnedSemaphorePermit, OwnedSemaphorePermit);

impl Doors {
    /// Each account that was named can have its share at any time, whatever the others do.
    fn of(users: &Users, max_concurrent: usize, open_files: usize) -> Self {
        let shares = match users {
            Users::Anyone => ACCOUNTS,
            Users::Only(accounts) => accounts.len() + 1,
        };
        let wanted = (max_concurrent * CONNECTIONS_AN_EXCHANGE).max(LEAST_CONNECTIONS);
        // Each may need a second file, for the upstream.
        let there = open_files.saturating_sub(OTHER_FILES) / 2 / shares;
        let each = wanted.min(there).max(1);
        Self { all: Arc::new(Semaphore::new(each * shares)), by_account: Shares::new(each) }
    }

    /// Who is not served shares one account's places with all who are not.
    fn enter(&self, users: &Users, peer: Peer) -> Option<Entered> {
        let account = if users.allow(peer) { peer } else { Peer::Unknown };
        let own = self.by_account.of(account).try_acquire_owned().ok()?;
        Some((Arc::clone(&self.all).try_acquire_owned().ok()?, own))
    }
}

/// Serves until stopped: closes the listener first, then gives open exchanges `drain_timeout`, then
/// ends them. `close` is called once the listener is closed.
pub(crate) async fn run(
    listener: TcpListener,
    proxy: Arc<Proxy>,
    drain_timeout: Duration,
    close: impl FnOnce(),
) {
    let connections = TaskTracker::new();
    accept(&listener, &proxy, &connections).await;
    drop(listener);
    close();
    proxy.stop.now_closed();

    connections.close();
    tokio::select! {
        drained = timeout(drain_timeout, connections.wait()) => if drained.is_err() { proxy.stop.abort() },
        () = proxy.stop.aborting() => {}
    }
    connections.wait().await;
}

async fn accept(listener: &TcpListener, proxy: &Arc<Proxy>, connections: &TaskTracker) {
    let users = &proxy.policy.users;
    let doors = Doors::of(users, proxy.max_concurrent, proxy.open_files);
    let mut warned = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = proxy.stop.told() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let peer = proxy.identify(&stream);
                let Some(entered) = doors.enter(users, peer) else {
                    turned_away(proxy, peer);
                    continue;
                };
                let link = Link::of(stream, peer, proxy.slots.of(peer));
                let proxy = Arc::clone(proxy);
                let connected = proxy.records.metrics.connected();
                connections.spawn(async move {
                    connection::serve(proxy, link).await;
                    drop((entered, connected));
                });
            }
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {} // That client has left.
            Err(error) => {
                if !warned {
                    warned = true; // Once: a line per attempt would fill the log.
                    let text = format!("warning: new connections have to wait: {error}");
                    spawn_blocking(move || report::line(&text)); // Whoever reads it may be slow.
                }
                sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use codex_peer_identity::Uid;

    use super::*;

    fn enter(doors: &Doors, users: &Users, uid: u32) -> Option<Entered> {
        doors.enter(users, Peer::User(Uid::from_raw(uid)))
    }

    #[test]
    fn an_account_has_its_share_of_the_connections_and_all_together_have_four() {
        for (max_concurrent, each) in [(1, 1_024), (256, 1_024), (257, 1_028), (1_500, 6_000)] {
            let doors = Doors::of(&Users::Anyone, max_concurrent, usize::MAX);
            let enter = |uid| enter(&doors, &Users::Anyone, uid);
            let mut inside: Vec<_> =
                (0..4 * each).map(|number| enter((number % 4) as u32).unwrap()).collect();
            assert!(enter(0).is_none(), "{max_concurrent}: an account has more");
            assert!(enter(4).is_none(), "{max_concurrent}: all together have more");
            inside.pop();
            assert!(enter(4).is_some(), "{max_concurrent}: a place was not given back");
        }
    }

    #[test]
    fn all_connections_and_their_upstreams_fit_into_the_files_that_there_are() {
        for (open_files, each) in [(1_024, 120), (8_256, 1_024), (64, 1), (0, 1)] {
            let doors = Doors::of(&Users::Anyone, 256, open_files);
            let mut inside = Vec::new();
            while let Some(entered) = enter(&doors, &Users::Anyone, 1) {
                inside.push(entered);
            }
            assert_eq!(inside.len(), each, "{open_files}");
        }
    }

    #[test]
    fn accounts_that_are_not_served_cannot_shut_out_those_that_are() {
        let users = Users::resolve(&["1".to_owned(), "2".to_owned()]).unwrap();
        let doors = Doors::of(&users, 1, usize::MAX);
        let mut inside = Vec::new();
        for uid in 100..10_000 {
            inside.extend(enter(&doors, &users, uid));
        }
        inside.extend(doors.enter(&users, Peer::Unknown));
        assert_eq!(inside.len(), 1_024);
        for uid in [1, 2] {
            inside.extend((0..1_024).map(|_| enter(&doors, &users, uid).unwrap()));
            assert!(enter(&doors, &users, uid).is_none());
        }
    }
}
