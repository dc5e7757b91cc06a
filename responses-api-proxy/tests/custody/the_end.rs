//! However a proxy ends, the key's page is wiped first.
//!
//! Root looks at its memory in the last moment in which there is one: ptrace(2) stops the main thread in
//! exit_group(2), after all else has run. In a locked page: the other kind can't be read at any time.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use codex_mock_upstream::{MockUpstream, Scenario};
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::control_client::{Lines, bring_what_lingers, look_for, no_python};
use crate::denied::{NO_SECRET_MEMORY, denied};
use crate::scanner::{Scan, Scanner, cannot_scan};
use crate::support::*;
use crate::watched::Watched;

const PAUSE: Duration = Duration::from_millis(5);

/// Looks at a process as it ends.
struct LastLook {
    looking: JoinHandle<Seen>,
}

/// What was to be seen.
struct Seen {
    scan: Scan,
    /// Where descriptor 0 led.
    input: PathBuf,
}

impl LastLook {
    /// From now on the process waits, when it ends, until it was looked at.
    fn at(pid: u32) -> Self {
        let (seized, is_seized) = channel();
        // A thread of its own: only the one that traces may go on to, and the test has more to do.
        let looking = thread::spawn(move || {
            let main_thread = Pid::from_raw(pid.try_into().unwrap());
            ptrace::seize(main_thread, Options::PTRACE_O_TRACEEXIT).unwrap();
            seized.send(()).unwrap();
            wait_for_exit(main_thread);
            // It stands still already, and a signal to stop would not reach it any more.
            let scan = Scanner::of(&[KEY]).scan_standing(pid);
            scan.assert_whole();
            let input = fs::read_link(format!("/proc/{pid}/fd/0")).unwrap();
            ptrace::detach(main_thread, None).unwrap();
            Seen { scan, input }
        });
        is_seized.recv().unwrap();
        Self { looking }
    }

    fn is_over(&self) -> bool {
        self.looking.is_finished()
    }

    fn seen(self) -> Seen {
        self.looking.join().unwrap()
    }
}

/// Hands signals on until the thread is about to end.
fn wait_for_exit(thread: Pid) {
    let deadline = Instant::now() + LIMIT;
    loop {
        match waitpid(thread, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG)).unwrap() {
            WaitStatus::PtraceEvent(_, _, libc::PTRACE_EVENT_EXIT) => return,
            WaitStatus::PtraceEvent(..) => ptrace::cont(thread, None).unwrap(),
            WaitStatus::Stopped(_, signal) => ptrace::cont(thread, signal).unwrap(),
            WaitStatus::StillAlive => {
                assert!(Instant::now() < deadline, "it did not end");
                thread::sleep(PAUSE);
            }
            status => panic!("{status:?} without a stop at its end"),
        }
    }
}

/// Ends a proxy while a stream runs that would never end by itself.
#[derive(Clone, Copy, Debug)]
enum End {
    Sigterm,
    SigtermTwice,
    DrainTimeout,
    HttpShutdown,
    ShutdownNow,
}

impl End {
    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::DrainTimeout => &["--drain-timeout", "100ms"],
            Self::HttpShutdown => &["--http-shutdown"],
            _ => &[],
        }
    }

    /// What is to be seen at the end. Where the client does not leave by itself, it stays until then.
    fn come_to(self, watched: &Watched, stream: Client, look: LastLook) -> Seen {
        let proxy = &watched.proxy;
        match self {
            Self::Sigterm => {
                drop(stream); // The proxy waits for nothing else.
                proxy.signal(Signal::SIGTERM);
            }
            Self::SigtermTwice => {
                // As often as it takes: one that comes at once is the echo of the first.
                let deadline = Instant::now() + LIMIT;
                while !look.is_over() {
                    assert!(Instant::now() < deadline, "it does not end");
                    proxy.signal(Signal::SIGTERM);
                    thread::sleep(10 * PAUSE);
                }
            }
            Self::DrainTimeout => proxy.signal(Signal::SIGTERM),
            Self::HttpShutdown => {
                drop(stream);
                assert_eq!(proxy.ask("GET /shutdown", &[], b"").status, 200);
            }
            Self::ShutdownNow => {
                let mut answer = Lines::post(&watched.control_socket, "/v1/shutdown?now=1");
                assert_eq!(answer.status, 200);
                while answer.next().is_some() {} // It tells how far it is, until the end.
            }
        }
        look.seen()
    }
}

/// A proxy with one copy of its key, in a locked page, and a stream through it.
fn start(upstream: &MockUpstream, flags: &[&str]) -> (Watched, Client) {
    let watched = Watched::start_without(&[NO_SECRET_MEMORY], upstream, &[KEY], flags);
    assert!(watched.proxy.ready.contains("key in a locked page"), "{}", watched.proxy.ready);
    assert_eq!(watched.proxy.ask("POST /v1/responses", &[], b"{}").status, 200);
    upstream.script([Scenario::Silent]);
    let mut stream = watched.proxy.connect();
    stream.post();
    stream.until("event: response.created");
    let scan = watched.scan();
    assert_eq!(scan.found.len(), 1, "{scan}");
    (watched, stream)
}

