//! The upstream's stream, as the HTTP client has to write to it so as never to have the key.
//!
//! It stands above TLS and beyond any proxy hop: what goes to a hop, CONNECT and its own TLS, does not pass here. The
//! stream below copies what it is given into a record, which it seals in place (rustls), or into the kernel (TCP).

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use codex_key_custody::KeyedHeads;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream that puts the key into the heads that are written to it.
#[derive(Debug)]
pub(crate) struct KeyedStream<S> {
    stream: S,
    heads: KeyedHeads,
}

impl<S> KeyedStream<S> {
    pub(crate) fn new(stream: S, heads: KeyedHeads) -> Self {
        Self { stream, heads }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for KeyedStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, heads } = &mut *self;
        loop {
            let outgoing = heads.outgoing(pieces)?;
            let count = ready!(Pin::new(&mut *stream).poll_write_vectored(context, &outgoing))?;
            drop(outgoing);
            let taken = heads.written(pieces, count);
            // A part of the key has gone and nothing else: who writes would take that for a stream that has ended.
            if taken > 0 || count == 0 {
                return Poll::Ready(Ok(taken));
            }
        }
    }

    /// Also where the stream below is not, and takes one piece at a time: else hyper would put a body behind its head, in
    /// one piece.
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

impl<S: AsyncRead + Unpin> AsyncRead for KeyedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::sync::Arc;

    use codex_key_custody::{ApiKey, HeadStart, KeyInput, KeyRing};
    use http::header::AUTHORIZATION;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    /// Also where it takes so little at a time that only a part of the key is written, and less than nothing of the rest.
    #[tokio::test]
    async fn a_stream_that_takes_little_gets_all_of_it() {
        let (input, output) = nix::unistd::pipe().unwrap();
        nix::unistd::write(&output, &[b'k'; 100]).unwrap();
        drop(output);
        let key = ApiKey::read(KeyInput::of(input.as_fd())).unwrap();
        let keys = Arc::new(KeyRing::new(key));
        let start = HeadStart::new("/", &AUTHORIZATION, "Bearer ");
        for at_once in [1, 7, 1_000] {
            let (ours, mut theirs) = duplex(at_once);
            let mut stream =
                KeyedStream::new(ours, KeyedHeads::new(Arc::clone(&keys), start.clone()));
            let message = |key: &str| {
                format!("POST / HTTP/1.1\r\nauthorization: {key}\r\ncontent-length: 4\r\n\r\nbody")
            };
            let writing = async {
                for _ in 0..2 {
                    let lent = keys.lend().unwrap();
                    let message = message(lent.authorization().to_str().unwrap());
                    let (head, body) = message.split_at(message.len() - 4);
                    stream.write_all(head.as_bytes()).await.unwrap();
                    stream.write_all(body.as_bytes()).await.unwrap();
                }
                drop(stream);
            };
            let mut arrived = String::new();
            let (read, ()) = tokio::join!(theirs.read_to_string(&mut arrived), writing);
            read.unwrap();
            let expected = message(&format!("Bearer {}", "k".repeat(100)));
            assert_eq!(arrived, expected.repeat(2), "{at_once} at once");
        }
    }
}
