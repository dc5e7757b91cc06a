//! The one place where requests are sent, and the one connection pool that carries them.
//!
//! What is sent here has a placeholder for the key. The connections put the key in its place (`keyed_stream`).

use std::sync::Arc;
use std::time::Duration;

use codex_key_custody::KeyRing;
use http::header::{ACCEPT, CONTENT_LENGTH};
use http::{Extensions, HeaderMap, HeaderValue, Method, Request, Response, Uri, Version};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::capture_connection;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;

use crate::StartError;
use crate::admission::{Permit, Refusal};
use crate::connector::Connector;
use crate::fault::Fault;
use crate::field_rules::{FieldRules, KeyField};
use crate::headers;
use crate::lease::Lease;
use crate::request_body::{Phase, Progress, RequestBody};
use crate::settings::Settings;
use crate::upstream_failure::{Cause, Hop, UpstreamFailure};
use crate::upstream_stream::Deafness;

/// How long a client may send nothing in the middle of its body: as long as nginx waits.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a connection may rest in the pool: hyper-util's own default.
const POOL_TIMEOUT: Duration = Duration::from_secs(90);
/// What of an answer may be in memory at once, its head included.
const MAX_BUFFER_BYTES: usize = 128 * 1024;

/// Sends admitted requests to the one upstream.
#[derive(Debug)]
pub(crate) struct Forwarder {
    client: Client<Connector, RequestBody>,
    /// The client's own.
    connector: Connector,
    fields: FieldRules,
    uri: Uri,
    /// `host:port`
    hop: String,
    header_timeout: Duration,
    body_timeout: Duration,
    max_body_bytes: u64,
}

impl Forwarder {
    /// An HTTP/1.1 client that does what it is told: no redirect, cookie or decompression, and no limit on how long
    /// an answer may stream.
    pub(crate) fn new(
        settings: &Settings,
        keys: Arc<KeyRing>,
        tls: ClientConfig,
    ) -> Result<Self, StartError> {
        let connector = Connector::new(settings, tls, keys)?;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_TIMEOUT)
            .pool_max_idle_per_host(settings.max_concurrent)
            // What has not been sent at all goes to another connection; nothing else is ever sent again.
            .retry_canceled_requests(true)
            .http1_max_buf_size(MAX_BUFFER_BYTES)
            .build(connector.clone());
        let upstream = &settings.upstream;
        let uri = upstream.url().as_str().parse().map_err(|error: http::uri::InvalidUri| {
            StartError::Resources { what: "the upstream's URI", source: error.into() }
        })?;
        Ok(Self {
            client,
            connector,
            fields: settings.fields.clone(),
            uri,
            hop: upstream.hop().to_owned(),
            header_timeout: settings.header_timeout,
            body_timeout: BODY_TIMEOUT.min(settings.header_timeout),
            max_body_bytes: settings.max_body_bytes,
        })
    }

    /// The way that requests take, for who looks whether it is open.
    pub(crate) fn connector(&self) -> &Connector {
        &self.connector
    }

    /// Sends an admitted request, its fields and its body, and waits for the head of its answer.
    ///
    /// Dropping the future, or the answer's body, ends the upstream's exchange and its connection.
    pub(crate) async fn send(
        &self,
        _permit: Permit,
        client_fields: &HeaderMap,
        progress: &Progress,
        lease: Arc<Lease>,
    ) -> Result<Response<Incoming>, Fault> {
        let key = match self.fields.key {
            KeyField::Bearer => lease.key.authorization(),
            KeyField::Bare(_) => lease.key.bare(),
        };
        let body = RequestBody::new(progress.clone(), self.max_body_bytes, lease);
        let mut outgoing = Request::new(body);
        *outgoing.method_mut() = Method::POST;
        *outgoing.uri_mut() = self.uri.clone();
        let fields = outgoing.headers_mut();
        *fields = headers::for_upstream(key, &self.fields, client_fields);
        // As other clients do: some servers want to hear it.
        fields.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        if progress.phase() == Phase::Ended {
            // Else an empty body goes up in no frame at all, which some servers refuse (411).
            fields.insert(CONTENT_LENGTH, 0.into());
        }

        let connection = capture_connection(&mut outgoing);
        let mut answer = tokio::select! {
            biased;
            answer = self.client.request(outgoing) => answer.map_err(|error| self.fault(&error, progress))?,
            () = progress.stalled(self.header_timeout, self.body_timeout) => {
                return Err(self.timeout(progress));
            }
        };
        if let Some(connection) = connection.connection_metadata().as_ref() {
            let mut extras = Extensions::new();
            connection.get_extras(&mut extras);
            let is_deaf = extras.get::<Deafness>().is_some_and(Deafness::has_set_in);
            // Who answers early may close, and what goes up then goes nowhere: the next request must not. Nor to an
            // upstream of HTTP/1.0: hyper would write to it in its version, which knows no chunked bodies. (hyper-util may
            // have given the connection to the next by now: then one whose body is chunked fails.)
            let is_old = answer.version() < Version::HTTP_11;
            if is_deaf || is_old || progress.phase() != Phase::Ended {
                connection.poison();
            }
        }
        if answer.status().is_informational() {
            return Err(
                self.upstream_failed(Cause::NotHttp(format!("a final {}", answer.status())))
            );
        }
        if headers::answer_has_foreign_transfer_coding(answer.headers()) {
            let coding = "a transfer coding other than chunked".to_owned();
            return Err(self.upstream_failed(Cause::NotHttp(coding)));
        }
        *answer.headers_mut() = headers::for_client(answer.headers());
        *answer.version_mut() = Version::HTTP_11; // The client's own version is hyper's to settle.
        Ok(answer)
    }

    fn fault(&self, error: &legacy::Error, progress: &Progress) -> Fault {
        match progress.phase() {
            Phase::TooLarge => Refusal::BodyTooLarge.into(),
            Phase::Broken => Fault::BodyIncomplete,
            Phase::Malformed => Fault::BodyMalformed,
            _ => Fault::Upstream(UpstreamFailure::of(error, &self.hop)),
        }
    }

    fn timeout(&self, progress: &Progress) -> Fault {
        match progress.phase() {
            Phase::ClientsTurn => Fault::BodyTimeout(self.body_timeout),
            _ => self.upstream_failed(Cause::HeaderTimeout(self.header_timeout)),
        }
    }

    fn upstream_failed(&self, cause: Cause) -> Fault {
        Fault::Upstream(UpstreamFailure { hop: Hop::Upstream(self.hop.clone()), cause })
    }
}
