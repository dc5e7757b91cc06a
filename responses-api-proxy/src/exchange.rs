//! One request from its head to the last byte of its answer: admit → forward → relay → record. (Whose it is
//! was found out when its connection was accepted.)

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use codex_peer_identity::{Peer, Peers};
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use crate::admission::{self, Admission, Head, Policy};
use crate::answer_body::AnswerBody;
use crate::custody::Custody;
use crate::fault::Fault;
use crate::forwarder::Forwarder;
use crate::headers::is_framed_twice;
use crate::lease::Lease;
use crate::ledger::{Ledger, Records};
use crate::link::{Forwarding, Link};
use crate::request_body::{Phase, Progress};
use crate::shares::Shares;
use crate::stop::Stop;
use crate::visible_cut::VisibleCut;

/// How long a request waits for a place before it is told to come back.
const PATIENCE: Duration = Duration::from_millis(500);

/// What every connection shares.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) policy: Policy,
    pub(crate) custody: Arc<Custody>,
    pub(crate) forwarder: Forwarder,
    /// `None` where accounts can't be told apart.
    pub(crate) peers: Option<Peers>,
    /// Exchanges under way, by account.
    pub(crate) slots: Shares,
    pub(crate) max_concurrent: usize,
    /// How many there can be.
    pub(crate) open_files: usize,
    pub(crate) records: Records,
    pub(crate) stop: Stop,
    pub(crate) exchanges: AtomicU64,
}

impl Proxy {
    /// Whose connection this is. To be asked at once after it was accepted.
    pub(crate) fn identify(&self, stream: &TcpStream) -> Peer {
        match &self.peers {
            Some(peers) => peers.identify(|| Ok((stream.peer_addr()?, stream.local_addr()?))),
            None => Peer::Unknown,
        }
    }
}

/// An answer of our own, or the upstream's.
pub(crate) type ResponseBody = Either<Full<Bytes>, VisibleCut<AnswerBody>>;

/// Answers one request. What it returns may still be streaming; its record closes with its body.
pub(crate) async fn exchange(
    proxy: Arc<Proxy>,
    link: Arc<Link>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    let (head, body) = request.into_parts();
    let progress = Progress::of(body, &head.headers);
    let mut ledger = Ledger::open(&proxy, &link, &head, &progress);
    link.began(head.version);

    let answer: Result<Answer, Fault> = async {
        match admission::admit(&proxy.policy, link.peer, Head::of(&head))? {
            Admission::Shutdown => Ok(Answer::ShuttingDown),
            Admission::Forward(permit) => {
                // Without one the proxy has ended, and who asks is being cut off.
                let key = proxy.custody.keys().lend().ok_or(Fault::ClientLeft)?;
                ledger.dump(&head, key.key());
                let forwarding = Forwarding::begin(&link).await.ok_or(Fault::ClientLeft)?;
                let lease = Lease::new(key, place(&proxy, &link).await?);
                ledger.forwarded();
                let sent =
                    proxy.forwarder.send(permit, &head.headers, &progress, Arc::clone(&lease));
                let answer = sent.await?;
                Ok(Answer::Upstream { answer, forwarding, lease })
            }
        }
    }
    .await;

    let mut response = match answer {
        Ok(Answer::Upstream { answer, forwarding, lease }) => {
            ledger.answer_head(answer.status(), answer.headers());
            let relayed = |body| VisibleCut::of(AnswerBody::new(body, ledger, forwarding, lease));
            answer.map(|body| Either::Right(relayed(body)))
        }
        Ok(Answer::ShuttingDown) => {
            proxy.stop.drain();
            proxy.stop.closed().await; // Who reads the 200 can rely on it.
            ledger.done(StatusCode::OK);
            Response::new(Either::Left(Full::default()))
        }
        Err(fault) => {
            ledger.failed(&fault);
            let response = fault.into_response(&proxy.policy, proxy.custody.keys());
            ledger.said(response.body().len() as u64);
            response.map(|text| Either::Left(Full::new(text)))
        }
    };
    // An answer that came before the request's end lets the rest go, and with it the connection.
    if is_framed_twice(&head.headers) || progress.phase() != Phase::Ended {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

enum Answer {
    Upstream { answer: Response<Incoming>, forwarding: Forwarding, lease: Arc<Lease> },
    ShuttingDown,
}

/// Waits a moment for a place among the exchanges that its account may have under way.
async fn place(proxy: &Proxy, link: &Link) -> Result<OwnedSemaphorePermit, Fault> {
    match timeout(PATIENCE, Arc::clone(&link.slots).acquire_owned()).await {
        Ok(Ok(slot)) => Ok(slot),
        _ => Err(Fault::TooManyRequests { limit: proxy.max_concurrent }),
    }
}
