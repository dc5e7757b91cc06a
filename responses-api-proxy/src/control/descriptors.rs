//! A caller's connection, and the one descriptor that may come over it.
//!
//! Descriptors travel beside the bytes (SCM_RIGHTS, unix(7)). Who may bring none has no room made for any, and then the
//! kernel closes them before they are this process's. Else there is room for one until a request takes it, and what came
//! with it is closed at once. So is the end of a connection such as this one: while we had it, we would never see that its
//! owner has left.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as BlockingStream;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::UnixStream;

/// No program that this process might start is to have what came.
#[cfg(any(target_os = "linux", target_os = "android"))]
const FLAGS: RecvFlags = RecvFlags::CMSG_CLOEXEC;
/// Elsewhere that can't be said here. We start none.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const FLAGS: RecvFlags = RecvFlags::empty();

/// What a caller has brought and no request has taken yet. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Brought(Arc<Mutex<Option<OwnedFd>>>);

impl Brought {
    pub(super) fn take(&self) -> Option<OwnedFd> {
        self.place().take()
    }

    fn is_empty(&self) -> bool {
        self.place().is_none()
    }

    /// Keeps the first that may be kept, if there is none yet. All others are closed.
    fn keep(&self, descriptors: impl Iterator<Item = OwnedFd>) {
        for descriptor in descriptors {
            let descriptor = BlockingStream::from(descriptor); // To ask what it is. It may be none.
            if !is_connected_to_a_name(&descriptor) {
                self.place().get_or_insert(descriptor.into());
            }
        }
    }

    fn place(&self) -> MutexGuard<'_, Option<OwnedFd>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether this is a Unix socket that some program has connected to a path, as callers connect to us. (What programs are
/// started with, a pipe or one of a pair of sockets, has no name at its other end.)
fn is_connected_to_a_name(descriptor: &BlockingStream) -> bool {
    descriptor.peer_addr().is_ok_and(|peer| !peer.is_unnamed())
}

/// hyper's end of a caller's connection.
#[derive(Debug)]
pub(super) struct CallerStream {
    stream: Arc<UnixStream>,
    /// `None` for who may bring none.
    brought: Option<Brought>,
}

impl CallerStream {
    pub(super) fn new(stream: Arc<UnixStream>, brought: Option<Brought>) -> Self {
        Self { stream, brought }
    }

    /// Receives what is there, and the descriptor beside it.
    fn receive(&self, room: &mut [u8]) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let brought = self.brought.as_ref().filter(|brought| brought.is_empty());
        let space = if brought.is_some() { &mut space[..] } else { &mut [] };
        let mut beside = RecvAncillaryBuffer::new(space);
        let got = recvmsg(&*self.stream, &mut [IoSliceMut::new(room)], &mut beside, FLAGS)?;
        for message in beside.drain() {
            if let (RecvAncillaryMessage::ScmRights(descriptors), Some(brought)) =
                (message, brought)
            {
                brought.keep(descriptors);
            }
        }
        Ok(got.bytes)
    }

    fn poll_with(
        &self,
        context: &mut Context<'_>,
        write: impl Fn(&UnixStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(context))?;
            match write(&self.stream) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }
}

