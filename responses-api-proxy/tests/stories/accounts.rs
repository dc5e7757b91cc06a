//! Which account is served: the one that made the client's socket, and nobody is taken for somebody else.
//!
//! A socket belongs to the account that made it, and the kernel reads that from the thread's filesystem uid
//! (credentials(7)). So one process of root's can make sockets of any account, without a child for each.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use codex_mock_upstream::{MockUpstream, Scenario};
use nix::sys::signal::Signal;
use nix::unistd::{Uid, getuid, setfsuid};
use socket2::{Domain, SockRef, Socket, Type};

use crate::support::*;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/named_accounts.sh");
/// Accounts that exist on no machine but in the script's.
pub(crate) const ALICE: u32 = 61_001;
pub(crate) const BOB: u32 = 61_002;

pub(crate) fn missing() -> Option<&'static str> {
    if !getuid().is_root() {
        Some("it makes sockets and processes of several accounts: run the tests as root")
    } else if Command::new("python3").arg("--version").output().is_err() {
        Some("python3 is not there: apt-get install python3")
    } else {
        None
    }
}

/// Does this as an account, in so far as sockets are concerned.
pub(crate) fn as_account<T: Send>(uid: u32, act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let acting = scope.spawn(|| {
            let _ = setfsuid(Uid::from_raw(uid)); // This thread's alone, which ends here.
            act()
        });
        acting.join().unwrap()
    })
}

