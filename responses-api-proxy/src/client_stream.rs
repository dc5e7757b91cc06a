//! A client's socket, shared between hyper, which reads and writes it, and us, who watch it and end it.
//!
//! hyper alone does not notice every client that leaves: while it holds bytes that it has not parsed (one
//! line end after the request is enough) it does not read, and so never sees the end of the file. The
//! kernel tells us (EPOLLRDHUP, epoll_ctl(2)) whatever is still unread.

use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice};
use std::net::Shutdown;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::link::Link;

/// hyper's end of a shared socket. Dropping it does not close the socket while another has it.
#[derive(Debug)]
pub(crate) struct ClientStream(Arc<Link>);

impl ClientStream {
    pub(crate) fn of(link: &Arc<Link>) -> Self {
        Self(Arc::clone(link))
    }
}

/// Whether [`hang_up`] ever becomes ready here. Elsewhere hyper's own view has to do.
pub(crate) const SEES_HANG_UPS: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// Ready once the client has closed the connection, or its sending side. Cancel safe.
pub(crate) async fn hang_up(stream: &TcpStream) {
    // The interest in urgent data stands for the end of reading alone: tokio counts that as a part of it,
    // registers no socket for urgent data itself, and does not wake it for any other data.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Ok(ready) = stream.ready(tokio::io::Interest::PRIORITY).await
        && ready.is_read_closed()
    {
        return;
    }
    // Elsewhere, or at the runtime's end.
    let _ = stream;
    std::future::pending().await
}

/// Whether the client has hung up by now. What came with the bytes that we have read is known.
pub(crate) async fn has_hung_up(stream: &TcpStream) -> bool {
    let mut hang_up = pin!(hang_up(stream));
    poll_fn(|context| Poll::Ready(hang_up.as_mut().poll(context).is_ready())).await
}

/// Lets the client see the end of what it gets.
pub(crate) fn end_sending(stream: &TcpStream) {
    let _ = SockRef::from(stream).shutdown(Shutdown::Write);
}

/// Reads, and forgets, until the client has closed its side.
pub(crate) async fn read_on(stream: &TcpStream) {
    let mut scratch = [0; 16 * 1024];
    while stream.readable().await.is_ok() {
        match stream.try_read(&mut scratch) {
            Ok(1..) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => return,
        }
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.stream.poll_read_ready(context))?;
            match self.0.stream.try_read(buffer.initialize_unfilled()) {
                Ok(count) => {
                    if count > 0 {
                        self.0.clock.heard();
                    }
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl ClientStream {
    /// Writes once the socket takes something.
    fn poll_with(
        &self,
        context: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            let Poll::Ready(ready) = self.0.stream.poll_write_ready(context) else {
                self.0.clock.writes(/*is_full*/ true);
                return Poll::Pending;
            };
            ready?;
            match write(&self.0.stream) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                written => {
                    self.0.clock.writes(/*is_full*/ false);
                    return Poll::Ready(written);
                }
            }
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_with(context, |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_with(context, |stream| stream.try_write_vectored(pieces))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // The kernel has it.
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(SockRef::from(&self.0.stream).shutdown(Shutdown::Write))
    }
}
