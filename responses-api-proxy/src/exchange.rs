//! One request from its head to the last byte of its answer: admit → forward → relay → record.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use codex_request_log::Log;
use http::{Request, Response};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::admission::{self, Admission, Head, Policy};
use crate::answer_body::AnswerBody;
use crate::fault::Fault;
use crate::forwarder::Forwarder;
use crate::ledger::Ledger;
use crate::link::{Forwarding, Link};
use crate::request_body::Progress;
use crate::stop::Stop;
use crate::visible_cut::VisibleCut;

/// How long a request waits for a place before it is told to come back.
const PATIENCE: Duration = Duration::from_millis(500);

/// What every connection shares.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) policy: Policy,
    pub(crate) forwarder: Forwarder,
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) max_concurrent: usize,
    pub(crate) log: Log,
    pub(crate) stop: Stop,
    pub(crate) exchanges: AtomicU64,
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
    let progress = Progress::of(body);
    let mut ledger = Ledger::open(&proxy, &head, &progress);
    link.began(head.version, &progress);

    let answer: Result<Answer, Fault> = async {
        match admission::admit(&proxy.policy, Head::of(&head))? {
            Admission::Shutdown => Ok(Answer::ShuttingDown),
            Admission::Forward(permit) => {
                let forwarding = Forwarding::begin(&link).await.ok_or(Fault::ClientLeft)?;
                let slot = Arc::new(place(&proxy).await?);
                let sent =
                    proxy.forwarder.send(permit, &head.headers, &progress, Arc::clone(&slot));
                let answer = sent.await?;
                Ok(Answer::Upstream { answer, forwarding, slot })
            }
        }
    }
    .await;

    Ok(match answer {
        Ok(Answer::Upstream { answer, forwarding, slot }) => {
            ledger.record.answered(answer.status().as_u16());
            let relayed = |body| VisibleCut::of(AnswerBody::new(body, ledger, forwarding, slot));
            answer.map(|body| Either::Right(relayed(body)))
        }
        Ok(Answer::ShuttingDown) => {
            proxy.stop.drain();
            proxy.stop.closed().await; // Who reads the 200 can rely on it.
            ledger.record.answered(200);
            ledger.record.completed();
            Response::new(Either::Left(Full::default()))
        }
        Err(fault) => {
            ledger.record.answered(fault.status().as_u16());
            ledger.record.failed(fault.outcome(), fault.reason(), fault.detail());
            let response = fault.into_response(&proxy.policy);
            ledger.record.relayed(response.body().len() as u64);
            response.map(|text| Either::Left(Full::new(text)))
        }
    })
}

enum Answer {
    Upstream {
        answer: Response<reqwest::Body>,
        forwarding: Forwarding,
        slot: Arc<OwnedSemaphorePermit>,
    },
    ShuttingDown,
}

/// Waits a moment for a place among the exchanges that may be under way.
async fn place(proxy: &Proxy) -> Result<OwnedSemaphorePermit, Fault> {
    let slots = Arc::clone(&proxy.slots);
    match timeout(PATIENCE, slots.acquire_owned()).await {
        Ok(Ok(slot)) => Ok(slot),
        _ => Err(Fault::TooManyRequests { limit: proxy.max_concurrent }),
    }
}
