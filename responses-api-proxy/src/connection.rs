//! One client connection: served by hyper, and ended in the way that the client can understand.
//!
//! hyper closes a connection as soon as it may. Two endings need more: an answer without a length
//! that was cut (HTTP/1.0) must be reset, because closing is how such an answer ends well; and the
//! last answer must be followed by reading on until the client has closed, for a while, because a socket
//! closed over unread bytes, the rest of a body or a next request, is reset and takes the answer with it.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::time::sleep;

use crate::client_stream::{ClientStream, SEES_HANG_UPS, end_sending, hang_up, read_on};
use crate::exchange::{Proxy, exchange};
use crate::ledger::bad_head;
use crate::link::Link;

/// The largest head, in bytes, and the most fields in it.
const MAX_HEAD_BYTES: usize = 64 * 1024;
const MAX_FIELDS: usize = 100;
/// How long is read on after the last answer, and how long when nobody new comes in.
const LINGER: Duration = Duration::from_secs(5);
const LAST_LINGER: Duration = Duration::from_secs(1);

/// Serves one connection until either side, or the proxy's end, closes it.
pub(crate) async fn serve(proxy: Arc<Proxy>, link: Link) {
    // Without it an event that follows another would wait for the client's delayed ACK (40 ms).
    let _ = link.stream.set_nodelay(true);
    let link = Arc::new(link);

    let end = serve_http(&proxy, &link).await;

    if let Some(detail) = end.bad_head(&link) {
        bad_head(&proxy, link.peer, detail);
    }
    if link.cut_would_be_missed() {
        let _ = link.stream.set_zero_linger();
    } else if matches!(end, End::Served(Ok(()))) {
        end_sending(&link.stream); // After a refused upgrade, hyper has not.
        tokio::select! {
            () = read_on(&link.stream) => {}
            () = sleep(LINGER) => {}
            () = async { proxy.stop.closed().await; sleep(LAST_LINGER).await } => {}
            () = proxy.stop.aborting() => {}
        }
    }
}

/// How a connection came to its end.
enum End {
    /// As hyper saw fit.
    Served(hyper::Result<()>),
    /// No request came in time.
    Overdue,
    /// Its client has left, or we have.
    Cut,
}

impl End {
    /// Why the head that was on its way was none, if one was: nobody else records it.
    fn bad_head(&self, link: &Link) -> Option<String> {
        match self {
            Self::Served(Err(error)) if error.is_parse() && !link.clock.is_busy() => {
                Some(error.to_string())
            }
            // Of a head that came together with the request before it, the clock has not heard.
            Self::Served(Err(error))
                if link.clock.is_reading()
                    || (error.is_incomplete_message() && !link.clock.is_busy()) =>
            {
                Some("the connection ended within a head".to_owned())
            }
            Self::Overdue if link.clock.is_reading() => {
                Some("the head did not arrive in time".to_owned())
            }
            _ => None,
        }
    }
}

async fn serve_http(proxy: &Arc<Proxy>, link: &Arc<Link>) -> End {
    let service = service_fn(|request| exchange(Arc::clone(proxy), Arc::clone(link), request));
    let connection = http1::Builder::new()
        .header_read_timeout(None) // The clock has more than one limit.
        .max_header_size(MAX_HEAD_BYTES)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_FIELDS)
        .half_close(SEES_HANG_UPS) // Else hyper looks for them, and gives up answers of our own.
        .serve_connection(TokioIo::new(ClientStream::of(link)), service);
    let mut connection = pin!(connection);
    let mut hung_up = pin!(hang_up(&link.stream));
    let mut overdue = pin!(link.clock.overdue());
    let mut closed = pin!(proxy.stop.closed());
    let (mut has_left, mut is_closed) = (false, false);
    let mut is_last = false;
    loop {
        // hyper would close over half a head: that has a last moment to become a whole one.
        let mut serve = poll_fn(|context| {
            if is_closed && !is_last && !link.clock.is_reading() {
                is_last = true;
                connection.as_mut().graceful_shutdown();
            }
            connection.as_mut().poll(context)
        });
        tokio::select! {
            biased;
            () = proxy.stop.aborting() => {
                link.cut();
                return End::Cut;
            }
            // Before the connection: who has left already is not forwarded any more, but told so.
            () = &mut hung_up, if !has_left => {
                has_left = true;
                if link.client_left() {
                    link.cut(); // Should only its sending side be closed.
                    return End::Cut;
                }
            }
            ended = &mut serve => return End::Served(ended),
            () = &mut overdue => return End::Overdue,
            () = &mut closed, if !is_closed => {
                is_closed = true;
                link.clock.hurry();
            }
        }
    }
}
