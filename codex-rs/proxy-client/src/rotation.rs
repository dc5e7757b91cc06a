//! A new key for a running proxy: what leads to it travels over the control socket, and the proxy reads it.
//!
//! A descriptor goes with the request's first byte (SCM_RIGHTS, unix(7)). So no byte of the key is in this process, be it
//! in a buffer of the HTTP client's.

use std::io::{self, ErrorKind, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::Method;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::UnixStream;

use crate::control::ERROR_LIMIT_BYTES;
use crate::status::Key;
use crate::{ControlError, ControlSocket};

/// The answer to `POST /v1/rotate-key`: the key was replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotated {
    /// What is known of the new key.
    pub key: Key,
    /// Exchanges under way that go on with the old one.
    #[serde(default)]
    pub running: u64,
}

impl ControlSocket {
    /// Has the proxy read a new key from `key`, up to its end. Exchanges that begin from then on use it.
    ///
    /// Waits as long as that takes, since a key may come from a person. Dropped, it gives up, and the proxy keeps the key
    /// that it has, unless it had all of the new one by then.
    ///
    /// # Errors
    ///
    /// [`ControlError::BadKey`] when it can't be used, [`ControlError::NotAllowed`] to all but root, the account that
    /// serves and the one that started the proxy, and [`ControlError`] as with every call.
    pub async fn rotate_key(&self, key: OwnedFd) -> Result<Rotated, ControlError> {
        let sent = self.send(&Method::POST, "/v1/rotate-key", Some(Arc::new(key))).await?;
        let answer = self.accepted(sent).await?;
        let answer = self.collect(answer, ERROR_LIMIT_BYTES).await?;
        serde_json::from_slice(&answer).map_err(|error| self.broken(error))
    }
}

/// A connection whose first byte takes a descriptor along, if there is one to take.
pub(crate) struct Carrier {
    stream: UnixStream,
    /// `None` once it has gone.
    key: Option<Arc<OwnedFd>>,
}

impl Carrier {
    pub(crate) fn new(stream: UnixStream, key: Option<Arc<OwnedFd>>) -> Self {
        Self { stream, key }
    }
}

/// Sends what there is room for, and with it the descriptor.
fn send_with(stream: &UnixStream, bytes: &[u8], key: &OwnedFd) -> io::Result<usize> {
    let descriptors = [key.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    beside.push(SendAncillaryMessage::ScmRights(&descriptors)); // There is room for one.
    Ok(sendmsg(stream, &[IoSlice::new(bytes)], &mut beside, SendFlags::empty())?)
}

impl AsyncWrite for Carrier {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // Without a byte to go with, the kernel would drop it.
        let Some(key) = this.key.as_ref().filter(|_| !bytes.is_empty()) else {
            return Pin::new(&mut this.stream).poll_write(context, bytes);
        };
        loop {
            ready!(this.stream.poll_write_ready(context))?;
            let send = || send_with(&this.stream, bytes, key);
            match this.stream.try_io(Interest::WRITABLE, send) {
                Ok(count) => {
                    this.key = None;
                    return Poll::Ready(Ok(count));
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

impl AsyncRead for Carrier {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write, pipe};
    use std::process;
    use std::time::Duration;

    use nix::unistd::geteuid;
    use serde_json::json;
    use tokio::io::AsyncReadExt;
    use tokio::net::UnixListener;
    use tokio::sync::oneshot;

    use super::*;
    use crate::pretended::{Say, listening, receiving, status};

    const KEY: &str = "sk-new-0123456789";

    /// A pipe with this in it, whose writer is gone.
    fn piped(text: &str) -> OwnedFd {
        let (reader, mut writer) = pipe().unwrap();
        writer.write_all(text.as_bytes()).unwrap();
        reader.into()
    }

    fn all_of(key: Option<File>) -> String {
        let mut text = String::new();
        key.unwrap().read_to_string(&mut text).unwrap();
        text
    }

    fn answer(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }

    fn rotated() -> Rotated {
        Rotated { key: status().key, running: 2 }
    }

    #[tokio::test]
    async fn the_proxy_reads_the_key_from_what_it_is_handed() {
        let socket = receiving(|line, key| {
            assert_eq!((line, all_of(key).as_str()), ("POST /v1/rotate-key HTTP/1.1", KEY));
            answer("200 OK", &serde_json::to_string(&rotated()).unwrap())
        });
        assert_eq!(socket.control().rotate_key(piped(KEY)).await.unwrap(), rotated());
    }

    /// A key that is typed into a pipe takes as long as a person does.
    #[tokio::test]
    async fn the_key_may_take_its_time() {
        let (told, tell) = oneshot::channel();
        let socket = receiving(|_, key| {
            told.send(()).unwrap();
            assert_eq!(all_of(key), KEY);
            answer("200 OK", &serde_json::to_string(&rotated()).unwrap())
        });
        let (reader, mut writer) = pipe().unwrap();
        let control = socket.control();
        let rotating = tokio::spawn(async move { control.rotate_key(reader.into()).await });
        tell.await.unwrap();
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(3_600)).await;
        tokio::time::resume();
        assert!(!rotating.is_finished());
        writer.write_all(KEY.as_bytes()).unwrap();
        drop(writer);
        assert_eq!(rotating.await.unwrap().unwrap(), rotated());
    }

    #[tokio::test]
    async fn a_key_that_can_not_be_used_is_told_from_other_refusals() {
        let no = |code, message| {
            json!({"error": {"message": message, "type": "t", "code": code, "param": null}})
                .to_string()
        };
        let message = "the API key has an unexpected byte at offset 5; the old key stays in use";
        let bad = answer("400 Bad Request", &no("bad_key", message));
        let error = receiving(|_, _| bad).control().rotate_key(piped("sk-ba!")).await.unwrap_err();
        assert!(matches!(error, ControlError::BadKey(_)), "{error:?}");
        assert_eq!(error.to_string(), message);
        assert!(error.hint().unwrap().contains("the new key alone"), "{error:?}");

        let draining = answer("409 Conflict", &no("draining", "it takes no new key: it stops"));
        let error = receiving(|_, _| draining).control().rotate_key(piped(KEY)).await.unwrap_err();
        assert!(matches!(error, ControlError::Refused { status: 409, .. }), "{error:?}");
        assert_eq!(error.hint(), None);

        let socket = listening(|_| Say::No(403, "only root may"));
        let error = socket.control().rotate_key(piped(KEY)).await.unwrap_err();
        assert!(matches!(error, ControlError::NotAllowed(_)), "{error:?}");
    }

    #[tokio::test]
    async fn only_a_new_key_takes_a_descriptor_along() {
        let socket = receiving(|line, key| {
            assert!(key.is_none());
            assert_eq!(line, "GET /v1/status HTTP/1.1");
            answer("200 OK", &serde_json::to_string(&status()).unwrap())
        });
        assert_eq!(socket.control().status().await.unwrap(), status());
    }

    #[tokio::test]
    async fn who_gives_up_closes_the_connection() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let control = ControlSocket::new(path, process::id(), geteuid().as_raw());
        let (reader, _writer) = pipe().unwrap();
        let mut asked = tokio::select! {
            answer = control.rotate_key(reader.into()) => panic!("{answer:?}"),
            asked = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut byte = [0];
                stream.read_exact(&mut byte).await.unwrap();
                stream
            } => asked,
        };
        let mut rest = Vec::new();
        asked.read_to_end(&mut rest).await.unwrap();
        assert!(rest.ends_with(b"\r\n\r\n"), "{rest:?}");
    }
}
