//! The way to the upstream: TCP to the first hop, a tunnel if that is a proxy, TLS.
//!
//! Each step knows its hop, so each failure does. All of them together have `--connect-timeout`. On top of all lies the
//! stream that the key goes into (`keyed_stream`): it is never written to a hop. Who only looks whether the way is open
//! gets no such stream.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use codex_key_custody::{HeadStart, KeyRing, KeyedHeads};
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, ProtocolVersion};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tower_service::Service;
use url::Url;

use crate::StartError;
use crate::field_rules::KeyField;
use crate::keyed_stream::KeyedStream;
use crate::settings::Settings;
use crate::upstream_failure::{Cause, DnsError, Hop, UpstreamFailure};
use crate::upstream_stream::{Deafness, UpstreamStream};

/// Finds a connection that has died in silence, in the middle of a silent stream too: after a minute.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_TRIES: u32 = 3;

/// How long an upstream may take nothing of a request: as long as nginx waits.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the polite end of a way may take on which nothing was said.
const FAREWELL: Duration = Duration::from_secs(1);

/// Makes connections to the one upstream. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Connector(Arc<Way>);

struct Way {
    tcp: HttpConnector<SystemResolver>,
    tls: TlsConnector,
    upstream: Target,
    proxy: Option<Proxy>,
    limit: Duration,
    /// For each write.
    patience: Duration,
    keys: Arc<KeyRing>,
    head_start: HeadStart,
}

/// Where a connection leads.
#[derive(Debug)]
struct Target {
    uri: Uri,
    /// `host:port`
    hop: String,
    /// `None` without TLS.
    name: Option<ServerName<'static>>,
}

#[derive(Debug)]
struct Proxy {
    target: Target,
    login: Option<http::HeaderValue>,
}

/// A way to the upstream on which nothing has been said yet.
struct OpenWay {
    stream: BoxedStream,
    /// `None` without TLS.
    tls: Option<ProtocolVersion>,
    deafness: Deafness,
}

/// What came of a way that was opened to be closed again.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) took: Duration,
    /// TLS's version, or `None` without TLS.
    pub(crate) outcome: Result<Option<ProtocolVersion>, UpstreamFailure>,
}

impl Connector {
    pub(crate) fn new(
        settings: &Settings,
        tls: ClientConfig,
        keys: Arc<KeyRing>,
    ) -> Result<Self, StartError> {
        let mut tcp = HttpConnector::new_with_resolver(SystemResolver);
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEPALIVE));
        tcp.set_keepalive_interval(Some(KEEPALIVE));
        tcp.set_keepalive_retries(Some(KEEPALIVE_TRIES));
        let upstream = Target::of(settings.upstream.url(), settings.upstream.hop().to_owned())?;
        let proxy = match &settings.upstream_proxy {
            None => None,
            Some(proxy) => {
                let target = Target::of(proxy.url(), proxy.hop())?;
                Some(Proxy { target, login: proxy.login().cloned() })
            }
        };
        let (tls, limit) = (TlsConnector::from(Arc::new(tls)), settings.connect_timeout);
        let patience = WRITE_TIMEOUT.min(settings.header_timeout);
        let head_start = head_start(&upstream.uri, &settings.fields.key);
        let way = Way { tcp, tls, upstream, proxy, limit, patience, keys, head_start };
        Ok(Self(Arc::new(way)))
    }

    async fn connect(self) -> Result<UpstreamConnection, UpstreamFailure> {
        let OpenWay { stream, deafness, .. } = self.open_way().await?;
        let heads = KeyedHeads::new(Arc::clone(&self.0.keys), self.0.head_start.clone());
        let stream = TokioIo::new(KeyedStream::new(stream, heads));
        Ok(UpstreamConnection { stream, deafness })
    }

    /// Opens the way as a request does, says nothing on it, and closes it. Cancel safe.
    pub(crate) async fn check(&self) -> Checked {
        let began = Instant::now();
        let opened = self.open_way().await;
        let took = began.elapsed();
        let outcome = match opened {
            Ok(mut way) => {
                // Else the other end's log would have an error in it. It may be gone already.
                let _ = timeout(FAREWELL, way.stream.shutdown()).await;
                Ok(way.tls)
            }
            Err(failure) => Err(failure),
        };
        Checked { took, outcome }
    }

    async fn open_way(&self) -> Result<OpenWay, UpstreamFailure> {
        let Way { upstream, proxy, limit, .. } = &*self.0;
        let deadline = Instant::now() + *limit;
        let at_upstream =
            |cause| UpstreamFailure { hop: Hop::Upstream(upstream.hop.clone()), cause };
        let deafness = Deafness::default();
        let stream = match proxy {
            None => self.open(upstream, &deafness, deadline).await.map_err(at_upstream)?,
            Some(proxy) => {
                let hop = &proxy.target.hop;
                let at_proxy = |cause| UpstreamFailure { hop: Hop::Proxy(hop.clone()), cause };
                let stream =
                    self.open(&proxy.target, &deafness, deadline).await.map_err(at_proxy)?;
                let (stream, _) =
                    self.secure(&proxy.target, stream, deadline).await.map_err(at_proxy)?;
                self.tunnel(proxy, stream, deadline).await.map_err(at_proxy)?
            }
        };
        let (stream, tls) = self.secure(upstream, stream, deadline).await.map_err(at_upstream)?;
        Ok(OpenWay { stream, tls, deafness })
    }

    /// Name and TCP.
    async fn open(
        &self,
        target: &Target,
        deafness: &Deafness,
        deadline: Instant,
    ) -> Result<BoxedStream, Cause> {
        let opened = timeout_at(deadline, self.0.tcp.clone().call(target.uri.clone())).await;
        let stream = opened.map_err(|_| Cause::ConnectTimeout(self.0.limit))?;
        let stream = stream.map_err(|error| Cause::of(&error))?;
        Ok(Box::new(UpstreamStream::of(stream.into_inner(), self.0.patience, deafness.clone())))
    }

    /// TLS, if the target wants it, and its version.
    async fn secure(
        &self,
        target: &Target,
        stream: BoxedStream,
        deadline: Instant,
    ) -> Result<(BoxedStream, Option<ProtocolVersion>), Cause> {
        let Some(name) = target.name.clone() else { return Ok((stream, None)) };
        match timeout_at(deadline, self.0.tls.connect(name, stream)).await {
            Ok(Ok(stream)) => {
                let version = stream.get_ref().1.protocol_version();
                let stream: BoxedStream = Box::new(stream);
                Ok((stream, version))
            }
            Ok(Err(error)) => Err(Cause::of(&error)),
            Err(_) => Err(Cause::TlsTimeout(self.0.limit)),
        }
    }

    /// CONNECT (RFC 9110 section 9.3.6).
    async fn tunnel(
        &self,
        proxy: &Proxy,
        stream: BoxedStream,
        deadline: Instant,
    ) -> Result<BoxedStream, Cause> {
        let upstream = &self.0.upstream;
        let mut tunnel = Tunnel::new(proxy.target.uri.clone(), Already(Some(TokioIo::new(stream))));
        if let Some(login) = &proxy.login {
            tunnel = tunnel.with_auth(login.clone());
        }
        match timeout_at(deadline, tunnel.call(upstream.uri.clone())).await {
            Ok(Ok(stream)) => Ok(stream.into_inner()),
            Ok(Err(error)) => Err(Cause::of_tunnel(&error, &upstream.hop)),
            Err(_) => Err(Cause::TunnelTimeout(upstream.hop.clone(), self.0.limit)),
        }
    }
}

