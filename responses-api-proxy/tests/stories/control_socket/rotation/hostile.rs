//! Callers who bring descriptors to do harm: none stays with the proxy, and nobody else is held up.

use std::cell::Cell;
use std::fs::File;
use std::io::{PipeWriter, Write, pipe};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use codex_mock_upstream::Scenario;
use nix::fcntl::{FcntlArg, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use socket2::{Domain, Socket, Type};

use super::refused;
use crate::control_client::*;
use crate::control_socket::fixture::{Controlled, open_folder};
use crate::support::*;

/// Keys that one account may have read at once.
const AT_ONCE: usize = 4;

/// Waits until nobody has the other end of this pipe any more.
fn until_closed(mut writer: &PipeWriter) {
    look_for("the pipe's end", || match writer.write(b"x") {
        Ok(_) => Err("somebody still has it"),
        Err(error) => {
            assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
            Ok(())
        }
    });
}

/// A caller whose key is being read and does not end, and what keeps it from ending. The first letter has gone.
fn waiting(controlled: &Controlled) -> (UnixStream, PipeWriter) {
    let (reader, mut writer) = pipe().unwrap();
    writer.write_all(&KEY.as_bytes()[..1]).unwrap();
    let caller = asking(&controlled.socket, ROTATE, &[reader.as_fd()]);
    look_for("a reader", || {
        let mut watched = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
        match poll(&mut watched, PollTimeout::ZERO) {
            Ok(0) => Ok(()),
            unread => Err(unread),
        }
    });
    (caller, writer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_leaves_ends_the_reading_of_its_key() {
    let upstream = upstream(Scenario::Json).await;
    let controlled = Controlled::start(&upstream, &[]);
    // More often than there are places.
    for round in 0..2 * AT_ONCE {
        let (caller, writer) = waiting(&controlled);
        (&writer).write_all(&KEY.as_bytes()[1..]).unwrap(); // But it does not end.
        if round % 2 == 1 {
            // What is not read must not hide that it leaves, nor keep the key's other end alive.
            send(&caller, b"x", &[]);
            send(&caller, b"y", &[writer.as_fd()]);
        }
        drop(caller);
        until_closed(&writer);
    }
    // Closing the sending side alone is leaving, too.
    let (caller, writer) = waiting(&controlled);
    caller.shutdown(Shutdown::Write).unwrap();
    until_closed(&writer);
    assert_eq!(controlled.status()["key"]["rotations"], 0);
    controlled.exchange("gpt-5");
}

/// While the proxy had the caller's own end, it would never see that the caller has left.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_not_its_own_key_nor_another_ones() {
    let upstream = upstream(Scenario::Json).await;
    let controlled = Controlled::start(&upstream, &[]);
    for _ in 0..=AT_ONCE {
        let caller = connect(&controlled.socket);
        send(&caller, &head(ROTATE), &[caller.as_fd()]);
        refused(answer(caller), 400, "no_key");
        let (one, other) = (connect(&controlled.socket), connect(&controlled.socket));
        send(&one, &head(ROTATE), &[other.as_fd()]);
        refused(answer(one), 400, "no_key");
    }
    controlled.exchange("gpt-5");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_has_so_many_keys_read_at_once_and_all_else_goes_on() {
    let upstream = upstream(Scenario::Json).await;
    let controlled = Controlled::start(&upstream, &[]);
    let mut callers: Vec<_> = (0..AT_ONCE).map(|_| waiting(&controlled)).collect();
    let message = refused(rotate(&controlled.socket, KEY), 503, "too_many_connections");
    assert!(message.contains(&AT_ONCE.to_string()), "{message}");
    assert_eq!(controlled.status()["key"]["rotations"], 0);
    controlled.exchange("gpt-5");
    let (caller, mut writer) = callers.remove(0);
    writer.write_all(&KEY.as_bytes()[1..]).unwrap();
    drop(writer);
    assert_eq!(answer(caller).0, 200);
    look_for("a place", || match rotate(&controlled.socket, KEY) {
        (200, _) => Ok(()),
        refused => Err(refused),
    });
    controlled.exchange("gpt-5");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_descriptor_stays_after_two_hundred_hostile_calls() {
    const CALLS: usize = 200;
    let not_root = "it counts another process's descriptors: run the tests as root";
    if !can_run((!nix::unistd::geteuid().is_root()).then_some(not_root)) {
        return;
    }
    let upstream = upstream(Scenario::Json).await;
    let controlled = Controlled::start(&upstream, &[]);
    // What is made with the first of each is there.
    controlled.exchange("gpt-5");
    assert_eq!(rotate(&controlled.socket, KEY).0, 200);
    let count = || descriptors(controlled.proxy.pid()).len();
    let mut last = count();
    let before = look_for("a quiet proxy", || match std::mem::replace(&mut last, count()) {
        before if before == last => Ok(last),
        before => Err((before, last)),
    });
    let open = |path: &str| File::open(path).unwrap();
    let (zero, folder, socket) = (open("/dev/zero"), open("/"), &controlled.socket);
    let (sent, lost) = (Cell::new(0), Cell::new(0));
    for call in 0..CALLS {
        let (reader, writer) = pipe().unwrap();
        let most = vec![reader.as_fd(); MOST_DESCRIPTORS];
        // There may be no place for this one, and it closed before all is sent.
        let bring = |caller: &UnixStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]| {
            let outcome = try_send(caller, bytes, descriptors);
            let counted = if outcome.is_ok() { &sent } else { &lost };
            counted.set(counted.get() + 1);
        };
        let (caller, other) = (connect(socket), connect(socket));
        match call % 10 {
            0 => bring(&caller, &head("GET /v1/status"), &most),
            1 => (0..5).for_each(|_| bring(&caller, b"P", &most)), // Never a request.
            2 => bring(&caller, &head(ROTATE), &most),
            3 => {
                bring(&caller, &head(ROTATE), &[reader.as_fd()]);
                bring(&caller, b"behind the request", &most);
                bring(&caller, b"its own end", &[caller.as_fd(), writer.as_fd()]);
            }
            4 => bring(&caller, b"P", &[caller.as_fd()]),
            5 => bring(&caller, &head(ROTATE), &[zero.as_fd(), folder.as_fd()]),
            6 => bring(&caller, &head(ROTATE), &[folder.as_fd()]),
            7 => bring(&caller, &head("GET /v1/records?follow=1"), &most),
            8 => {
                bring(&caller, &head(ROTATE), &[other.as_fd()]);
                bring(&other, &head(ROTATE), &[caller.as_fd()]);
            }
            _ => {
                bring(&caller, &[b'x'; 4_096], &most); // No HTTP.
                bring(&caller, b"x", &most);
            }
        }
    }
    let (sent, lost) = (sent.get(), lost.get());
    assert!(sent >= lost, "the proxy got {sent} of these, and {lost} found its end closed");
    // Fewer, if one that was on its way out was counted before.
    look_for("no more descriptors than before", || {
        let now = count();
        if now <= before { Ok(()) } else { Err((now, before)) }
    });
    assert_eq!(controlled.status()["key"]["rotations"], 1);
    controlled.exchange("gpt-5");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_descriptor_that_takes_an_hour_to_close_holds_nobody_up_nor_the_end() {
    if !can_run(no_python()) {
        return;
    }
    let upstream = upstream(Scenario::Json).await;
    let mut controlled = Controlled::start(&upstream, &[]);
    let nobody_reads = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = nobody_reads.local_addr().unwrap().port();
    controlled.proxy.signal(Signal::SIGSTOP);
    for _ in 0..3 {
        bring_what_lingers(&controlled.socket, port);
    }
    controlled.proxy.signal(Signal::SIGCONT);
    for _ in 0..5 {
        assert_eq!(controlled.status()["state"], "serving");
    }
    assert_eq!(rotate(&controlled.socket, KEY).0, 200);
    controlled.exchange("gpt-5");
    controlled.proxy.signal(Signal::SIGTERM);
    let (status, said) = controlled.proxy.ended();
    assert_eq!(status.code(), Some(0), "{said}");
}

/// As [`bring_what_lingers`], so many times, as this account.
const MANY_LINGER: &str = r#"
import array, os, select, signal, socket, struct, sys
port, path, uid, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
os.setgroups([])
os.setgid(uid)
os.setuid(uid)
kept = []
for _ in range(count):
    slow = socket.socket()  # create_connection would load a module, which this account may not be able to read.
    slow.connect(("127.0.0.1", port))
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3600))
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    slow.setblocking(False)
    while select.select([], [slow], [], 0.005)[1]:
        slow.send(b"x" * 65536)
    stream = socket.socket(socket.AF_UNIX)
    stream.connect(path)
    number = array.array("i", [slow.fileno()])
    stream.sendmsg([b"G"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, number)])
    kept += [slow, stream]
os.kill(os.getpid(), signal.SIGKILL)
"#;

/// What is over an account's places is closed, whatever it holds: else each of them would take a thread or a descriptor.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_whose_connections_hang_keeps_nobody_out() {
    const ROUNDS: usize = 5;
    const MANY: usize = 60; // More would wait for the proxy, which is stopped.
    const ITS_PLACES: usize = 2 * 16;
    const ACCOUNT: &str = "61235";
    let not_root = "it acts as another account: run the tests as root";
    if !can_run(no_python().or((!nix::unistd::geteuid().is_root()).then_some(not_root))) {
        return;
    }
    let upstream = upstream(Scenario::Json).await;
    let flags = ["--allow-user", ACCOUNT, "--allow-user", "0", "--allow-user", "61236"];
    let url = upstream.responses_url();
    let controlled = Controlled::start_for(&url, open_folder(), &flags, &[]);
    controlled.status();
    let before = descriptors(controlled.proxy.pid()).len();
    let nobody_reads = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    nobody_reads.set_recv_buffer_size(4_096).unwrap(); // For what is taken can't linger.
    nobody_reads.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    nobody_reads.listen(1_024).unwrap();
    let port = nobody_reads.local_addr().unwrap().as_socket().unwrap().port().to_string();
    for _ in 0..ROUNDS {
        controlled.proxy.signal(Signal::SIGSTOP);
        let (socket, many) = (str(&controlled.socket), MANY.to_string());
        let mut attacker = Command::new("python3");
        attacker.args(["-c", MANY_LINGER, &port, socket, ACCOUNT, &many]);
        let ended = attacker.status().unwrap();
        assert!(ended.code().is_none(), "{ended}");
        controlled.proxy.signal(Signal::SIGCONT);
        assert_eq!(controlled.status()["state"], "serving");
    }
    look_for("the end of most of them", || {
        let now = descriptors(controlled.proxy.pid()).len();
        if now <= before + ITS_PLACES + 8 { Ok(()) } else { Err((now, before)) }
    });
    assert_eq!(rotate(&controlled.socket, KEY).0, 200);
    controlled.exchange("gpt-5");
}

/// A proxy that is ended with the test. Nobody reads what it says.
struct Unheard(Child);

impl Drop for Unheard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn who_reads_no_standard_error_holds_no_rotation_up() {
    const PIPE_BYTES: i32 = 4_096;
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control.sock");
    let (unread, stderr) = pipe().unwrap();
    fcntl(&stderr, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES)).unwrap();
    let mut command = program();
    command.args(["--upstream-url", "http://127.0.0.1:9/v1/responses", "--control-socket"]);
    command.arg(&socket).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(stderr);
    let mut proxy = Unheard(command.spawn().unwrap());
    writeln!(proxy.0.stdin.take().unwrap(), "{KEY}").unwrap();
    look_for("the control socket", || UnixStream::connect(&socket).map(drop));
    // Each says a line of some 80 bytes.
    for number in 0..PIPE_BYTES / 20 {
        let (status, said) = rotate(&socket, KEY);
        assert_eq!(status, 200, "{number}: {said}");
    }
    drop(unread);
}
