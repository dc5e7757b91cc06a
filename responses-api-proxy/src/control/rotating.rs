//! Another key for the running proxy: read from a descriptor that its caller has brought, straight into a page.
//!
//! What the descriptor is, the caller alone decides. So nothing but a thread of its own touches it, and that gives up when
//! the caller leaves. Should a call on it never return, a thread and one of the account's places are lost until it does.

use std::io::{self, IsTerminal};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use codex_key_custody::CustodyError;
use codex_peer_identity::Uid;
use codex_proxy_client::Rotated;
use http::{Response, StatusCode};
use nix::unistd::User;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use super::{Body, Caller, Control, JSON, refusal, said};
use crate::custody::Custody;
use crate::report::{self, Words};

/// How long the outcome may take once nobody waits for the key.
const LAST_WORD: Duration = Duration::from_millis(500);

/// Keys that one account may have read at once.
pub(super) const AT_ONCE: usize = 4;

/// Replaces the key, and says so. A key that can't be used changes nothing.
pub(super) async fn rotate(
    control: &Control,
    caller: &Caller,
    key: Option<OwnedFd>,
) -> Response<Body> {
    if control.proxy.stop.is_told() {
        return draining();
    }
    let Some(key) = key else {
        let message = "no descriptor of a key came with the request (a Unix socket with a name is none): `codex proxy rotate-key` sends one";
        return refusal(StatusCode::BAD_REQUEST, "no_key", message);
    };
    let Ok(place) = Arc::clone(&caller.rotations).try_acquire_owned() else {
        let message = format!("this account has {AT_ONCE} keys being read already");
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "too_many_connections", &message);
    };
    // However this function ends, `waiting` goes, and with it the reading.
    let Ok((given_up, waiting)) = io::pipe() else { return failed() };
    let (tell, mut told) = oneshot::channel();
    let rotation = Rotation {
        custody: Arc::clone(&control.proxy.custody),
        running: control.proxy.records.under_way.count(),
        by: caller.uid,
        words: control.words.clone(),
    };
    caller.threads.spawn_blocking(move || {
        let outcome = rotation.carry_out(key, given_up.as_fd());
        rotation.tell_operator(&outcome);
        let _ = tell.send(outcome); // Its caller may have left.
        drop(place);
    });
    let outcome = tokio::select! {
        biased;
        outcome = &mut told => Some(outcome),
        () = hang_up(&caller.stream) => None,
        () = control.ended.cancelled() => None,
    };
    drop(waiting);
    // It may have had all of the key by then. A call that does not return is not waited for.
    let outcome = match outcome {
        Some(outcome) => outcome,
        None => timeout(LAST_WORD, told).await.unwrap_or(Ok(Err(Unchanged::NobodyWaits))),
    };
    match outcome {
        // Plain numbers and strings: nothing that JSON could refuse.
        Ok(Ok(rotated)) => said(JSON, serde_json::to_string(&rotated).unwrap_or_default()),
        Ok(Err(Unchanged::NobodyWaits)) if control.ended.is_cancelled() => draining(),
        Ok(Err(Unchanged::NoMemory(why))) => {
            let remedy = "let it lock 64 KiB (`ulimit -l`, LimitMEMLOCK=) and start it anew";
            let message = format!("{why}; the old key stays in use; {remedy}");
            refusal(StatusCode::INTERNAL_SERVER_ERROR, "no_memory", &message)
        }
        Ok(Err(unchanged)) => {
            let message = format!("{}; the old key stays in use", unchanged.why());
            refusal(StatusCode::BAD_REQUEST, "bad_key", &message)
        }
        Err(_) => failed(),
    }
}

fn draining() -> Response<Body> {
    let message = "this proxy is being stopped, and takes no other key";
    refusal(StatusCode::CONFLICT, "draining", message)
}

fn failed() -> Response<Body> {
    let message = "the proxy could not read a key just now; the old key stays in use";
    refusal(StatusCode::INTERNAL_SERVER_ERROR, "rotation_failed", message)
}

/// Why the old key stays.
#[derive(Clone, Debug)]
enum Unchanged {
    NobodyWaits,
    /// In words that have no byte of it.
    BadKey(String),
    /// There is no page for it.
    NoMemory(String),
}

impl Unchanged {
    fn why(&self) -> &str {
        match self {
            Self::NobodyWaits => "the caller hung up before the key had ended",
            Self::BadKey(why) | Self::NoMemory(why) => why,
        }
    }
}

/// What the thread has that reads a key.
struct Rotation {
    custody: Arc<Custody>,
    /// Exchanges under way.
    running: watch::Receiver<u64>,
    by: Uid,
    words: Words,
}

impl Rotation {
    /// Blocks until the key has ended or nobody waits for it any more.
    fn carry_out(&self, key: OwnedFd, given_up: BorrowedFd<'_>) -> Result<Rotated, Unchanged> {
        if key.is_terminal() {
            return Err(Unchanged::BadKey("a key can't be typed here".to_owned()));
        }
        self.custody.replace(key.as_fd(), given_up, self.by).map_err(|error| match error {
            CustodyError::Interrupted => Unchanged::NobodyWaits,
            CustodyError::Page(_) | CustodyError::Lock(_) => {
                Unchanged::NoMemory(report::in_one_line(&error))
            }
            error => Unchanged::BadKey(report::in_one_line(&error)),
        })?;
        Ok(Rotated { key: self.custody.facts(), running: *self.running.borrow() })
    }