/// What our own requests begin with: the key's field is the first that `headers::for_upstream` puts in.
fn head_start(uri: &Uri, field: &KeyField) -> HeadStart {
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let scheme = match field {
        KeyField::Bearer => "Bearer ",
        KeyField::Bare(_) => "",
    };
    HeadStart::new(target, field.name(), scheme)
}

impl Target {
    fn of(url: &Url, hop: String) -> Result<Self, StartError> {
        let lacking = |error: anyhow::Error| StartError::Resources {
            what: "the way to the upstream",
            source: error.context(hop.clone()),
        };
        let uri = url.as_str().parse::<Uri>().map_err(|error| lacking(error.into()))?;
        let name = match url.host_str() {
            Some(host) if url.scheme() == "https" => {
                let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
                Some(ServerName::try_from(host).map_err(|error| lacking(error.into()))?)
            }
            _ => None,
        };
        Ok(Self { uri, hop, name })
    }
}

/// Where it leads, and nothing that a hop's password is in.
impl fmt::Debug for Connector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Connector({})", self.0.upstream.hop)
    }
}

impl Service<Uri> for Connector {
    type Response = UpstreamConnection;
    type Error = UpstreamFailure;
    type Future = Pin<Box<dyn Future<Output = Result<UpstreamConnection, UpstreamFailure>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), UpstreamFailure>> {
        Poll::Ready(Ok(()))
    }

    /// The URI is the upstream's: there is no other.
    fn call(&mut self, _: Uri) -> Self::Future {
        Box::pin(self.clone().connect())
    }
}

/// Hands out a connection that was made already, in place of making one.
struct Already(Option<TokioIo<BoxedStream>>);

impl Service<Uri> for Already {
    type Response = TokioIo<BoxedStream>;
    type Error = io::Error;
    type Future = std::future::Ready<io::Result<TokioIo<BoxedStream>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        std::future::ready(self.0.take().ok_or_else(|| io::ErrorKind::NotConnected.into()))
    }
}

/// The system's resolver, with an error of a type that can be told apart.
#[derive(Clone, Debug)]
struct SystemResolver;

impl Service<Name> for SystemResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = DnsError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, DnsError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DnsError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await.map_err(DnsError)?;
            Ok(found.collect::<Vec<_>>().into_iter())
        })
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

type BoxedStream = Box<dyn Stream>;

/// A connection to the upstream, whatever it is made of.
pub(crate) struct UpstreamConnection {
    stream: TokioIo<KeyedStream<BoxedStream>>,
    deafness: Deafness,
}

impl Connection for UpstreamConnection {
    fn connected(&self) -> Connected {
        Connected::new().extra(self.deafness.clone())
    }
}

impl Read for UpstreamConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl Write for UpstreamConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
