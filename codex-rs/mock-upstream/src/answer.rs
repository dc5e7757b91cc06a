//! One request from its head to the head of its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_ENCODING};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;
use thiserror::Error;

use crate::observe::{Seen, Shared};
use crate::reply::{self, Reply, error};
use crate::stream::MockBody;

/// How much of a request's body is kept, in bytes.
const KEPT_BODY_BYTES: usize = 1 << 20;

/// The scenario ends the connection here.
#[derive(Debug, Error)]
#[error("the scenario ends the connection")]
pub(crate) struct Break;

/// What a connection's tasks share.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) shared: Arc<Shared>,
    /// Which connection this is, counted from 1.
    pub(crate) number: u64,
    /// The connection is to end with a reset.
    pub(crate) reset: AtomicBool,
}

/// Counts an exchange as cancelled unless it got to its end.
pub(crate) struct Progress {
    shared: Arc<Shared>,
    ended: bool,
}

impl Progress {
    pub(crate) fn ended(mut self) {
        self.ended = true;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.shared.count(|counts| {
            if self.ended {
                counts.answered += 1;
            } else {
                counts.cancelled += 1;
            }
        });
    }
}

/// One request from its head to the head of its answer.
pub(crate) async fn answer(
    link: Arc<Link>,
    request: Request<Incoming>,
) -> Result<Response<MockBody>, Break> {
    let shared = Arc::clone(&link.shared);
    shared.count(|counts| counts.requests += 1);
    let progress = Progress { shared: Arc::clone(&shared), ended: false };
    let scenario = shared.next_scenario();

    let (head, body) = request.into_parts();
    let (body, body_bytes, trailers) = read_body(&shared, body).await?;
    let encoding = head.headers.get(CONTENT_ENCODING).cloned();
    let bearer = head.headers.get(AUTHORIZATION).cloned();
    let model = model_of(&body);
    shared.saw(Seen {
        method: head.method,
        target: head.uri.to_string(),
        headers: head.headers,
        trailers,
        body,
        connection: link.number,
    });

    if let Some(key) = &shared.options.expected_key
        && bearer.is_none_or(|bearer| bearer.as_bytes() != format!("Bearer {key}").as_bytes())
    {
        shared.count(|counts| counts.wrong_bearer += 1);
        progress.ended();
        return Ok(error(StatusCode::UNAUTHORIZED, "invalid_api_key"));
    }

    match reply::to(scenario, &model, encoding.as_ref(), body_bytes)? {
        Reply::Whole(response) => {
            progress.ended();
            Ok(response)
        }
        Reply::Stream { plan, encoding } => {
            let mut response = plan.start(link, progress);
            if let Some(encoding) = encoding {
                response.headers_mut().insert(CONTENT_ENCODING, encoding);
            }
            Ok(response)
        }
        Reply::Disconnect { reset } => {
            progress.ended();
            link.reset.store(reset, Ordering::Relaxed);
            Err(Break)
        }
        Reply::Never => std::future::pending().await,
    }
}

async fn read_body(shared: &Shared, mut body: Incoming) -> Result<(Bytes, u64, HeaderMap), Break> {
    let mut kept = BytesMut::new();
    let mut total = 0;
    let mut trailers = HeaderMap::new();
    while let Some(frame) = body.frame().await {
        match frame.map_err(|_| Break)?.into_data() {
            Ok(data) => {
                total += data.len() as u64;
                kept.extend_from_slice(&data[..data.len().min(KEPT_BODY_BYTES - kept.len())]);
                shared.count(|counts| counts.body_bytes += data.len() as u64);
            }
            Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
        }
    }
    Ok((kept.freeze(), total, trailers))
}

fn model_of(body: &[u8]) -> String {
    let document: Value = serde_json::from_slice(body).unwrap_or_default();
    document["model"].as_str().unwrap_or("mock-model").to_owned()
}
