//! The upstream's socket, as hyper has to see it for what hyper alone gets wrong.
//!
//! **A connection that rests in the pool and has ended meanwhile.** hyper reads before it takes a request, but
//! reading asks tokio first, which may not have heard from the kernel yet: then the request goes out, and is
//! lost; or what the upstream said unasked is taken for the answer. So this asks the kernel, every time.
//! (Measured with a proxy that was stopped for a moment: 4 to 27 % of the requests on such connections got a 502, and an
//! idle connection's 408 reached a client.)
//!
//! **An upstream that answers and closes before it has read the request.** hyper writes on, fails, and never
//! reads the answer that has arrived. So a connection that can't be written to any more takes what is
//! written and forgets it: reading goes on to the answer, or to the end, which is an error in itself.
//!
//! **An upstream that stops reading.** hyper waits for it, and looks neither at the body nor at who has left meanwhile. So
//! a write has a limit, after which the connection is given up.

use std::io::{self, ErrorKind, IoSlice, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// A connection to the first hop.
#[derive(Debug)]
pub(crate) struct UpstreamStream {
    stream: TcpStream,
    /// Nobody reads what we write any more.
    is_deaf: bool,
    /// The same, for whoever is not to use the connection again.
    deafness: Deafness,
    /// The connection was reset, and a write has been told so in place of a read.
    was_reset: bool,
    /// How long a write may wait.
    patience: Duration,
    /// Runs while one waits.
    waiting: Option<Pin<Box<Sleep>>>,
}

/// Whether a connection takes what is written and forgets it. Clones share one answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deafness(Arc<AtomicBool>);

impl Deafness {
    pub(crate) fn has_set_in(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Nothing of the request was taken for so long.
#[derive(Debug, Error)]
#[error("nothing more was taken within {0:?}")]
pub(crate) struct NotTaken(pub(crate) Duration);

impl UpstreamStream {
    pub(crate) fn of(stream: TcpStream, patience: Duration, deafness: Deafness) -> Self {
        Self { stream, is_deaf: false, deafness, was_reset: false, patience, waiting: None }
    }

    /// What becomes of writing so many bytes.
    fn poll_written(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
        bytes: usize,
    ) -> Poll<io::Result<usize>> {
        let Poll::Ready(written) = written else {
            let patience = self.patience;
            let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(patience)));
            ready!(waiting.as_mut().poll(context));
            return Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, NotTaken(patience))));
        };
        self.waiting = None;
        match written {
            Err(error) if is_the_other_ends(&error) => {
                self.is_deaf = true;
                self.deafness.0.store(true, Ordering::SeqCst);
                // A broken pipe is one whose end has been read, or can be: FIN came first (tcp(7)).
                self.was_reset |= error.kind() != ErrorKind::BrokenPipe;
                Poll::Ready(Ok(bytes))
            }
            written => Poll::Ready(written),
        }
    }
}

/// Whether the other end has ended the connection (send(2)).
fn is_the_other_ends(error: &io::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    matches!(error.kind(), BrokenPipe | ConnectionReset | ConnectionAborted)
}

impl AsyncRead for UpstreamStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // The kernel first: tokio may say that there is nothing, because it has not looked.
        match (&*SockRef::from(&self.stream)).read(buffer.initialize_unfilled()) {
            // The kernel tells of a reset once; a second look sees an end as good as any.
            Ok(0) if self.was_reset => Poll::Ready(Err(ErrorKind::ConnectionReset.into())),
            Ok(count) => {
                buffer.advance(count);
                if count > 0 {
                    self.waiting = None; // It is at work for us: whoever answers may leave the rest unread.
                }
                Poll::Ready(Ok(()))
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                Pin::new(&mut self.stream).poll_read(context, buffer)
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl AsyncWrite for UpstreamStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_deaf {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.poll_written(context, written, bytes.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes = pieces.iter().map(|piece| piece.len()).sum();
        if self.is_deaf {
            return Poll::Ready(Ok(bytes));
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.poll_written(context, written, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (UpstreamStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (
            UpstreamStream::of(ours, Duration::from_millis(100), Deafness::default()),
            listener.accept().await.unwrap().0,
        )
    }

    /// Reads once, without giving the runtime a chance to ask the kernel for news.
    fn read_now(stream: &mut UpstreamStream) -> Poll<io::Result<usize>> {
        let mut bytes = [0; 16];
        let mut buffer = ReadBuf::new(&mut bytes);
        let mut context = Context::from_waker(std::task::Waker::noop());
        let read = Pin::new(stream).poll_read(&mut context, &mut buffer);
        read.map_ok(|()| buffer.filled().len())
    }

    #[tokio::test]
    async fn the_end_is_seen_before_the_runtime_has_heard_of_it() {
        let (mut ours, mut theirs) = pair().await;
        assert!(read_now(&mut ours).is_pending());
        theirs.write_all(b"said unasked").await.unwrap();
        assert_eq!(read_now(&mut ours).map(Result::unwrap), Poll::Ready(12));
        assert!(read_now(&mut ours).is_pending());
        drop(theirs);
        assert_eq!(read_now(&mut ours).map(Result::unwrap), Poll::Ready(0));
    }

    #[tokio::test]
    async fn what_comes_later_wakes_the_reader() {
        let (mut ours, mut theirs) = pair().await;
        let reading = tokio::spawn(async move {
            let mut bytes = [0; 5];
            ours.read_exact(&mut bytes).await.unwrap();
            bytes
        });
        tokio::task::yield_now().await; // It waits now.
        for part in [&b"he"[..], b"llo"] {
            theirs.write_all(part).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(reading.await.unwrap(), *b"hello");
    }

    #[tokio::test]
    async fn what_is_not_taken_is_given_up() {
        let (mut ours, _theirs) = pair().await;
        let error = loop {
            match ours.write(&[b'x'; 1 << 20]).await {
                Ok(count) => assert!(count > 0),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(!ours.is_deaf);
    }

    #[tokio::test]
    async fn an_answer_is_read_although_nobody_reads_the_request() {
        let (mut ours, mut theirs) = pair().await;
        ours.write_all(b"the beginning").await.unwrap();
        theirs.write_all(b"no").await.unwrap();
        theirs.readable().await.unwrap();
        theirs.set_zero_linger().unwrap();
        drop(theirs); // A reset.
        for _ in 0..3 {
            ours.write_all(&[b'x'; 100_000]).await.unwrap();
        }
        assert!(ours.is_deaf);
        let mut bytes = [0; 16];
        let read = tokio::time::timeout(Duration::from_secs(20), ours.read(&mut bytes)).await;
        assert_eq!(&bytes[..read.unwrap().unwrap()], b"no");
        // What comes after it is no end: an answer without a length would be taken for whole.
        let error = ours.read(&mut bytes).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}
