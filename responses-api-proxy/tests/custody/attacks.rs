//! Every way that Linux has into another process, tried on a running proxy: by its account, another, root.
//!
//! The ways themselves are in `attacks.py`, a program such as an attacker would bring.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use codex_mock_upstream::{MockUpstream, Scenario};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use tempfile::TempDir;

use crate::control_client::look_for;
use crate::denied::{NO_SECRET_MEMORY, denied};
use crate::scanner::{Scanner, cannot_scan};
use crate::support::*;

const SCRIPT: &str = include_str!("attacks.py");

/// Accounts that need not exist: a uid is enough to start a process.
const OWN_UID: u32 = 61_235;
const OTHER_UID: u32 = 61_236;

/// What lies open in a process that does nothing about it, to its own account.
const OPEN_IN_A_PLAIN_PROCESS: [&str; 13] = [
    "mem",
    "maps",
    "environ",
    "auxv",
    "fd, its names",
    "fd 0 to 20, opened",
    "pidfd_getfd of 0 to 20",
    "ptrace attach, each thread",
    "ptrace seize, each thread",
    "process_vm_readv",
    "process_vm_writev",
    "root/etc/passwd",
    "gcore",
];

/// As gdb does it by itself, and with nothing left out.
const GCORE_FLAGS: [&[&str]; 2] = [&[], &["-a"]];

/// What came of each attack, as `attacks.py` says it.
type Outcomes = BTreeMap<String, String>;

/// As root, a process of this account; else of our own.
fn as_account(command: &mut Command, uid: u32) -> &mut Command {
    if geteuid().is_root() { command.uid(uid).gid(uid) } else { command }
}

/// The script, for any account: a version manager's python3 lies in a home that is closed to others.
fn script(arguments: &[&str]) -> Command {
    let system = "/usr/bin/python3";
    let mut command = Command::new(if Path::new(system).exists() { system } else { "python3" });
    command.args(["-I", "-c", SCRIPT]).args(arguments);
    command
}

fn attack(uid: u32, arguments: &[&str]) -> Outcomes {
    outcomes(as_account(script(arguments).stdin(Stdio::null()), uid))
}

fn outcomes(command: &mut Command) -> Outcomes {
    let output = command.output().unwrap();
    let said = text(&output.stdout);
    serde_json::from_str(&said).unwrap_or_else(|error| {
        panic!("{error}: {said:?} {}", text(&output.stderr));
    })
}

fn no_python() -> Option<&'static str> {
    let is_missing = script(&[]).stderr(Stdio::null()).status().is_err();
    is_missing.then_some("python3 is not there: apt-get install python3")
}

fn no_tools() -> Option<&'static str> {
    let no_gdb = Command::new("gcore").output().is_err();
    no_python().or(no_gdb.then_some("gdb is not there: apt-get install gdb"))
}

/// How much the kernel refuses whatever a process does for itself: from 1 on to accounts, at 3 to root (Yama,
/// in the kernel's guide for administrators).
fn yama() -> u8 {
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").ok();
    scope.map_or(0, |scope| scope.trim().parse().unwrap())
}

/// Why attacks by an account would show nothing here.
fn no_attacks() -> Option<&'static str> {
    let missing =
        "Yama refuses what the proxy itself is to refuse: sysctl kernel.yama.ptrace_scope=0";
    no_tools().or((yama() >= 1).then_some(missing))
}

/// The same for root's.
fn no_attacks_by_root() -> Option<&'static str> {
    let missing = "not even root may trace a process: start the kernel anew without \
        kernel.yama.ptrace_scope=3";
    cannot_scan().or(no_tools()).or((yama() >= 3).then_some(missing))
}

/// A folder that every account may write to: core files would be left there.
fn open_folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    folder
}

