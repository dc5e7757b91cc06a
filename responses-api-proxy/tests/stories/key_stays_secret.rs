//! The key goes to the upstream's Authorization field and nowhere else.

use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::Command;

use codex_mock_upstream::Scenario;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::geteuid;

use crate::support::*;

/// An account that need not exist: a uid is enough to start a process.
const ORDINARY_UID: u32 = 61_235;

/// As root, an ordinary account: no limit keeps root from locking memory.
fn as_ordinary_account(command: &mut Command) -> &mut Command {
    if geteuid().is_root() { command.uid(ORDINARY_UID).gid(ORDINARY_UID) } else { command }
}

/// Defect 11, its first half: any process of the same account reads the key from memory. What an attacker tries then is
/// in `tests/custody`.
#[tokio::test(flavor = "multi_thread")]
async fn it_is_hardened_before_it_has_the_key() {
    let upstream = upstream(Scenario::Turn).await;
    let mut command = program();
    command.args(["--upstream-url", &upstream.responses_url()]).env("LD_BIND_NOW", "1");
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard / 2, hard).unwrap(); // Inherited by the proxy.
    let proxy = Proxy::spawn(&mut command);
    let limits = fs::read_to_string(format!("/proc/{}/limits", proxy.pid())).unwrap();
    let limit = |name: &str| -> Vec<String> {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].split_whitespace().take(2).map(str::to_owned).collect()
    };
    assert_eq!(limit("Max core file size"), ["0", "0"]);
    let files = limit("Max open files");
    assert_eq!(files[0], files[1], "the soft limit of open files is below the hard one");
    let warned =
        proxy.said.iter().any(|line| line.contains("taken out of the environment: LD_BIND_NOW"));
    assert!(warned, "{:?}", proxy.said);
}

/// A key that could be written to swap is not taken.
#[test]
fn memory_that_cannot_be_locked_ends_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let program = program_for_all(folder.path());
    let mut command = clean(Command::new("sh"));
    command.args(["-c", r#"ulimit -l 0; echo key-1234 | "$0""#]).arg(program);
    let output = as_ordinary_account(&mut command).output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("could not be locked") && said.contains("hint: "), "{said}");
    assert!(said.contains("--allow-unlocked-key"), "{said}");
    assert!(!said.contains("ready"), "{said}");
}

/// A process that was traced from its first instruction does not go on to read a key.
#[cfg(target_os = "linux")]
#[test]
fn a_proxy_under_a_debugger_does_not_start() {
    use nix::sys::ptrace;
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::Pid;
    use std::process::Stdio;

    let mut command = program();
    command.stdin(Stdio::piped()).stderr(Stdio::piped());
    #[expect(unsafe_code, reason = "only the child itself can ask to be traced from execve(2) on")]
    // SAFETY: between fork and exec the closure makes one system call and allocates nothing.
    unsafe {
        command.pre_exec(|| ptrace::traceme().map_err(Into::into))
    };
    let mut traced = command.spawn().unwrap();
    let pid = Pid::from_raw(traced.id().try_into().unwrap());
    // It stops where execve(2) has succeeded, and goes on with its tracer attached.
    assert!(matches!(waitpid(pid, None).unwrap(), WaitStatus::Stopped(..)));
    ptrace::cont(pid, None).unwrap();
    let mut said = String::new();
    traced.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(traced.wait().unwrap().code(), Some(1));
    let expected = format!("error: process {} traces this one", nix::unistd::gettid());
    assert!(said.starts_with(&expected) && said.contains("hint: "), "{said}");
}

/// However an exchange ends, nothing that we write shows eight bytes of the key.
#[tokio::test(flavor = "multi_thread")]
async fn no_answer_line_or_file_shows_the_key() {
    let upstream = upstream(Scenario::Turn).await;
    let (_folder, path) = server_info();
    let flags = ["--server-info", str(&path), "--max-body", "1KiB", "--header-timeout", "100ms"];
    let proxy = Proxy::start(&upstream, &flags);
    let mut written = Vec::new();
    upstream.script([
        Scenario::Turn,
        Scenario::Hang,
        Scenario::Close,
        Scenario::Cut { events: 2 },
        Scenario::Echo,
    ]);
    for _ in 0..5 {
        let mut client = proxy.connect();
        client.send_request("POST /v1/responses", &["Connection: close"], b"{}");
        let _ = client.read_to_end();
        written.append(&mut client.got);
    }
    // A client that knows the key can't make us write it down.
    for line in
        [format!("GET /{KEY}"), format!("GET /v1/x{}", &KEY[3..30]), format!("{} /", &KEY[..7])]
    {
        let answer = proxy.ask(&line, &[], b"");
        written.extend(answer.head.into_bytes().into_iter().chain(answer.body));
    }
    // Nor a long line.
    let long = "A".repeat(30_000);
    assert_eq!(proxy.ask(&format!("{long} /{long}"), &[], b"").status, 403);
    written.extend(proxy.ask("POST /v1/responses", &["Origin: x"], b"{}").body);
    written.extend(proxy.ask("POST /v1/responses", &[], &[b'x'; 2_048]).body);
    written.extend(fs::read(&path).unwrap());
    written.extend(fs::read(format!("/proc/{}/cmdline", proxy.pid())).unwrap());
    let said = proxy.stop();
    assert!(said.contains("[key]") && said.contains("upstream_timeout"), "{said}");
    assert!(said.lines().all(|line| line.len() < 400), "{said}");
    written.extend(said.into_bytes());
    assert_not_shown(KEY, &written);
}

/// A client can't have the key placed anywhere but in the upstream's Authorization field.
#[tokio::test(flavor = "multi_thread")]
async fn the_key_stands_in_one_field_of_the_upstreams_request() {
    let upstream = upstream(Scenario::Json).await;
    let proxy = Proxy::start(&upstream, &[]);
    let fields = [
        "Authorization: Bearer mine",
        "Authorization: Basic x",
        "Proxy-Authorization: y",
        "Connection: authorization",
    ];
    assert_eq!(proxy.ask("POST /v1/responses", &fields, b"Authorization: ").status, 200);
    let seen = upstream.seen();
    let [request] = seen.as_slice() else { panic!("{seen:?}") };
    let bearers: Vec<_> = request.headers.get_all("authorization").iter().collect();
    assert_eq!(bearers, [format!("Bearer {KEY}").as_str()]);
    for (name, value) in &request.headers {
        let holds_key = contains(value.as_bytes(), KEY.as_bytes());
        assert_eq!(holds_key, name == "authorization", "{name}");
    }
    assert!(!contains(&request.body, KEY.as_bytes()));
}