impl AsyncRead for CallerStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buffer.initialize_unfilled();
        if room.is_empty() {
            return Poll::Ready(Ok(())); // A message of which no byte is taken may lose its descriptor.
        }
        let count = loop {
            ready!(self.stream.poll_read_ready(context))?;
            match self.stream.try_io(Interest::READABLE, || self.receive(room)) {
                Ok(count) => break count,
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        };
        buffer.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for CallerStream {
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
        Poll::Ready(SockRef::from(&*self.stream).shutdown(Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, PipeWriter, Read, pipe};
    use std::os::fd::{AsFd, BorrowedFd};
    use std::os::unix::net::UnixListener;
    use std::time::Duration;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use rustix::io::{FdFlags, fcntl_getfd};
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_io_timeout::TimeoutStream;

    use super::*;

    /// As many as the kernel takes with one message (SCM_MAX_FD).
    const MOST: usize = 253;

    /// Sends these bytes and, with the first of them, these descriptors.
    fn send(stream: &UnixStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        assert!(beside.push(SendAncillaryMessage::ScmRights(descriptors)));
        let sent = sendmsg(stream, &[IoSlice::new(bytes)], &mut beside, SendFlags::empty());
        assert_eq!(sent.unwrap(), bytes.len());
    }

    /// Pipes whose writing ends are sent away: of each it can be told whether anybody still has it.
    fn pipes(count: usize) -> (Vec<PipeReader>, Vec<PipeWriter>) {
        (0..count).map(|_| pipe().unwrap()).unzip()
    }

    fn send_writers(stream: &UnixStream, bytes: &[u8], writers: Vec<PipeWriter>) {
        let descriptors: Vec<_> = writers.iter().map(AsFd::as_fd).collect();
        send(stream, bytes, &descriptors);
    }

    /// Which of them somebody still has the other end of.
    fn held(readers: &[PipeReader]) -> Vec<usize> {
        let is_held = |reader: &PipeReader| {
            let mut watched = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
            poll(&mut watched, PollTimeout::ZERO) == Ok(0)
        };
        readers.iter().enumerate().filter(|(_, reader)| is_held(reader)).map(|(at, _)| at).collect()
    }

    /// A client's end, ours with room for descriptors or none, and what came.
    fn connection(has_room: bool) -> (UnixStream, CallerStream, Brought) {
        let (client, ours) = UnixStream::pair().unwrap();
        let brought = Brought::default();
        let room = has_room.then(|| brought.clone());
        (client, CallerStream::new(Arc::new(ours), room), brought)
    }

    async fn read(stream: &mut CallerStream, bytes: usize) -> Vec<u8> {
        let mut got = vec![0; bytes];
        let reading = stream.read_exact(&mut got);
        tokio::time::timeout(Duration::from_secs(20), reading).await.unwrap().unwrap();
        got
    }

    #[tokio::test]
    async fn the_first_of_as_many_as_there_can_be_is_kept_and_all_others_are_closed() {
        let (client, mut ours, brought) = connection(true);
        let (readers, writers) = pipes(MOST);
        send_writers(&client, b"POST", writers);
        assert_eq!(read(&mut ours, 4).await, b"POST");
        assert_eq!(held(&readers), [0]);
        let kept = brought.take().unwrap();
        assert!(fcntl_getfd(&kept).unwrap().contains(FdFlags::CLOEXEC));
        assert!(brought.take().is_none());
        drop(kept);
        assert_eq!(held(&readers), [0; 0]);
    }

    #[tokio::test]
    async fn later_ones_are_closed_until_the_first_has_been_taken() {
        let (client, mut ours, brought) = connection(true);
        let (readers, mut writers) = pipes(4);
        let last = writers.pop().unwrap();
        for writer in writers {
            send_writers(&client, b"x", vec![writer]);
            read(&mut ours, 1).await;
        }
        assert_eq!(held(&readers), [0, 3]);
        drop(brought.take());
        send_writers(&client, b"x", vec![last]);
        read(&mut ours, 1).await;
        assert_eq!(held(&readers), [3]);
    }

    #[tokio::test]
    async fn where_there_is_no_room_none_is_kept() {
        let (client, mut ours, brought) = connection(false);
        let (readers, writers) = pipes(MOST);
        send_writers(&client, b"GET", writers);
        assert_eq!(read(&mut ours, 3).await, b"GET");
        assert_eq!(held(&readers), [0; 0]);
        assert!(brought.take().is_none());
    }

    #[tokio::test]
    async fn the_end_of_a_socket_with_a_name_is_closed_and_one_of_a_pair_is_kept() {
        let (client, mut ours, brought) = connection(true);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let named = BlockingStream::connect(&path).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        send(&client, b"x", &[named.as_fd()]);
        drop(named);
        read(&mut ours, 1).await;
        assert!(brought.take().is_none());
        assert_eq!(server.read(&mut [0]).unwrap(), 0);
        let (one, _other) = BlockingStream::pair().unwrap();
        send(&client, b"x", &[one.as_fd()]);
        read(&mut ours, 1).await;
        assert!(brought.take().is_some());
    }

    #[tokio::test]
    async fn what_nobody_took_ends_with_the_connection() {
        let (client, mut ours, brought) = connection(true);
        let (readers, writers) = pipes(3);
        let [read_one, unread, too] = writers.try_into().unwrap();
        send_writers(&client, b"x", vec![read_one]);
        read(&mut ours, 1).await;
        send_writers(&client, b"x", vec![unread, too]); // Nobody reads on.
        assert_eq!(held(&readers), [0, 1, 2]);
        drop((ours, brought));
        assert_eq!(held(&readers), [0; 0]);
    }

    #[tokio::test]
    async fn bytes_pass_both_ways_as_they_are_also_where_the_socket_is_full() {
        let (mut client, ours, _brought) = connection(true);
        let mut ours = Box::pin(TimeoutStream::new(ours));
        let sent: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
        let echo = async {
            let mut got = vec![0; sent.len()];
            ours.read_exact(&mut got).await.unwrap();
            ours.write_all(&got).await.unwrap();
            ours.shutdown().await.unwrap();
        };
        let ask = async {
            let (mut reading, mut writing) = client.split();
            let mut got = Vec::new();
            let (written, read) =
                tokio::join!(writing.write_all(&sent), reading.read_to_end(&mut got));
            written.unwrap();
            read.unwrap();
            got
        };
        let (_, got) = tokio::join!(echo, ask);
        assert!(got == sent);
    }
}