fn names(folder: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(folder.path()).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// A proxy of this account, in a folder where it may leave files; and where its program lies.
struct Target {
    proxy: Proxy,
    folder: TempDir,
    _program: TempDir,
}

impl Target {
    fn start(uid: u32, upstream: &MockUpstream) -> Self {
        let (program, folder) = (tempfile::tempdir().unwrap(), open_folder());
        let mut command = clean(Command::new(program_for_all(program.path())));
        command.args(crate::PROXY.1).args(["--upstream-url", &upstream.responses_url()]);
        command.current_dir(folder.path());
        let proxy = Proxy::spawn(as_account(&mut command, uid));
        Self { proxy, folder, _program: program }
    }

    fn pid(&self) -> String {
        self.proxy.pid().to_string()
    }
}

/// The control: a process that holds a key and protects nothing.
struct Victim {
    child: Child,
    folder: TempDir,
}

impl Victim {
    fn start() -> Self {
        let folder = open_folder();
        let mut command = script(&["victim", KEY]);
        command.current_dir(folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = as_account(&mut command, OWN_UID).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self { child, folder }
    }

    fn pid(&self) -> String {
        self.child.id().to_string()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How long the longest copy of a part of the key is that stands in a file, in bytes.
fn longest_copy(file: &Path) -> usize {
    let found = Scanner::of(&[KEY]).search(&fs::read(file).unwrap());
    found.iter().map(|found| found.length).max().unwrap_or(0)
}

/// Whatever runs as the proxy's own account is kept out as much as a stranger, while the key is in use.
#[tokio::test(flavor = "multi_thread")]
async fn no_way_leads_into_a_running_proxy() {
    if !can_run(no_attacks()) {
        return;
    }
    let upstream = upstream(Scenario::Silent).await;
    let own = Target::start(OWN_UID, &upstream);
    let mut client = own.proxy.connect();
    client.post();
    client.until("event: response.created");
    let mut tried = vec![("its own account", attack(OWN_UID, &["try", &own.pid()]))];
    if geteuid().is_root() {
        tried.push(("another account", attack(OTHER_UID, &["try", &own.pid()])));
        let roots = Target::start(0, &upstream);
        tried.push(("another account, root's proxy", attack(OTHER_UID, &["try", &roots.pid()])));
    }
    for (who, outcomes) in tried {
        let kept_out =
            |outcome: &str| outcome.starts_with("refused: ") || outcome.starts_with("absent: ");
        let open: Vec<_> = outcomes.iter().filter(|(_, outcome)| !kept_out(outcome)).collect();
        assert!(open.is_empty(), "{who}: {open:#?}");
        for way in OPEN_IN_A_PLAIN_PROCESS {
            assert!(outcomes[way].starts_with("refused: E"), "{who}: {way}: {}", outcomes[way]);
        }
    }
    // And it was not disturbed.
    upstream.script([Scenario::Turn]);
    assert_eq!(own.proxy.ask("POST /v1/responses", &[], b"{}").status, 200);
}

/// The control of the test above.
#[test]
fn the_same_ways_lead_into_a_plain_process_of_the_same_account() {
    if !can_run(no_attacks()) {
        return;
    }
    let victim = Victim::start();
    let outcomes = attack(OWN_UID, &["try", &victim.pid()]);
    for way in OPEN_IN_A_PLAIN_PROCESS {
        assert!(outcomes[way].starts_with("open: "), "{way}: {}", outcomes[way]);
    }
    if geteuid().is_root() {
        assert!(attack(OTHER_UID, &["try", &victim.pid()])["mem"].starts_with("refused: "));
    }
}

/// A signal that ends it is something that its account may send. It leaves nothing behind.
#[tokio::test(flavor = "multi_thread")]
async fn no_signal_makes_it_leave_a_core_file() {
    let (_, hard) = getrlimit(Resource::RLIMIT_CORE).unwrap();
    let missing = "core files are forbidden here: raise `ulimit -Hc`";
    if !can_run(no_python().or((hard == 0).then_some(missing))) {
        return;
    }
    setrlimit(Resource::RLIMIT_CORE, hard, hard).unwrap(); // Inherited by the proxies.
    let upstream = upstream(Scenario::Turn).await;
    for signal in [Signal::SIGABRT, Signal::SIGSEGV, Signal::SIGILL] {
        let mut own = Target::start(OWN_UID, &upstream);
        assert_eq!(own.proxy.ask("POST /v1/responses", &[], b"{}").status, 200);
        if geteuid().is_root() {
            let stranger = attack(OTHER_UID, &["signal", &own.pid(), signal.as_str()]);
            assert_eq!(stranger["signal"], "refused: EPERM");
        }
        // The runtime's own handler takes the first SIGSEGV, for a stack overflow that is none; and two that wait are one.
        look_for("its end", || {
            let sent = attack(OWN_UID, &["signal", &own.pid(), signal.as_str()]);
            assert_eq!(sent["signal"], "open: sent"); // Also to one that has ended and is not waited for yet.
            let stat = fs::read_to_string(format!("/proc/{}/stat", own.pid())).unwrap();
            if stat.contains(") Z ") { Ok(()) } else { Err(stat) }
        });
        let (status, said) = own.proxy.ended();
        assert_eq!(status.signal(), Some(signal as i32), "{said}");
        assert!(!status.core_dumped(), "{signal}");
        assert!(names(&own.folder).is_empty(), "{signal}: {:?}", names(&own.folder));
    }

    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let is_elsewhere = pattern.trim().is_empty() || pattern.contains(['|', '/', '%']);
    let missing = "a core file would not be left where the control looks for one: \
        sysctl kernel.core_pattern=core";
    if !can_run(is_elsewhere.then_some(missing)) {
        return;
    }
    let mut victim = Victim::start();
    attack(OWN_UID, &["signal", &victim.pid(), "SIGABRT"]);
    assert!(victim.child.wait().unwrap().core_dumped());
    let left = names(&victim.folder);
    let [core] = left.as_slice() else { panic!("{left:?}") };
    assert_eq!(longest_copy(&victim.folder.path().join(core)), KEY.len());
}

/// What memfd_secret(2) means: there is an address, and nothing to read at it.
#[tokio::test(flavor = "multi_thread")]
async fn root_reads_any_page_but_the_keys() {
    if !can_run(no_attacks_by_root()) {
        return;
    }
    let upstream = tls_upstream(Scenario::Turn).await;
    let proxy = Proxy::start(&upstream, &[]);
    let missing = "this kernel has no memfd_secret(2): it needs Linux 5.14, and secretmem.enable=1";
    if !can_run((!proxy.ready.contains("key in memfd_secret")).then_some(missing)) {
        return;
    }
    assert_eq!(proxy.ask("POST /v1/responses", &[], b"{}").status, 200);
    let scan = Scanner::of(&[KEY]).scan(proxy.pid());
    scan.assert_whole();
    assert!(scan.found.is_empty(), "{scan}");
    let outcomes = attack(0, &["secret", &proxy.pid().to_string()]);
    for (way, expected) in [
        ("stack: mem", "open: "),
        ("stack: process_vm_readv", "open: "),
        ("stack: ptrace peek", "open: "),
        ("secret page: mem", "refused: EIO"),
        ("secret page: process_vm_readv", "refused: EFAULT"),
        ("secret page: ptrace peek", "refused: EIO"),
        ("secret page: map_files", "refused: "),
    ] {
        assert!(outcomes[way].starts_with(expected), "{way}: {}", outcomes[way]);
    }
}

/// gdb can be told to leave nothing out. That shows the key to root in the fallback, not with memfd_secret.
#[tokio::test(flavor = "multi_thread")]
async fn a_core_file_that_root_makes_with_a_debugger_has_no_key_in_it() {
    if !can_run(no_attacks_by_root()) {
        return;
    }
    let upstream = upstream(Scenario::Turn).await;
    let proxy = Proxy::start(&upstream, &[]);
    let in_locked_page = denied(&[NO_SECRET_MEMORY], || Proxy::start(&upstream, &[]));
    let all = KEY.len();
    let is_secret = proxy.ready.contains("key in memfd_secret");
    for (proxy, expected) in
        [(&proxy, [0, if is_secret { 0 } else { all }]), (&in_locked_page, [0, all])]
    {
        assert_eq!(proxy.ask("POST /v1/responses", &[], b"{}").status, 200);
        let found = GCORE_FLAGS.map(|flags| {
            let folder = tempfile::tempdir().unwrap();
            let (prefix, pid) = (folder.path().join("core"), proxy.pid().to_string());
            let output = Command::new("gcore")
                .args(flags)
                .args(["-o", str(&prefix), &pid])
                .output()
                .unwrap();
            let core = folder.path().join(format!("core.{pid}"));
            assert!(core.exists(), "{}{}", text(&output.stdout), text(&output.stderr));
            longest_copy(&core)
        });
        assert_eq!(found, expected, "{}", proxy.ready);
    }
}
