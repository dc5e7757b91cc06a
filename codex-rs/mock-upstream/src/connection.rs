//! One connection, plain or TLS, and how it ends.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::answer::{Link, answer};
use crate::observe::Shared;

/// Serves one connection to its end.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    number: u64,
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
) {
    let _ = stream.set_nodelay(true);
    let link = Arc::new(Link { shared, number, reset: AtomicBool::new(false) });
    match tls {
        None => http(stream, link).await,
        Some(acceptor) => {
            // A client that does not trust us is the client's test, not our failure.
            if let Ok(stream) = acceptor.accept(stream).await {
                http(stream, link).await;
            }
        }
    }
}

async fn http(stream: impl Transport, link: Arc<Link>) {
    let service = service_fn(|request| {
        let answer: Pin<Box<dyn Future<Output = _> + Send>> =
            Box::pin(answer(Arc::clone(&link), request));
        answer
    });
    let mut connection = http1::Builder::new()
        .timer(hyper_util::rt::TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    // Failures are scenarios or clients that left: both are counted elsewhere.
    let _ = (&mut connection).await;
    let stream = connection.into_parts().io.into_inner();
    if link.reset.load(Ordering::Relaxed) {
        let _ = stream.tcp().set_zero_linger();
    }
}

/// A byte stream with a TCP socket under it.
trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    fn tcp(&self) -> &TcpStream;
}

impl Transport for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Transport for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}
