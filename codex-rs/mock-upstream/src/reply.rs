//! From a scenario to what is sent: a whole answer, a plan for a streamed one, or none.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

use crate::answer::Break;
use crate::events;
use crate::scenario::Scenario;
use crate::stream::{Ending, MockBody, Plan};

/// The size of one event of [`Scenario::Flood`].
const FLOOD_EVENT_BYTES: usize = 1 << 16;

/// What is sent to one request.
pub(crate) enum Reply {
    Whole(Response<MockBody>),
    Stream { plan: Plan, encoding: Option<HeaderValue> },
    Disconnect { reset: bool },
    Never,
}

/// What this scenario sends to a request with this model, content encoding and length.
pub(crate) fn to(
    scenario: Scenario,
    model: &str,
    encoding: Option<&HeaderValue>,
    body_bytes: u64,
) -> Result<Reply, Break> {
    let turn = || events::turn(model, events::ORDINARY_WORDS);
    let first = |count| turn().into_iter().take(count).collect();
    let stream = |plan| Reply::Stream { plan, encoding: None };
    Ok(match scenario {
        Scenario::Turn => stream(Plan::of(turn())),
        Scenario::Slow { events, gap } => {
            stream(Plan { gap, ..Plan::of(events::turn(model, events as usize)) })
        }
        Scenario::Gated => stream(Plan { gated: true, ..Plan::of(turn()) }),
        Scenario::Silent => stream(Plan { ending: Ending::Never, ..Plan::of(first(1)) }),
        Scenario::Cut { events } => stream(Plan { ending: Ending::Cut, ..Plan::of(first(events)) }),
        Scenario::Reset { events } => {
            stream(Plan { ending: Ending::Reset, ..Plan::of(first(events)) })
        }
        Scenario::Unfinished => stream(Plan::of(first(turn().len() - 1))),
        Scenario::Flood { mebibytes } => {
            let event = format!("data: {}\n\n", "x".repeat(FLOOD_EVENT_BYTES - 8));
            let count = mebibytes as usize * (1 << 20) / FLOOD_EVENT_BYTES;
            stream(Plan::of(vec![Bytes::from(event); count]))
        }
        Scenario::Gzip => Reply::Stream {
            plan: Plan::of(vec![gzip(&turn().concat())]),
            encoding: Some(HeaderValue::from_static("gzip")),
        },
        Scenario::Json => Reply::Whole(document(StatusCode::OK, events::document(model))),
        Scenario::Echo => {
            let encoding = encoding.and_then(|value| value.to_str().ok());
            let echo = json!({ "received_bytes": body_bytes, "content_encoding": encoding });
            Reply::Whole(document(StatusCode::OK, echo.to_string().into()))
        }
        Scenario::Status { status, retry_after } => {
            let mut response = error(status_code(status)?, "mock_status");
            if let Some(seconds) = retry_after {
                response.headers_mut().insert(RETRY_AFTER, seconds.into());
            }
            Reply::Whole(response)
        }
        Scenario::Quota => Reply::Whole(error(StatusCode::TOO_MANY_REQUESTS, "insufficient_quota")),
        Scenario::Redirect { status, location } => {
            let mut response = document(status_code(status)?, Bytes::new());
            let location = HeaderValue::try_from(location).map_err(|_| Break)?;
            response.headers_mut().insert(LOCATION, location);
            Reply::Whole(response)
        }
        Scenario::Close => Reply::Disconnect { reset: false },
        Scenario::ResetAtOnce => Reply::Disconnect { reset: true },
        Scenario::Hang => Reply::Never,
    })
}

fn status_code(status: u16) -> Result<StatusCode, Break> {
    StatusCode::from_u16(status).map_err(|_| Break)
}

fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // A Vec takes every byte, so neither call can fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default().into()
}

fn document(status: StatusCode, text: Bytes) -> Response<MockBody> {
    let mut response = Response::new(MockBody::Whole(Some(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert("x-request-id", HeaderValue::from_static("req_mock_1"));
    response
}

/// An error document in the API's shape.
pub(crate) fn error(status: StatusCode, code: &str) -> Response<MockBody> {
    let message = format!("the mock upstream answers {}", status.as_u16());
    let body =
        json!({ "error": { "message": message, "type": code, "code": code, "param": null } });
    document(status, body.to_string().into())
}
