//! The one place where the key joins a request, and the one connection pool that carries it.

use std::sync::Arc;
use std::time::Duration;

use codex_key_custody::ApiKey;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, Response, Version};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect;
use rustls::ClientConfig;
use tokio::sync::OwnedSemaphorePermit;

use crate::StartError;
use crate::admission::{Permit, Refusal};
use crate::dump::Secrets;
use crate::fault::Fault;
use crate::field_rules::{FieldRules, KeyField};
use crate::headers;
use crate::request_body::{Phase, Progress, RequestBody};
use crate::settings::Settings;
use crate::upstream_failure::{Cause, DnsError, Route, UpstreamFailure};
use crate::upstream_proxy::UpstreamProxy;
use crate::upstream_url::UpstreamUrl;

/// How long a client may send nothing in the middle of its body: as long as nginx waits.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// Sends admitted requests to the one upstream.
#[derive(Debug)]
pub(crate) struct Forwarder {
    client: reqwest::Client,
    key: ApiKey,
    fields: FieldRules,
    upstream: UpstreamUrl,
    route: Route,
    connect_timeout: Duration,
    header_timeout: Duration,
    body_timeout: Duration,
    max_body_bytes: u64,
}

impl Forwarder {
    /// An HTTP/1.1 client that does what it is told: no redirect, cookie, decompression, retry or
    /// environment proxy, and no limit on how long an answer may stream.
    pub(crate) fn new(
        settings: &Settings,
        key: ApiKey,
        tls: ClientConfig,
    ) -> Result<Self, StartError> {
        let lacking = |error: reqwest::Error| StartError::Resources {
            what: "the HTTP client",
            source: error.into(),
        };
        // The environment has been read already: no_proxy() keeps the client from reading it again.
        let client = reqwest::Client::builder().no_proxy();
        let client = match &settings.upstream_proxy {
            None => client,
            Some(proxy) => {
                client.proxy(reqwest::Proxy::https(proxy.url().clone()).map_err(lacking)?)
            }
        };
        // By default 30 s, also for an upstream that reads slowly.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let client = client.tcp_user_timeout(None);
        let client = client
            .tls_backend_preconfigured(tls)
            .http1_only()
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .dns_resolver(SystemResolver)
            .tcp_nodelay(true)
            .connect_timeout(settings.connect_timeout)
            .pool_max_idle_per_host(settings.max_concurrent)
            .build()
            .map_err(lacking)?;
        Ok(Self {
            client,
            key,
            fields: settings.fields.clone(),
            route: Route {
                upstream: settings.upstream.hop().to_owned(),
                proxy: settings.upstream_proxy.as_ref().map(UpstreamProxy::hop),
            },
            upstream: settings.upstream.clone(),
            connect_timeout: settings.connect_timeout,
            header_timeout: settings.header_timeout,
            body_timeout: BODY_TIMEOUT.min(settings.header_timeout),
            max_body_bytes: settings.max_body_bytes,
        })
    }

    /// The key's holder, to mask what is about to be printed.
    pub(crate) fn key(&self) -> &ApiKey {
        &self.key
    }

    /// What is to be left out of dumps: the key wherever it stands, and the field that it stands in.
    pub(crate) fn secrets(&self) -> Secrets {
        Secrets { masker: self.key.masker(), fields: vec![self.fields.key.name().clone()] }
    }

    /// Sends an admitted request, its fields and its body, and waits for the head of its answer.
    ///
    /// Dropping the future, or the answer's body, ends the upstream's exchange and its connection.
    pub(crate) async fn send(
        &self,
        _permit: Permit,
        fields: &HeaderMap,
        progress: &Progress,
        slot: Arc<OwnedSemaphorePermit>,
    ) -> Result<Response<reqwest::Body>, Fault> {
        let body = RequestBody::new(progress.clone(), self.max_body_bytes, slot);
        let mut outgoing = reqwest::Request::new(Method::POST, self.upstream.url().clone());
        let key = match self.fields.key {
            KeyField::Bearer => self.key.authorization(),
            KeyField::Bare(_) => self.key.bare(),
        };
        *outgoing.headers_mut() = headers::for_upstream(key, &self.fields, fields);
        if progress.phase() == Phase::Ended {
            // Else an empty body goes up in no frame at all, which some servers refuse (411).
            outgoing.headers_mut().insert(CONTENT_LENGTH, 0.into());
        }
        *outgoing.body_mut() = Some(reqwest::Body::wrap(body));

        let answer = tokio::select! {
            biased;
            answer = self.client.execute(outgoing) => answer.map_err(|error| self.fault(&error, progress))?,
            () = progress.stalled(self.header_timeout, self.body_timeout) => {
                return Err(self.timeout(progress));
            }
        };
        let mut answer = Response::from(answer);
        if answer.status().is_informational() {
            return Err(
                self.upstream_failed(Cause::NotHttp(format!("a final {}", answer.status())))
            );
        }
        if let Some(coding) = headers::foreign_transfer_coding(answer.headers()) {
            return Err(
                self.upstream_failed(Cause::NotHttp(format!("the transfer coding {coding:?}")))
            );
        }
        *answer.headers_mut() = headers::for_client(answer.headers());
        *answer.version_mut() = Version::HTTP_11; // The client's own version is hyper's to settle.
        Ok(answer)
    }

    fn fault(&self, error: &reqwest::Error, progress: &Progress) -> Fault {
        match progress.phase() {
            Phase::TooLarge => Refusal::BodyTooLarge.into(),
            Phase::Broken => Fault::BodyIncomplete,
            Phase::Malformed => Fault::BodyMalformed,
            _ => Fault::Upstream(UpstreamFailure::of(error, &self.route, self.connect_timeout)),
        }
    }

    fn timeout(&self, progress: &Progress) -> Fault {
        match progress.phase() {
            Phase::ClientsTurn => Fault::BodyTimeout(self.body_timeout),
            _ => self.upstream_failed(Cause::HeaderTimeout(self.header_timeout)),
        }
    }

    fn upstream_failed(&self, cause: Cause) -> Fault {
        Fault::Upstream(UpstreamFailure { hop: self.route.upstream_hop(), cause })
    }
}

/// The system's resolver, with an error of a type that can be told apart.
#[derive(Debug)]
struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await.map_err(DnsError)?;
            Ok(Box::new(found.collect::<Vec<_>>().into_iter()) as Addrs)
        })
    }
}