/// A request whose answer ends the connection.
fn request(port: u16, body: &str) -> String {
    let length = body.len();
    format!(
        "POST /v1/responses HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// What a process of this account gets for a request of its own.
fn ask_as_process_of(uid: u32, port: u16) -> String {
    let output = Command::new("bash")
        .args(["-c", r#"exec 3<>"/dev/tcp/127.0.0.1/$0"; printf %s "$1" >&3; cat <&3"#])
        .args([&port.to_string(), &request(port, "{}")])
        .uid(uid)
        .gid(uid)
        .current_dir("/")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// The status that this account gets, or none if its connection is closed at once.
fn status_for(uid: u32, port: u16) -> Option<u16> {
    as_account(uid, || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.write_all(request(port, "{}").as_bytes()).ok()?;
        let mut head = [0; 12];
        stream.read_exact(&mut head).ok()?;
        text(&head).strip_prefix("HTTP/1.1 ")?.parse().ok()
    })
}

/// The same once there is a place for it: those that were left come back one by one.
fn status_in_the_end(uid: u32, port: u16, expected: u16) -> Option<u16> {
    let began = Instant::now();
    loop {
        let status = status_for(uid, port);
        if status == Some(expected) || began.elapsed() > LIMIT {
            return status;
        }
    }
}

fn bodies(upstream: &MockUpstream) -> Vec<String> {
    upstream.seen().iter().map(|seen| text(&seen.body)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_served_by_name_and_no_other_is() {
    if !can_run(missing()) {
        return;
    }
    let upstream = upstream(Scenario::Json).await;
    let work = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut command = clean(Command::new("unshare"));
    let (program, arguments) = crate::PROXY;
    command
        .args(["--mount", "--propagation", "private", "bash", SCRIPT, program])
        .args(arguments)
        .args(["--upstream-url", &upstream.responses_url()])
        .args(["--allow-user", "tst_alice", "--allow-user", "61003"])
        .env("WORK", work.path())
        .envs([("ALICE", ALICE.to_string()), ("BOB", BOB.to_string())]);
    let mut proxy = Proxy::spawn(&mut command);
    assert!(
        proxy.ready.contains(" for tst_alice (uid 61001), uid 61003 alone, key in "),
        "{}",
        proxy.ready
    );
    for (uid, served) in [(ALICE, true), (BOB, false), (61_003, true), (0, false), (65_534, false)]
    {
        let answer = ask_as_process_of(uid, proxy.port);
        if served {
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{uid}: {answer}");
        } else {
            assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{uid}: {answer}");
            assert!(answer.contains("x-codex-proxy-error: client_not_allowed\r\n"), "{answer}");
            assert!(answer.contains(&format!("--allow-user {uid}")), "{answer}");
            let line = proxy.line_with("refused 403 client_not_allowed POST /v1/responses");
            assert!(line.contains(&format!("uid {uid}")), "{line}");
        }
    }
    assert_eq!(upstream.counts().requests, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_flag_everyone_is_served_and_the_record_says_who() {
    if !can_run(missing()) {
        return;
    }
    let upstream = upstream(Scenario::Cut { events: 1 }).await;
    let mut proxy = Proxy::start(&upstream, &[]);
    assert!(proxy.ready.contains(" for any account on this machine, key in "), "{}", proxy.ready);
    for uid in [ALICE, BOB, 0] {
        ask_as_process_of(uid, proxy.port);
        let line = proxy.line_with("cut 200 upstream_cut");
        assert!(line.contains(&format!("uid {uid}")), "{line}");
    }
}

/// Under sudo the ready line says how to keep the proxy to whoever called it.
#[tokio::test(flavor = "multi_thread")]
async fn under_sudo_the_ready_line_suggests_the_one_account() {
    if !can_run(missing()) {
        return;
    }
    let upstream = upstream(Scenario::Json).await;
    let mut command = program();
    command.args(["--upstream-url", &upstream.responses_url()]).env("SUDO_USER", "alice");
    let proxy = Proxy::spawn(&mut command);
    assert!(proxy.ready.contains("(--allow-user alice keeps it to that one)"), "{}", proxy.ready);
    drop(proxy);
    let proxy = Proxy::spawn(command.args(["--allow-user", "0"]));
    assert!(!proxy.ready.contains("alice"), "{}", proxy.ready);
}

/// Root trusts what is in such a file; so whoever can change it is as good as root here.
#[tokio::test(flavor = "multi_thread")]
async fn root_is_told_of_authorities_that_others_can_change() {
    if !can_run(missing()) {
        return;
    }
    let upstream = tls_upstream(Scenario::Json).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("authority.pem");
    std::fs::write(&file, upstream.authority_pem().unwrap()).unwrap();
    let start = |named: &Path| {
        let mut command = program();
        command.args(["--upstream-url", &upstream.responses_url(), "--upstream-ca", str(named)]);
        Proxy::spawn(&mut command).stop()
    };
    let warns = |named: &Path| {
        let said = start(named);
        let warning = format!("warning: others than root can change {}", str(named));
        let warnings = said.lines().filter(|line| line.starts_with("warning")).count();
        assert_eq!(warnings, usize::from(said.contains(&warning)), "{said}");
        warnings == 1
    };
    let link = folder.path().join("link.pem");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    assert!(!warns(&file) && !warns(&link));
    std::os::unix::fs::lchown(&link, Some(ALICE), None).unwrap();
    assert!(!warns(&file) && warns(&link));
    std::os::unix::fs::chown(&file, Some(ALICE), None).unwrap();
    assert!(warns(&file));
    std::os::unix::fs::chown(&file, Some(0), None).unwrap();
    std::os::unix::fs::chown(folder.path(), Some(ALICE), None).unwrap();
    assert!(warns(&file), "whoever has the folder can put another file there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_speaks_for_its_maker_whoever_holds_it() {
    if !can_run(missing()) {
        return;
    }
    let upstream = upstream(Scenario::Json).await;
    let proxy = Proxy::start(&upstream, &["--allow-user", &ALICE.to_string()]);
    let port = proxy.port;
    let ask = |maker: u32, holder: u32| {
        let mut client = as_account(maker, || Client::connect(port));
        as_account(holder, move || {
            client.send_request("POST /v1/responses", &[], b"{}");
            client.answer().status
        })
    };
    assert_eq!(ask(ALICE, BOB), 200, "handed over by Alice");
    assert_eq!(ask(BOB, ALICE), 403, "handed to Alice");
    assert_eq!(ask(0, ALICE), 403, "root's is not Alice's");

    // Handed over from one process to another (SCM_RIGHTS, unix(7)).
    for (maker, holder, status) in [(ALICE, BOB, "200"), (BOB, ALICE, "403")] {
        let output = Command::new("python3")
            .args([HAND_OVER, &port.to_string(), &request(port, "{}")])
            .args([maker.to_string(), holder.to_string()])
            .output()
            .unwrap();
        assert_eq!(text(&output.stdout), status, "{}", text(&output.stderr));
    }

    // Inherited by a process of Alice's, which alone writes and reads.
    let made_by_root = TcpStream::connect(("127.0.0.1", proxy.port)).unwrap();
    let output = Command::new("bash")
        .args(["-c", r#"printf %s "$0" >&0; cat"#, &request(proxy.port, "{}")])
        .uid(ALICE)
        .gid(ALICE)
        .current_dir("/")
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(made_by_root)))
        .output()
        .unwrap();
    assert!(text(&output.stdout).starts_with("HTTP/1.1 403 "), "{}", text(&output.stderr));
    assert_eq!(upstream.counts().requests, 2);
}

const HAND_OVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hand_over.py");

/// Connects from this very port.
fn connect_from(own: Option<SocketAddr>, port: u16) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if let Some(own) = own {
        socket.bind(&own.into())?;
    }
    socket.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into())?;
    socket.set_read_timeout(Some(LIMIT))?;
    Ok(socket.into())
}

/// Bob sends a request and resets the connection; Alice takes his port before the proxy has looked.
#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_changes_hands_does_not_lend_its_new_owners_name() {
    if !can_run(missing()) {
        return;
    }
    let upstream = upstream(Scenario::Json).await;
    let mut proxy = Proxy::start(&upstream, &["--allow-user", &ALICE.to_string()]);
    let (port, mut turns, began) = (proxy.port, 0, Instant::now());
    while turns < 20 {
        assert!(began.elapsed() < LIMIT, "the port is never free: {turns} turns");
        proxy.signal(Signal::SIGSTOP); // Whatever it does not get to see in time, it does not see now.
        let bobs = as_account(BOB, || connect_from(None, port).unwrap());
        let own = bobs.local_addr().unwrap();
        std::io::Write::write_all(&mut &bobs, request(proxy.port, "Bob's").as_bytes()).unwrap();
        SockRef::from(&bobs).set_linger(Some(Duration::ZERO)).unwrap();
        drop(bobs);
        let alices = as_account(ALICE, || connect_from(Some(own), port));
        proxy.signal(Signal::SIGCONT);
        let Ok(alices) = alices else { continue }; // Another test's connections may have the port too.
        turns += 1;
        let mut alices = Client::of(alices, proxy.port);
        alices.send(request(proxy.port, "Alice's"));
        assert_eq!(alices.answer().status, 200);
    }
    assert_eq!(bodies(&upstream), ["Alice's"; 20]);
    let line = proxy.line_with("client_not_allowed");
    assert!(line.contains("for an unknown account"), "{line}");
}

/// The same port, one account after the other, as fast as the kernel allows it (TIME_WAIT is on our side).
#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_used_again_at_once_is_its_new_owners() {
    if !can_run(missing()) {
        return;
    }
    let upstream = upstream(Scenario::Json).await;
    let proxy = Proxy::start(&upstream, &["--allow-user", &ALICE.to_string()]);
    let (port, mut own, mut taken_over) = (proxy.port, None, 0);
    for turn in 0..100 {
        let (uid, status) = if turn % 2 == 0 { (ALICE, 200) } else { (BOB, 403) };
        let stream = as_account(uid, || {
            // Another test's connection may have the port.
            connect_from(own, port).or_else(|_| connect_from(None, port)).unwrap()
        });
        let address = Some(stream.local_addr().unwrap());
        taken_over += usize::from(own == address);
        own = address;
        let mut client = Client::of(stream, proxy.port);
        client.send(request(proxy.port, "{}"));
        assert_eq!(client.answer().status, status, "turn {turn}");
        client.read_to_end().unwrap(); // The proxy closes first: the wait is on its side.
    }
    assert_eq!(upstream.counts().requests, 50);
    assert!(taken_over > 50, "only {taken_over} ports changed hands");
}

/// The kernel shows a socket that its client has closed as one of uid 0.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_clients_that_connect_and_die_are_not_taken_for_root() {
    let nobody = if getuid().is_root() { BOB } else { getuid().as_raw() };
    let upstream = upstream(Scenario::Json).await;
    let proxy = Proxy::start(&upstream, &["--allow-user", "0"]);
    let port = proxy.port;
    as_account(nobody, || {
        for number in 0..10_000 {
            let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let _ = (&stream).write_all(request(port, "{}").as_bytes());
            match number % 3 {
                0 => SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap(),
                1 => drop(stream.shutdown(std::net::Shutdown::Write)), // It may be closed already.
                _ => {}
            }
        }
    });
    let refused = status_in_the_end(nobody, port, 403);
    assert_eq!(refused, Some(403), "it still serves, and still refuses");
    let of_root = u64::from(getuid().is_root());
    if of_root == 1 {
        assert_eq!(status_for(0, port), Some(200));
    }
    let said = proxy.stop(); // What was under way has ended.
    assert_eq!(upstream.counts().requests, of_root, "somebody was served as root");
    assert!(said.contains("for an unknown account"), "nobody was gone in time");
    let for_root: Vec<_> =
        failures(&said).into_iter().filter(|line| line.contains("(uid 0)")).collect();
    assert!(for_root.is_empty(), "somebody was taken for root: {for_root:?}");
}

/// One account takes all its places, exchanges and connections, and another is served as ever.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_can_take_its_own_places_only() {
    if !can_run(missing()) {
        return;
    }
    let upstream = upstream(Scenario::Silent).await;
    let mut proxy = Proxy::start(&upstream, &["--max-concurrent", "2"]);
    let port = proxy.port;
    let ask = |uid: u32| {
        as_account(uid, || {
            let mut client = Client::connect(port);
            client.post();
            client.until("\r\n\r\n");
            client
        })
    };
    let bobs = [ask(BOB), ask(BOB)];
    until(&upstream, |counts| counts.requests == 2).await;
    let refused = ask(BOB);
    let refused = text(&refused.got);
    assert!(refused.starts_with("HTTP/1.1 429 ") && refused.contains("too_many_requests"));
    assert!(refused.contains("retry-after: 1\r\n"), "{refused}");
    let line = proxy.line_with("too_many_requests");
    assert!(line.ends_with(&format!("for uid {BOB}")), "{line}");
    assert!(text(&ask(ALICE).got).starts_with("HTTP/1.1 200 "));
    until(&upstream, |counts| counts.requests == 3).await;

    // 1,024 connections: two of them are the exchanges above.
    let mut connections = Vec::new();
    as_account(BOB, || {
        for _ in 0..1_100 {
            connections.push(TcpStream::connect(("127.0.0.1", port)).unwrap());
        }
    });
    let line = proxy.line_with("refused too_many_connections");
    assert!(line.ends_with(&format!("for uid {BOB}")), "{line}");
    assert!(text(&ask(ALICE).got).starts_with("HTTP/1.1 200 "));
    drop((connections, bobs));
    assert_eq!(status_in_the_end(BOB, port, 200), Some(200), "its places do not come back");
}

#[test]
fn an_account_that_does_not_exist_is_told_at_start() {
    for user in ["no-such-account-here", "4294967295", ""] {
        let output = run(&["--allow-user", user], KEY.as_bytes());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains(&format!("--allow-user {user:?}: there is no such account")),
            "{said}"
        );
        assert!(said.contains("hint: "), "{said}");
    }
}