/// Ends it, and checks that there is no copy of the key in its last moment.
fn is_wiped(mut watched: Watched, stream: Client, end: End) {
    let look = LastLook::at(watched.proxy.pid());
    let seen = end.come_to(&watched, stream, look);
    assert!(seen.scan.found.is_empty(), "{end:?}: {}", seen.scan);
    let (status, said) = watched.proxy.ended();
    assert_eq!(status.code(), Some(0), "{end:?}: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn however_it_is_stopped_the_page_is_wiped() {
    if !can_run(cannot_scan()) {
        return;
    }
    let upstream = tls_upstream(Scenario::Turn).await;
    for end in
        [End::Sigterm, End::SigtermTwice, End::DrainTimeout, End::HttpShutdown, End::ShutdownNow]
    {
        let (watched, stream) = start(&upstream, end.flags());
        is_wiped(watched, stream, end);
    }
}

/// The threads that write exchanges down know the key, too: to leave it out.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_writes_all_down_does_not_keep_the_page() {
    if !can_run(cannot_scan()) {
        return;
    }
    let upstream = tls_upstream(Scenario::Turn).await;
    for end in [End::Sigterm, End::SigtermTwice, End::ShutdownNow] {
        let folder = tempfile::tempdir().unwrap();
        let (dumps, log) = (folder.path().join("dumps"), folder.path().join("requests.jsonl"));
        let flags = ["--dump-dir", str(&dumps), "--log-file", str(&log)];
        let (watched, stream) = start(&upstream, &flags);
        is_wiped(watched, stream, end);
    }
}

/// Closing what a caller of the control socket has brought may take longer than the process lasts.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_hangs_does_not_keep_the_page() {
    if !can_run(cannot_scan().or_else(no_python)) {
        return;
    }
    let upstream = tls_upstream(Scenario::Turn).await;
    let nobody_reads = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = nobody_reads.local_addr().unwrap().port();
    for end in [End::Sigterm, End::ShutdownNow] {
        let (watched, stream) = start(&upstream, &[]);
        watched.proxy.signal(Signal::SIGSTOP);
        bring_what_lingers(&watched.control_socket, port);
        watched.proxy.signal(Signal::SIGCONT); // From here on any stop would end the wait.
        until_it_closes(watched.proxy.pid());
        is_wiped(watched, stream, end);
    }
}

/// Waits until a thread of the process is in close(2).
fn until_it_closes(pid: u32) {
    let closes = format!("{} ", libc::SYS_close);
    look_for("a thread that closes something", || {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let calls: Vec<String> = threads
            .filter_map(|thread| fs::read_to_string(thread.unwrap().path().join("syscall")).ok())
            .collect();
        if calls.iter().any(|call| call.starts_with(&closes)) { Ok(()) } else { Err(calls) }
    });
}

/// The key is read before server-info is written: a failure in between has something to wipe.
#[test]
fn a_start_that_fails_after_the_key_was_read_wipes_it() {
    if !can_run(cannot_scan()) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("file");
    fs::write(&blocked, "").unwrap();
    let path = blocked.join("server-info.json");
    let mut command = program();
    command.args(["--server-info", str(&path)]).stdin(Stdio::piped());
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = denied(&[NO_SECRET_MEMORY], || command.spawn().unwrap());
    // From its start on, hardening included, it must not be traced.
    until_it_listens(child.id());
    let look = LastLook::at(child.id());
    writeln!(child.stdin.take().unwrap(), "{KEY}").unwrap();
    let seen = look.seen();
    let output = child.wait_with_output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(str(&path)), "{said}");
    // It had been read: its pipe is gone by then.
    assert_eq!(seen.input, Path::new("/dev/null"));
    assert!(seen.scan.found.is_empty(), "{}", seen.scan);
}

/// Waits until the process has a socket: it opens one before it asks for the key.
fn until_it_listens(pid: u32) {
    look_for("a listener", || {
        let open = descriptors(pid);
        let is_socket =
            |(_, leads): &(u32, PathBuf)| leads.to_string_lossy().starts_with("socket:");
        if open.iter().any(is_socket) { Ok(()) } else { Err(open) }
    });
}

/// The stop in exit_group(2) shows memory as it was: a process that wipes nothing ends with what it had.
#[test]
fn a_process_that_wipes_nothing_is_seen_to_end_with_its_key() {
    if !can_run(cannot_scan()) {
        return;
    }
    let mut command = Command::new("sh"); // Keeps its arguments.
    command.args(["-c", "read line; exit 0", KEY]).stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let look = LastLook::at(child.id());
    drop(child.stdin.take());
    assert!(!look.seen().scan.found.is_empty());
    assert!(child.wait().unwrap().success());
}
