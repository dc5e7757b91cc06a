//! Descriptors that callers of the control socket bring: a new key, or what is to do harm.

use std::io::{IoSlice, Read, Write, pipe};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::support::*;

pub(crate) const ROTATE: &str = "POST /v1/rotate-key";

/// As many descriptors as go with one message (SCM_MAX_FD).
pub(crate) const MOST_DESCRIPTORS: usize = 253;

/// Sends these bytes, and with the first of them these descriptors.
pub(crate) fn send(stream: &UnixStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
    assert_eq!(try_send(stream, bytes, descriptors).unwrap(), bytes.len());
}

/// The same where the proxy may have closed the connection.
pub(crate) fn try_send(
    stream: &UnixStream,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> rustix::io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        assert!(beside.push(SendAncillaryMessage::ScmRights(descriptors)));
    }
    sendmsg(stream, &[IoSlice::new(bytes)], &mut beside, SendFlags::empty())
}

/// The head of a request without a body.
pub(crate) fn head(line: &str) -> Vec<u8> {
    format!("{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").into_bytes()
}

pub(crate) fn connect(socket: &Path) -> UnixStream {
    let stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

/// A caller that has sent a request and these descriptors.
pub(crate) fn asking(socket: &Path, line: &str, descriptors: &[BorrowedFd<'_>]) -> UnixStream {
    let stream = connect(socket);
    send(&stream, &head(line), descriptors);
    stream
}

/// Status and body of its answer.
pub(crate) fn answer(mut stream: UnixStream) -> (u16, String) {
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    let (head, body) = said.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// What the proxy answers to a key that comes out of this descriptor.
pub(crate) fn bring(socket: &Path, key: impl AsFd) -> (u16, String) {
    answer(asking(socket, ROTATE, &[key.as_fd()]))
}

/// What it answers to this key, which comes out of a pipe.
pub(crate) fn rotate(socket: &Path, key: &str) -> (u16, String) {
    let (reader, mut writer) = pipe().unwrap();
    // It may be more than a pipe holds, and the proxy may not want all of it.
    let key = key.to_owned();
    let writing = std::thread::spawn(move || writer.write_all(key.as_bytes()));
    let answer = bring(socket, reader);
    let _ = writing.join().unwrap();
    answer
}

/// Fills a connection to a port that nobody reads from, and sends it to the control socket with SO_LINGER: closing it
/// takes an hour. Who is being killed closes at once (so this process does not wait), and the proxy, which is stopped,
/// comes last.
const LINGER: &str = r#"
import array, os, signal, socket, struct, sys
slow = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
slow.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3600))
slow.setblocking(False)
try:
    while True:
        slow.send(b"x" * 65536)
except BlockingIOError:
    pass
stream = socket.socket(socket.AF_UNIX)
stream.connect(sys.argv[2])
number = array.array("i", [slow.fileno()])
stream.sendmsg([b"G"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, number)])
os.kill(os.getpid(), signal.SIGKILL)
"#;

/// Why nobody can bring such a descriptor here.
pub(crate) fn no_python() -> Option<&'static str> {
    let is_missing = Command::new("python3").arg("--version").output().is_err();
    is_missing.then_some("python3 is not there: apt-get install python3")
}

/// A caller that leaves a stopped proxy a connection to this port, which takes an hour to close.
pub(crate) fn bring_what_lingers(socket: &Path, port: u16) {
    let port = port.to_string();
    let ended = Command::new("python3").args(["-c", LINGER, &port, str(socket)]).status().unwrap();
    assert!(!ended.success() && ended.code().is_none(), "{ended}");
}
