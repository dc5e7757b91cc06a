//! Whether the upstream can be reached, for who may see the status: the way that requests take is opened, and closed again
//! with nothing said on it. No key goes that way, and it counts as no exchange.
//!
//! It costs the upstream a TLS handshake. So there is one at a time, and who asks within a second after it hears the same
//! again. Nor does another begin within a second after the beginning of one that was given up.

use std::time::{Duration, Instant};

use codex_proxy_client::{UpstreamCheck, UpstreamProblem};
use http::{Response, StatusCode};
use rustls::ProtocolVersion;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio_util::task::AbortOnDropHandle;

use super::rotating::hang_up;
use super::{Body, Caller, Control, JSON, refusal, said};
use crate::connector::{Checked, Connector};

/// How long what was found is as good as new.
const PAUSE: Duration = Duration::from_secs(1);

/// Checks of the upstream, one after the other.
#[derive(Debug)]
pub(crate) struct UpstreamChecks {
    connector: Connector,
    /// Where exchanges run. Names are resolved there too: one that takes for ever takes no caller's thread.
    exchanges: Handle,
    /// Locked while there is one.
    last: Mutex<Option<Last>>,
}

#[derive(Debug)]
struct Last {
    /// When it ended, or else when it began.
    at: Instant,
    /// `None` if it was given up.
    found: Option<UpstreamCheck>,
}

impl UpstreamChecks {
    /// To be made where exchanges run.
    pub(crate) fn new(connector: Connector) -> Self {
        Self { connector, exchanges: Handle::current(), last: Mutex::default() }
    }
}

/// Opens the way to the upstream and closes it, and tells what came of it. It ends when its caller leaves.
pub(super) async fn check(control: &Control, caller: &Caller) -> Response<Body> {
    let checks = &control.upstream_checks;
    let Ok(mut last) = checks.last.try_lock() else { return busy() };
    if let Some(Last { at, found }) = &*last
        && at.elapsed() < PAUSE
    {
        return found.as_ref().map_or_else(busy, told);
    }
    *last = Some(Last { at: Instant::now(), found: None });
    let connector = checks.connector.clone();
    let checking = checks.exchanges.spawn(async move { connector.check().await });
    let checked = tokio::select! {
        biased;
        checked = AbortOnDropHandle::new(checking) => checked,
        () = hang_up(&caller.stream) => return left(),
        () = control.ended.cancelled() => return ended(),
    };
    let Ok(checked) = checked else { return failed() };
    let found = in_words(control, checked);
    let answer = told(&found);
    *last = Some(Last { at: Instant::now(), found: Some(found) });
    answer
}

fn in_words(control: &Control, checked: Checked) -> UpstreamCheck {
    let keys = control.proxy.custody.keys();
    let (tls, problem) = match checked.outcome {
        Ok(version) => (version.map(in_full), None),
        Err(failure) => {
            let problem = UpstreamProblem {
                code: failure.reason().code().to_owned(),
                message: keys.mask(&failure.to_string()).into_owned(), // Another's words may be in it.
                remedy: failure.remedy().to_owned(),
            };
            (None, Some(problem))
        }
    };
    UpstreamCheck {
        url: control.standing_facts.upstream.url.clone(),
        reached: problem.is_none(),
        took_ms: u64::try_from(checked.took.as_millis()).unwrap_or(u64::MAX),
        tls,
        problem,
    }
}

/// As other programs call it.
fn in_full(version: ProtocolVersion) -> String {
    match version {
        ProtocolVersion::TLSv1_2 => "TLSv1.2".to_owned(),
        ProtocolVersion::TLSv1_3 => "TLSv1.3".to_owned(),
        other => format!("{other:?}"),
    }
}

fn told(found: &UpstreamCheck) -> Response<Body> {
    // Plain numbers and strings: nothing that JSON could refuse.
    said(JSON, serde_json::to_string(found).unwrap_or_default())
}

fn busy() -> Response<Body> {
    let message =
        "the upstream is being checked already, or was a moment ago; try again in a second";
    refusal(StatusCode::SERVICE_UNAVAILABLE, "busy", message)
}

fn left() -> Response<Body> {
    let message = "the caller hung up before the check had ended";
    refusal(StatusCode::BAD_REQUEST, "caller_left", message)
}

fn ended() -> Response<Body> {
    refusal(StatusCode::CONFLICT, "draining", "this proxy has been stopped, and checks nothing")
}

fn failed() -> Response<Body> {
    let message = "the proxy could not check its upstream just now";
    refusal(StatusCode::INTERNAL_SERVER_ERROR, "check_failed", message)
}
