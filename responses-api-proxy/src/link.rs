//! What a connection and its exchanges tell each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use codex_peer_identity::Peer;
use http::Version;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::client_stream::has_hung_up;
use crate::head_clock::HeadClock;

/// The facts that a connection and its exchanges share. (A connection has one exchange at a time.)
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) stream: TcpStream,
    /// Whose connection it is.
    pub(crate) peer: Peer,
    /// The account's places for exchanges.
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) clock: HeadClock,
    http_1_0: AtomicBool,
    cut: AtomicBool,
    // Both sequentially consistent: whoever comes second sees what the first has said.
    forwarding: AtomicBool,
    left: AtomicBool,
}

impl Link {
    pub(crate) fn of(stream: TcpStream, peer: Peer, slots: Arc<Semaphore>) -> Self {
        Self {
            stream,
            peer,
            slots,
            clock: HeadClock::started(),
            http_1_0: AtomicBool::default(),
            cut: AtomicBool::default(),
            forwarding: AtomicBool::default(),
            left: AtomicBool::default(),
        }
    }

    /// A request's head has been read.
    pub(crate) fn began(&self, version: Version) {
        self.clock.busy();
        self.http_1_0.store(version == Version::HTTP_10, Ordering::Relaxed);
    }

    /// The answer won't be ended.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    /// Whether the client could take a closed connection for the end of its answer.
    pub(crate) fn cut_would_be_missed(&self) -> bool {
        self.cut.load(Ordering::Relaxed) && self.http_1_0.load(Ordering::Relaxed)
    }

    /// The client has hung up. Returns whether the upstream is at work for it, which is to end at once;
    /// without that, hyper may still have something of our own to say.
    pub(crate) fn client_left(&self) -> bool {
        self.left.store(true, Ordering::SeqCst);
        self.forwarding.load(Ordering::SeqCst)
    }
}

/// While it lives, the upstream is at work for this connection's client, or about to be.
#[derive(Debug)]
pub(crate) struct Forwarding {
    pub(crate) link: Arc<Link>,
}

impl Forwarding {
    /// `None` if the client has hung up.
    pub(crate) async fn begin(link: &Arc<Link>) -> Option<Self> {
        link.forwarding.store(true, Ordering::SeqCst);
        let forwarding = Self { link: Arc::clone(link) };
        // The connection may not have been told yet of what came with this very request.
        let has_left = link.left.load(Ordering::SeqCst) || has_hung_up(&link.stream).await;
        if has_left { None } else { Some(forwarding) }
    }
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        self.link.forwarding.store(false, Ordering::SeqCst);
    }
}
