//! Accepting connections until told to stop, then waiting for those that are open.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::exchange::Proxy;
use crate::{connection, listener, report};

/// How long to wait when the machine has run out of something that a connection needs.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

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
    let mut told = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = proxy.stop.told() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(connection::serve(Arc::clone(proxy), stream));
            }
            Err(error) if listener::is_exhaustion(&error) => {
                if !told {
                    told = true; // Once: a line per attempt would fill the log.
                    report::line(&format!("new connections have to wait: {error}"));
                }
                sleep(EXHAUSTED_PAUSE).await;
            }
            Err(_) => {} // That client left before it was accepted (accept(2), ECONNABORTED).
        }
    }
}
