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
use crate::{connection, report};

/// How long to wait when the machine has run out of something that a connection needs.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// Connections of one account, for each exchange that it may have under way, and at least.
const CONNECTIONS_AN_EXCHANGE: usize = 4;
const LEAST_CONNECTIONS: usize = 1_024;
/// Connections in all, in shares of an account.
const ACCOUNTS: usize = 4;

/// How many connections are kept. More are closed at once: an error of ours would cost what is to be saved.
struct Doors {
    all: Arc<Semaphore>,
    by_account: Shares,
}

/// A connection's places. Dropped with it.
type Entered = (OwnedSemaphorePermit, OwnedSemaphorePermit);

impl Doors {
    fn for_exchanges(max_concurrent: usize) -> Self {
        let each = (max_concurrent * CONNECTIONS_AN_EXCHANGE).max(LEAST_CONNECTIONS);
        Self { all: Arc::new(Semaphore::new(each * ACCOUNTS)), by_account: Shares::new(each) }
    }

    fn enter(&self, peer: Peer) -> Option<Entered> {
        let own = self.by_account.of(peer).try_acquire_owned().ok()?;
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
    let doors = Doors::for_exchanges(proxy.max_concurrent);
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
                let Some(entered) = doors.enter(peer) else {
                    turned_away(proxy, peer);
                    continue;
                };
                let link = Link::of(stream, peer, proxy.slots.of(peer));
                let proxy = Arc::clone(proxy);
                connections.spawn(async move {
                    connection::serve(proxy, link).await;
                    drop(entered);
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

    fn enter(doors: &Doors, uid: u32) -> Option<Entered> {
        doors.enter(Peer::User(Uid::from_raw(uid)))
    }

    #[test]
    fn an_account_has_its_share_of_the_connections_and_all_together_have_four() {
        for (max_concurrent, each) in [(1, 1_024), (256, 1_024), (257, 1_028), (1_500, 6_000)] {
            let doors = Doors::for_exchanges(max_concurrent);
            let mut inside: Vec<_> =
                (0..4 * each).map(|number| enter(&doors, (number % 4) as u32).unwrap()).collect();
            assert!(enter(&doors, 0).is_none(), "{max_concurrent}: an account has more");
            assert!(enter(&doors, 4).is_none(), "{max_concurrent}: all together have more");
            inside.pop();
            assert!(enter(&doors, 4).is_some(), "{max_concurrent}: a place was not given back");
        }
    }
}
