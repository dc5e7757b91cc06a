//! The mock as its user holds it: started, scripted, asked, and ended when dropped.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::observe::Shared;
use crate::{Certificate, Counts, Scenario, Seen, ServerTls, connection};

/// What a mock is like.
#[derive(Clone, Debug)]
pub struct Options {
    /// The port on 127.0.0.1; 0 for one that is free.
    pub port: u16,
    /// TLS, under an authority made for this mock alone.
    pub tls: bool,
    /// What is shown to whoever connects with TLS.
    pub certificate: Certificate,
    /// Answer 401 to any bearer but this one.
    pub expected_key: Option<String>,
    /// How requests are answered that [`MockUpstream::script`] says nothing about.
    pub scenario: Scenario,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            port: 0,
            tls: false,
            certificate: Certificate::Valid,
            expected_key: None,
            scenario: Scenario::Turn,
        }
    }
}

/// Why a mock could not be started.
#[derive(Debug, Error)]
pub enum StartError {
    /// The port could not be bound.
    #[error("127.0.0.1:{port} could not be bound")]
    Bind {
        /// The port asked for.
        port: u16,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// No certificate could be made.
    #[error("no certificate could be made")]
    Certificate(#[from] rcgen::Error),
    /// The certificate was not accepted by the TLS library.
    #[error("TLS could not be set up")]
    Tls(#[from] rustls::Error),
}

/// A running mock upstream. Dropped, it ends at once with all its connections.
#[derive(Debug)]
pub struct MockUpstream {
    address: SocketAddr,
    authority_pem: Option<String>,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl MockUpstream {
    /// Starts a mock on the current tokio runtime. It accepts connections when this returns.
    ///
    /// # Errors
    ///
    /// The port is taken, or TLS could not be set up.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let port = options.port;
        let bind = |source| StartError::Bind { port, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let tls = if options.tls { Some(ServerTls::make(options.certificate)?) } else { None };
        let (acceptor, authority_pem) = match tls {
            Some(tls) => (Some(TlsAcceptor::from(tls.config)), Some(tls.authority_pem)),
            None => (None, None),
        };
        let shared = Arc::new(Shared::new(options));
        let accepting = tokio::spawn(accept(listener, acceptor, Arc::clone(&shared)));
        Ok(Self { address, authority_pem, shared, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL that takes the place of `https://api.openai.com/v1/responses`.
    pub fn responses_url(&self) -> String {
        let scheme = if self.authority_pem.is_some() { "https" } else { "http" };
        format!("{scheme}://{}/v1/responses", self.address)
    }

    /// The authority that a client must trust, in PEM; `None` without TLS.
    pub fn authority_pem(&self) -> Option<&str> {
        self.authority_pem.as_deref()
    }

    /// Answers the next requests like this, one after the other.
    pub fn script(&self, scenarios: impl IntoIterator<Item = Scenario>) {
        self.shared.script(scenarios);
    }

    /// Lets so many events of [`Scenario::Gated`] go.
    pub fn release(&self, events: usize) {
        self.shared.gate.add_permits(events);
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        *self.shared.counts.borrow()
    }

    /// Waits until the counts are like this. Cancel safe; wrap it in a timeout where it may never be.
    pub async fn until(&self, mut reached: impl FnMut(&Counts) -> bool) -> Counts {
        let mut counts = self.shared.counts.subscribe();
        match counts.wait_for(|counts| reached(counts)).await {
            Ok(counts) => *counts,
            Err(_) => self.counts(), // The sender lives in `self`: this does not happen.
        }
    }

    /// The requests so far, in the order in which their bodies ended.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen()
    }

    /// When each event so far was handed to its connection.
    pub fn sent_events(&self) -> Vec<Instant> {
        self.shared.sent()
    }
}

impl Drop for MockUpstream {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let mut connections = JoinSet::new(); // Dropped with this task, it ends them all.
    let mut number = 0;
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                number += 1;
                shared.count(|counts| counts.connections += 1);
                let (shared, tls) = (Arc::clone(&shared), tls.clone());
                connections.spawn(async move {
                    connection::serve(Arc::clone(&shared), number, stream, tls).await;
                    shared.count(|counts| counts.disconnections += 1);
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}
