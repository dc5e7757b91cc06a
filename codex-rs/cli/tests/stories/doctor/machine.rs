//! A machine with one person on it, in a mount namespace of its own, and its screens without what varies.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use codex_mock_upstream::MockUpstream;

use crate::private_namespace;
use crate::support::*;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doctor_machine.sh");

/// Who lives there.
pub(super) const PERSON: &str = "tst_alice";
/// Accounts that no machine has. Each of ours has one for itself: processes are seen from all of them.
const ACCOUNTS: std::ops::Range<u32> = 61_400..61_800;

/// Ports that are root's alone, as a rule.
const LOW_PORTS: std::ops::Range<u16> = 600..1_000;

/// Dropped, it is gone, and with it all that was written there.
pub(super) struct Machine {
    /// The person's.
    pub(super) account: u32,
    holder: Child,
    _work: tempfile::TempDir,
}

impl Machine {
    pub(super) fn missing() -> Option<String> {
        let programs = ["unshare", "nsenter", "setpriv"];
        private_namespace::missing(&programs).or_else(|| {
            let first = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
            let first: u16 = fs::read_to_string(first).ok()?.trim().parse().ok()?;
            let missing =
                "ports that are root's alone: sysctl net.ipv4.ip_unprivileged_port_start=1024";
            (first < LOW_PORTS.end).then(|| missing.to_owned())
        })
    }

    /// With the certificate authority of this upstream in /etc/company-ca.pem.
    pub(super) fn make(upstream: &MockUpstream) -> Self {
        let work = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let given = work.path().join("given");
        fs::create_dir(&given).unwrap();
        fs::write(given.join("authority.pem"), upstream.authority_pem().unwrap()).unwrap();
        let account = ACCOUNTS.start + number_of_ours() % (ACCOUNTS.end - ACCOUNTS.start);
        let mut holder = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "bash", SCRIPT])
            .env("WORK", work.path())
            .env("BUILT", crate::PROXY.0)
            .env("PERSON", PERSON)
            .env("ACCOUNT", account.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let machine = Self { account, holder, _work: work };
        assert_eq!(line, "ready\n", "the machine was not made: its standard error says why");
        machine
    }

    /// A file or a folder there, as it is seen from here.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.holder.id()))
    }

    /// A file of the person's.
    pub(super) fn put(&self, path: &str, content: &str, mode: u32) {
        let path = self.path(path);
        fs::write(&path, content).unwrap();
        self.give(path, mode);
    }

    /// A folder of the person's.
    pub(super) fn put_folder(&self, path: &str, mode: u32) {
        let path = self.path(path);
        fs::create_dir(&path).unwrap();
        self.give(path, mode);
    }

    /// All that lies in these folders, in order: what each is, whose, and when it was changed.
    pub(super) fn listed(&self, folders: &[&str]) -> Vec<String> {
        let mut command = self.as_root("find");
        command.args(folders).args(["-printf", "%p %i %m %u %g %s %T@ %C@\\n"]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let mut lines: Vec<String> = text(&output.stdout).lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    fn give(&self, path: PathBuf, mode: u32) {
        chown(&path, Some(self.account), Some(self.account)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// A program there, run by root in a bare environment.
    pub(super) fn as_root(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.holder.id().to_string(), "--mount", "--", program]);
        command.env_clear().stdin(Stdio::null());
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin").env("TERM", "dumb");
        command
    }

    /// The same, run by the person.
    pub(super) fn as_person(&self, program: &str) -> Command {
        let mut command = self.as_root("setpriv");
        let account = self.account.to_string();
        command.args(["--reuid", &account, "--regid", &account, "--init-groups", program]);
        command.env("HOME", "/home/alice");
        command.env("XDG_RUNTIME_DIR", format!("/run/user/{account}"));
        command
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Another one for each that asks.
fn number_of_ours() -> u32 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    // Tests run in threads of one process, or each in a process of its own.
    std::process::id() + GIVEN.fetch_add(1, Ordering::Relaxed)
}

/// One of [`LOW_PORTS`] that is free, and that no test beside this one is given.
pub(super) fn low_port() -> u16 {
    let skipped = usize::try_from(number_of_ours()).unwrap() % LOW_PORTS.len();
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    LOW_PORTS.cycle().skip(skipped).take(LOW_PORTS.len()).find(is_free).unwrap()
}

/// The upstream's port.
pub(super) fn port_of(upstream: &MockUpstream) -> String {
    let url = upstream.responses_url();
    let authority = url.split('/').nth(2).unwrap();
    authority.split(':').nth(1).unwrap().to_owned()
}

/// A screen as the guide shows it: the numbers of this run are others, and the person is alice.
pub(super) fn as_in_the_guide(
    screen: &str,
    upstream: &MockUpstream,
    numbers: &[(u32, &str)],
) -> String {
    let upstream = format!("127.0.0.1:{}", port_of(upstream));
    let screen = screen.replace(PERSON, "alice").replace(&upstream, "api.openai.com");
    let screen = screen.replace(env!("CARGO_PKG_VERSION"), "X.Y.Z");
    let mut shown = String::new();
    let mut rest = screen.as_str();
    while let Some(at) = rest.find(|letter: char| letter.is_ascii_digit()) {
        let (before, from) = rest.split_at(at);
        let end = from.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(from.len());
        let (number, after) = from.split_at(end);
        shown.push_str(before);
        let known = numbers.iter().find(|(known, _)| *number == known.to_string());
        shown.push_str(match known {
            Some((_, written)) => written,
            None if before.ends_with("pid ") || before.ends_with("process ") => "17",
            None if after.starts_with(" ms") => "5",
            None => number,
        });
        rest = after;
    }
    shown.push_str(rest);
    shown
}

#[test]
fn a_screen_in_the_guide_has_none_of_this_runs_numbers() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let upstream = runtime.block_on(upstream(codex_mock_upstream::Scenario::Turn));
    let url = upstream.responses_url();
    let expected = "pid 17 on port 999 as alice (uid 1000) in 5 ms to http://api.openai.com/v1/responses, 999 (0 looked at)";
    let screen = format!(
        "pid 4711 on port 612 as {PERSON} (uid 61401) in 23 ms to {url}, 612 (0 looked at)"
    );
    let shown = as_in_the_guide(&screen, &upstream, &[(612, "999"), (61_401, "1000")]);
    assert_eq!(shown, expected);
}
