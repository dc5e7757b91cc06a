//! One client connection: served by hyper, and ended in the way that the client can understand.
//!
//! hyper closes a connection as soon as it may. Two endings need more: an answer without a length
//! that was cut (HTTP/1.0) must be reset, because closing is how such an answer ends well; and an
//! answer to a request whose body we did not read must be followed by reading on for a while,
//! because a socket closed over unread bytes is reset and takes the answer with it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client_stream::{ClientStream, SEES_HANG_UPS, hang_up, read_on};
use crate::exchange::{Proxy, exchange};
use crate::link::Link;

/// The largest head, in bytes, and the most fields in it.
const MAX_HEAD_BYTES: usize = 64 * 1024;
const MAX_FIELDS: usize = 100;
/// How long a head may take to arrive, and a connection may stay idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an unread body is read on after the answer.
const LINGER: Duration = Duration::from_secs(5);

/// Serves one connection until either side, or the proxy's end, closes it.
pub(crate) async fn serve(proxy: Arc<Proxy>, stream: TcpStream) {
    // Without it an event that follows another would wait for the client's delayed ACK (40 ms).
    let _ = stream.set_nodelay(true);
    let stream = Arc::new(stream);
    let link = Arc::new(Link::of(&stream));

    let ended_well = serve_http(&proxy, &stream, &link).await;

    if link.cut_would_be_missed() {
        let _ = stream.set_zero_linger();
    } else if ended_well && link.has_unread_body() {
        tokio::select! {
            _ = timeout(LINGER, read_on(&stream)) => {}
            () = proxy.stop.closed() => {}
        }
    }
}

/// Whether the connection ended as hyper saw fit.
async fn serve_http(proxy: &Arc<Proxy>, stream: &Arc<TcpStream>, link: &Arc<Link>) -> bool {
    let service = service_fn(|request| exchange(Arc::clone(proxy), Arc::clone(link), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_header_size(MAX_HEAD_BYTES)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_FIELDS)
        .half_close(SEES_HANG_UPS) // Else hyper looks for them, and gives up answers of our own.
        .serve_connection(TokioIo::new(ClientStream::of(stream)), service);
    let mut connection = pin!(connection);
    let mut hung_up = pin!(hang_up(stream));
    let mut closed = pin!(proxy.stop.closed());
    let (mut has_left, mut is_closed) = (false, false);
    loop {
        tokio::select! {
            biased;
            () = proxy.stop.aborting() => {
                link.cut();
                return false;
            }
            // Before the connection: who has left already is not forwarded any more, but told so.
            () = &mut hung_up, if !has_left => {
                has_left = true;
                if link.client_left() {
                    link.cut(); // Should only its sending side be closed.
                    return false;
                }
            }
            ended = &mut connection => return ended.is_ok(),
            () = &mut closed, if !is_closed => {
                is_closed = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}
