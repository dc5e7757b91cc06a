//! Accepting connections until told to stop, then waiting for those that are open.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::exchange::Proxy;
use crate::{connection, report};

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
    let mut warned = false;
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
