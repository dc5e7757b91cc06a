//! The key goes to the upstream's Authorization field and nowhere else.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use codex_mock_upstream::Scenario;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::geteuid;

use crate::support::*;

/// An account that need not exist: a uid is enough to start a process.
const ORDINARY_UID: u32 = 61_235;

/// As root, proxy and attacker become one ordinary account: root may read anything.
fn as_ordinary_account(command: &mut Command) -> &mut Command {
    if geteuid().is_root() { command.uid(ORDINARY_UID).gid(ORDINARY_UID) } else { command }
}

/// The program where any account may run it: a build folder may be closed to others.
fn copied_program(folder: &Path) -> Command {
    let copy = folder.join("proxy");
    copy_program(&copy);
    for path in [folder, &copy] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    clean(Command::new(copy))
}

fn reads(pid: u32, file: &str) -> bool {
    let output =
        as_ordinary_account(Command::new("head").args(["-c1", &format!("/proc/{pid}/{file}")]))
            .output()
            .unwrap();
    output.status.success()
}

/// Defect 11, its first half: any process of the same account reads the key from memory.
#[tokio::test(flavor = "multi_thread")]
async fn its_own_account_cannot_look_into_the_proxy() {
    let upstream = upstream(Scenario::Turn).await;
    let folder = tempfile::tempdir().unwrap();
    let mut command = copied_program(folder.path());
    command.args(["--upstream-url", &upstream.responses_url()]).env("LD_BIND_NOW", "1");
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard / 2, hard).unwrap(); // Inherited by the proxy.
    let proxy = Proxy::spawn(as_ordinary_account(&mut command));
    assert_eq!(proxy.ask("POST /v1/responses", &[], b"{}").status, 200);

    let mut control = as_ordinary_account(Command::new("sleep").arg("60")).spawn().unwrap();
    let control_is_readable = reads(control.id(), "environ") && reads(control.id(), "maps");
    control.kill().unwrap();
    control.wait().unwrap();
    assert!(control_is_readable, "this account can't even read its own processes");
    for file in ["mem", "maps", "environ", "auxv"] {
        assert!(!reads(proxy.pid(), file), "/proc/PID/{file} is open");
    }

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
    let program = copied_program(folder.path());
    let mut command = clean(Command::new("sh"));
    command.args(["-c", r#"ulimit -l 0; echo key-1234 | "$0""#]).arg(program.get_program());
    let output = as_ordinary_account(&mut command).output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("could not be locked") && said.contains("hint: "), "{said}");
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

/// All that can be read of a process's memory, by root.
fn memory(pid: u32) -> Vec<Vec<u8>> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    maps.lines()
        .filter_map(|line| {
            let (range, rest) = line.split_once(' ')?;
            let (begin, end) = range.split_once('-')?;
            let begin = u64::from_str_radix(begin, 16).ok()?;
            let end = u64::from_str_radix(end, 16).ok()?;
            let mut bytes = vec![0; usize::try_from(end - begin).ok()?];
            let readable = rest.starts_with('r') && memory.read_exact_at(&mut bytes, begin).is_ok();
            readable.then_some(bytes)
        })
        .collect()
}

/// The recipe: the buffer that the key was read into is wiped, and the one copy is locked.
#[tokio::test(flavor = "multi_thread")]
async fn before_the_first_request_the_key_stands_once_in_memory_and_is_locked() {
    let missing = "it reads another process's memory: run the tests as root";
    if !can_run((!geteuid().is_root()).then_some(missing)) {
        return;
    }
    let upstream = upstream(Scenario::Turn).await;
    let proxy = Proxy::start(&upstream, &[]);
    let memory = memory(proxy.pid());
    let copies = |part: &[u8]| -> usize {
        memory
            .iter()
            .map(|region| region.windows(part.len()).filter(|found| *found == part).count())
            .sum()
    };
    assert_eq!(copies(KEY.as_bytes()), 1);
    // Neither is a part of it left anywhere else.
    assert_eq!((copies(&KEY.as_bytes()[..16]), copies(&KEY.as_bytes()[KEY.len() - 16..])), (1, 1));
    let status = fs::read_to_string(format!("/proc/{}/status", proxy.pid())).unwrap();
    let locked = status.lines().find(|line| line.starts_with("VmLck:")).unwrap();
    assert!(!locked.ends_with(" 0 kB"), "{locked}");
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
    for part in KEY.as_bytes().windows(8) {
        assert!(!contains(&written, part), "{} is in {}", text(part), text(&written));
    }
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
