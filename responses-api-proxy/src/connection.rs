//! One client connection: served by hyper, and ended in the way that the client can understand.
//!
//! hyper closes a connection as soon as it may. Two endings need more: an answer without a length
//! that was cut (HTTP/1.0) must be reset, because closing is how such an answer ends well; and an
//! answer to a request whose body we did not read must be followed by reading on for a while,
//! because a socket closed over unread bytes is reset and takes the answer with it.

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Version;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::exchange::{Proxy, exchange};
use crate::request_body::{Phase, Progress};

/// The largest head, in bytes, and the most fields in it.
const MAX_HEAD_BYTES: usize = 64 * 1024;
const MAX_FIELDS: usize = 100;
/// How long a head may take to arrive, and a connection may stay idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an unread body is read on after the answer.
const LINGER: Duration = Duration::from_secs(5);

/// What the exchanges of one connection tell it about its end.
#[derive(Debug, Default)]
pub(crate) struct Link {
    http_1_0: AtomicBool,
    cut: AtomicBool,
    body: Mutex<Option<Progress>>,
}

impl Link {
    /// A request's head has been read.
    pub(crate) fn began(&self, version: Version, body: &Progress) {
        self.http_1_0.store(version == Version::HTTP_10, Ordering::Relaxed);
        *self.body.lock().unwrap_or_else(PoisonError::into_inner) = Some(body.clone());
    }

    /// The answer won't be ended.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    /// Whether the client could take a closed connection for the end of its answer.
    fn cut_would_be_missed(&self) -> bool {
        self.cut.load(Ordering::Relaxed) && self.http_1_0.load(Ordering::Relaxed)
    }

    fn has_unread_body(&self) -> bool {
        let body = self.body.lock().unwrap_or_else(PoisonError::into_inner);
        body.as_ref().is_some_and(|progress| progress.phase() != Phase::Ended)
    }
}

/// Serves one connection until either side, or the proxy's end, closes it.
pub(crate) async fn serve(proxy: Arc<Proxy>, stream: TcpStream) {
    // Without it an event that follows another would wait for the client's delayed ACK (40 ms).
    let _ = stream.set_nodelay(true);
    let link = Arc::new(Link::default());
    let service = service_fn(|request| {
        // Boxed, because only an `Unpin` service lets hyper give the socket back.
        let answer: Pin<Box<dyn Future<Output = _> + Send>> =
            Box::pin(exchange(Arc::clone(&proxy), Arc::clone(&link), request));
        answer
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_header_size(MAX_HEAD_BYTES)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_FIELDS)
        .serve_connection(TokioIo::new(stream), service);

    let ended_well = {
        let mut closed = pin!(proxy.stop.closed());
        let mut is_draining = false;
        loop {
            tokio::select! {
                biased;
                () = proxy.stop.aborting() => {
                    link.cut();
                    break false;
                }
                ended = &mut connection => break ended.is_ok(),
                () = &mut closed, if !is_draining => {
                    is_draining = true;
                    Pin::new(&mut connection).graceful_shutdown();
                }
            }
        }
    };

    let stream = connection.into_parts().io.into_inner();
    if link.cut_would_be_missed() {
        let _ = stream.set_zero_linger();
    } else if ended_well && link.has_unread_body() {
        tokio::select! {
            _ = timeout(LINGER, read_on(stream)) => {}
            () = proxy.stop.aborting() => {}
        }
    }
}

/// Reads until the client has closed its side.
async fn read_on(mut stream: TcpStream) {
    let mut scratch = [0; 16 * 1024];
    while let Ok(1..) = stream.read(&mut scratch).await {}
}