    /// The operator is to know who has tried.
    fn tell_operator(&self, outcome: &Result<Rotated, Unchanged>) {
        match outcome {
            Ok(Rotated { key, running }) => {
                let (by, plural) = (self.who(), if *running == 1 { " goes" } else { "s go" });
                let going_on = format!("{running} exchange{plural} on with the old one");
                self.words.say(format!("key replaced by {by}, now in {}; {going_on}", key.page));
            }
            Err(Unchanged::NobodyWaits) => {}
            Err(Unchanged::NoMemory(why)) => {
                self.words.say(format!(
                    "warning: {} offered a key: {why}; the old one stays",
                    self.who()
                ));
            }
            Err(Unchanged::BadKey(why)) => {
                let offered = "offered a key that can't be used";
                let who = self.who();
                self.words.say(format!("warning: {who} {offered}: {why}; the old one stays"));
            }
        }
    }

    fn who(&self) -> String {
        let user = User::from_uid(self.by).ok().flatten();
        let name = user.map(|user| format!(" ({})", user.name.escape_debug()));
        format!("uid {}{}", self.by, name.unwrap_or_default())
    }
}

/// Ready once the caller has closed the connection, or its sending side, or says something more: what is behind the request
/// might be the very ends that would have to close for us to see that it has left. Cancel safe.
///
/// hyper would not tell: what it has read and not parsed, one byte after the request, keeps it from reading on.
pub(super) async fn hang_up(stream: &UnixStream) {
    let mut byte = [MaybeUninit::uninit()];
    // At the runtime's end, when nothing can be waited for, it counts as hung up.
    while stream.readable().await.is_ok() {
        // Whoever has read all of it may have left it looking readable: then this says that it is not.
        let peeked = stream.try_io(Interest::READABLE, || SockRef::from(stream).peek(&mut byte));
        if !peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::{Write, pipe};
    use std::os::unix::net::UnixStream as BlockingStream;
    use std::pin::pin;
    use std::task::Poll;

    use codex_key_custody::{ApiKey, KeyInput};
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::key_source::KeySource;

    const KEY: &str = "sk-the-first-key";

    /// A pipe's end that this comes out of.
    fn piped(text: &str) -> OwnedFd {
        let (reader, mut writer) = pipe().unwrap();
        writer.write_all(text.as_bytes()).unwrap();
        reader.into()
    }

    fn rotation() -> Rotation {
        let key = ApiKey::read(KeyInput::of(piped(KEY).as_fd())).unwrap();
        let custody = Custody::new(key, &KeySource::StandardInput, /*allow_unlocked*/ false);
        let running = watch::channel(3).1;
        let words = Words::start().unwrap();
        Rotation { custody: Arc::new(custody), running, by: Uid::from_raw(7), words }
    }

    /// What comes of this descriptor while somebody waits.
    fn outcome(key: impl Into<OwnedFd>) -> Result<Rotated, Unchanged> {
        let (given_up, _waiting) = pipe().unwrap();
        rotation().carry_out(key.into(), given_up.as_fd())
    }

    fn why(key: impl Into<OwnedFd>) -> String {
        outcome(key).unwrap_err().why().to_owned()
    }

    #[test]
    fn a_key_from_a_pipe_or_a_pair_of_sockets_is_used() {
        let rotated = outcome(piped("sk-the-second-key\n")).unwrap();
        assert_eq!((rotated.running, rotated.key.rotations), (3, 1));
        assert_eq!(rotated.key.rotated_by_uid, Some(7));
        let (ours, mut theirs) = BlockingStream::pair().unwrap();
        theirs.write_all(b"sk-the-second-key").unwrap();
        drop(theirs);
        assert!(outcome(ours).is_ok());
    }

    #[test]
    fn what_is_no_key_is_refused_for_what_it_is() {
        let terminal = nix::pty::openpty(None, None).unwrap();
        assert_eq!(why(terminal.slave), "a key can't be typed here");
        assert_eq!(why(piped("sk-with a blank")), "the API key has an unexpected byte at offset 7");
        let open = |path: &str| std::fs::File::open(path).unwrap();
        assert!(why(open("/")).starts_with("the API key could not be read: "));
        why(open("/dev/zero"));
        why(open("/dev/null"));
    }

    #[test]
    fn who_hangs_up_ends_the_reading() {
        let rotation = rotation();
        let (given_up, waiting) = pipe().unwrap();
        let (input, _writer) = pipe().unwrap();
        std::thread::scope(|scope| {
            let reading = scope.spawn(|| rotation.carry_out(input.into(), given_up.as_fd()));
            drop(waiting);
            let unchanged = reading.join().unwrap().unwrap_err();
            assert!(matches!(unchanged, Unchanged::NobodyWaits), "{unchanged:?}");
        });
        assert_eq!(rotation.custody.facts().rotations, 0);
    }

    #[tokio::test]
    async fn who_leaves_or_goes_on_talking_is_not_waited_for() {
        let (client, ours) = UnixStream::pair().unwrap();
        let mut early = pin!(hang_up(&ours));
        let is_early = poll_fn(|context| Poll::Ready(early.as_mut().poll(context).is_ready()));
        assert!(!is_early.await);
        drop(client);
        timeout(Duration::from_secs(20), early).await.unwrap();

        let (mut client, ours) = UnixStream::pair().unwrap();
        client.write_all(b"more").await.unwrap();
        timeout(Duration::from_secs(20), hang_up(&ours)).await.unwrap();
        let mut unread = [0; 4];
        assert_eq!(ours.try_read(&mut unread).unwrap(), 4);
    }
}
