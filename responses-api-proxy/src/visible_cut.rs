//! A body whose failure waits until what came before it is on the wire.
//!
//! When a body fails, hyper drops the connection together with all that it has buffered: bytes that
//! arrived just before the cut would be lost. When a body is pending, hyper flushes. So this one is
//! pending once before it fails. (A client that does not read may still lose what no longer fits into
//! its socket.)

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::{Body, Frame, SizeHint};

/// `B`, with a turn for hyper to flush between its last frame and its failure.
#[derive(Debug)]
pub(crate) struct VisibleCut<B: Body> {
    body: B,
    failure: Option<B::Error>,
}

impl<B: Body> VisibleCut<B> {
    pub(crate) fn of(body: B) -> Self {
        Self { body, failure: None }
    }
}

impl<B: Body<Error: Unpin> + Unpin> Body for VisibleCut<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        if let Some(failure) = self.failure.take() {
            return Poll::Ready(Some(Err(failure)));
        }
        match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            Some(Err(failure)) => {
                self.failure = Some(failure);
                context.waker().wake_by_ref();
                Poll::Pending
            }
            other => Poll::Ready(other),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.failure.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::io;

    use bytes::Bytes;
    use http::Response;
    use hyper::server::conn::http1;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Two frames and a failure that are all there at once.
    #[derive(Debug)]
    struct CutAtOnce(VecDeque<Result<&'static str, io::Error>>);

    impl Body for CutAtOnce {
        type Data = Bytes;
        type Error = io::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
            let next = self.0.pop_front();
            Poll::Ready(next.map(|frame| frame.map(|text| Frame::data(text.into()))))
        }
    }

    /// What a client reads of an answer with this body, up to the connection's end.
    async fn read<B>(body: fn(CutAtOnce) -> B) -> String
    where
        B: Body<Data = Bytes, Error = io::Error> + Send + 'static,
    {
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let service = service_fn(async |_| {
            let frames = [Ok("before "), Ok("the cut"), Err(io::ErrorKind::UnexpectedEof.into())];
            Ok::<_, Infallible>(Response::new(body(CutAtOnce(frames.into()))))
        });
        client.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        let served = http1::Builder::new()
            .header_read_timeout(None)
            .serve_connection(TokioIo::new(server), service)
            .await;
        assert!(served.is_err());
        let mut got = String::new();
        client.read_to_string(&mut got).await.unwrap();
        got
    }

    #[tokio::test]
    async fn what_came_before_a_cut_reaches_the_client() {
        let got = read(VisibleCut::of).await;
        assert!(got.contains("before ") && got.contains("the cut"), "{got}");
        assert!(!got.ends_with("0\r\n\r\n"), "{got}");
    }

    /// Why this module exists. Should hyper learn to flush, it can go.
    #[tokio::test]
    async fn hyper_alone_loses_it() {
        assert!(!read(|body| body).await.contains("the cut"));
    }
}
