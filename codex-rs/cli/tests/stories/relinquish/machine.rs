//! A machine with an account that has sudo and another administrator, in a mount namespace of its own; and the judge, who
//! knows nothing of how sudo was given up and says only which ways to it are open.

use std::fs;
use std::io::{BufRead, BufReader};
use std::iter::once;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::private_namespace;
use crate::support::*;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/relinquish_machine.sh");

/// Who gives sudo up.
pub(super) const PERSON: &str = "tst_u";
/// Another administrator.
pub(super) const OTHER: &str = "tst_other";
/// Accounts that no machine has. Each of ours has one for itself: processes are seen from all of them.
const ACCOUNTS: std::ops::Range<u32> = 61_800..62_200;

/// The machine's groups that lead to root, or may.
pub(super) const SUDO: u32 = 27;
pub(super) const OPS: u32 = 62_203;
pub(super) const DOCKER: u32 = 62_204;

/// Dropped, it is gone, and with it all that was written there.
pub(super) struct Machine {
    /// The person's.
    pub(super) account: u32,
    holder: Child,
    _work: tempfile::TempDir,
}

/// How `relinquish-sudo` ended.
pub(super) struct Ended {
    pub(super) code: Option<i32>,
    pub(super) shown: String,
    pub(super) said: String,
}

impl Machine {
    pub(super) fn missing() -> Option<String> {
        let programs = ["sudo", "visudo", "cvtsudoers", "deluser", "gpasswd", "setpriv"];
        let ours = ["unshare", "nsenter", "setsid", "script"];
        private_namespace::missing(&[&programs[..], &ours[..]].concat())
    }

    /// A machine, if there can be one here.
    pub(super) fn here() -> Option<Self> {
        can_run(Self::missing().as_deref()).then(Self::make)
    }

    fn make() -> Self {
        static GIVEN: AtomicU32 = AtomicU32::new(0);
        // Tests run in threads of one process, or each in a process of its own.
        let number = std::process::id() + GIVEN.fetch_add(1, Ordering::Relaxed);
        let account = ACCOUNTS.start + number % (ACCOUNTS.end - ACCOUNTS.start);
        let work = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut holder = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "bash", SCRIPT])
            .env("WORK", work.path())
            .env("BUILT", crate::PROXY.0)
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

    /// Lines of the machine's script, run there before a case begins.
    pub(super) fn lay(&self, lines: &str) {
        self.ask(&["lay", lines]);
    }

    /// All there as at the beginning.
    pub(super) fn reset(&self) {
        self.ask(&["reset"]);
    }

    /// What one of the script's functions says.
    pub(super) fn ask(&self, words: &[&str]) -> String {
        let output = self.call(words).output().unwrap();
        let said = text(&output.stderr);
        assert!(output.status.success(), "{words:?} ended with {}: {said}", output.status);
        text(&output.stdout)
    }

    fn call(&self, words: &[&str]) -> Command {
        let mut command = self.as_root("bash");
        command.arg("/mnt/machine.sh").args(words);
        command
    }

    /// The ways to sudo that are open to the account, also when it has got hold of these groups.
    pub(super) fn judge(&self, groups: &[u32]) -> Vec<String> {
        self.judged("can_become_root", groups, false)
    }

    /// The first of them.
    pub(super) fn judge_first(&self, groups: &[u32]) -> Option<String> {
        self.judged("can_become_root", groups, true).pop()
    }

    /// The same, with nothing but the account part of PAM to say no.
    pub(super) fn judge_pam_alone(&self, groups: &[u32]) -> Vec<String> {
        self.judged("passes_pam", groups, false)
    }

    fn judged(&self, how: &str, groups: &[u32], first: bool) -> Vec<String> {
        let numbers: Vec<String> =
            once(&self.account).chain(groups).map(ToString::to_string).collect();
        let mut words = vec![how];
        words.extend(numbers.iter().map(String::as_str));
        let mut command = self.call(&words);
        if first {
            command.env("FIRST", "1");
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "the judge failed: {}", text(&output.stderr));
        text(&output.stdout).lines().map(str::to_owned).collect()
    }

    /// All of /etc, a line for each entry and each content.
    pub(super) fn etc(&self) -> Vec<String> {
        self.ask(&["fingerprint"]).lines().map(str::to_owned).collect()
    }

    /// A file or a folder there, as it is seen from here.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.holder.id()))
    }

    pub(super) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub(super) fn drop_in(&self) -> PathBuf {
        self.path(&format!("/etc/sudoers.d/zzzz-codex-{}", self.account))
    }

    /// The command under test, run by root without a terminal.
    pub(super) fn relinquish(&self, flags: &[&str]) -> Ended {
        self.relinquish_with("/usr/local/bin/codex", flags)
    }

    /// The same with a copy of the program.
    pub(super) fn relinquish_with(&self, program: &str, flags: &[&str]) -> Ended {
        let mut command = self.as_root("setsid");
        command.args(["--wait", program, "proxy", "relinquish-sudo"]).args(flags);
        let output = command.output().unwrap();
        let (shown, said) = (text(&output.stdout), text(&output.stderr));
        Ended { code: output.status.code(), shown, said }
    }

    /// As a script would run it that agrees to all.
    pub(super) fn give_up(&self) -> Ended {
        let agreed = ["--yes-relinquish", PERSON, "--end-processes", "--json"];
        self.relinquish(&[&["--user", PERSON][..], &agreed[..]].concat())
    }

    /// What it would do.
    pub(super) fn plan(&self) -> Value {
        let ended = self.relinquish(&["--user", PERSON, "--plan", "--json"]);
        let plan = ended.json();
        assert_eq!((ended.code, &plan["result"]), (Some(0), &Value::from("planned")), "{ended:?}");
        plan
    }

    /// A program there, run by root in a bare environment.
    pub(super) fn as_root(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        let holder = self.holder.id().to_string();
        command.args(["--target", &holder, "--mount", "--wd=/", "--", program]);
        command.env_clear().stdin(Stdio::null());
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        command.env("PATH", path).env("TERM", "dumb");
        command
    }

    /// A program there, run by the person with these groups besides the own one.
    pub(super) fn as_person(&self, groups: &[u32], program: &str) -> Command {
        let mut command = self.as_root("setpriv");
        let account = self.account.to_string();
        let all = once(&self.account).chain(groups).map(ToString::to_string);
        let groups = all.collect::<Vec<_>>().join(",");
        command.args(["--reuid", &account, "--regid", &account, "--groups", &groups]);
        command.args(["--reset-env", program]);
        command
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

impl std::fmt::Debug for Ended {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "code {:?}\n{}\n{}", self.code, self.shown, self.said)
    }
}

impl Ended {
    /// What a program reads of it.
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.shown).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// All was well, and it says so.
    pub(super) fn assert_gone(&self) -> Value {
        let report = self.json();
        assert_eq!((self.code, &report["result"]), (Some(0), &Value::from("gone")), "{self:?}");
        assert_eq!((&report["error"], open(&report)), (&Value::Null, vec![]), "{self:?}");
        assert!(report["evidence"].is_object(), "gone without evidence: {self:?}");
        report
    }

    /// It did nothing, and says why.
    pub(super) fn assert_refused(&self) -> Value {
        let report = self.json();
        let result = report["result"].as_str().unwrap_or_default();
        assert_eq!(self.code, Some(1), "{self:?}");
        assert!(["refused", "failed"].contains(&result), "{self:?}");
        for part in ["message", "hint"] {
            let words = report["error"][part].as_str().unwrap_or_default();
            assert!(!words.is_empty(), "a refusal without a {part}: {self:?}");
        }
        report
    }
}

/// The ids of what a report says is still open.
pub(super) fn open(report: &Value) -> Vec<&str> {
    let list = report["open"].as_array().unwrap_or_else(|| panic!("no list `open` in {report:#}"));
    list.iter().map(|finding| finding["check"].as_str().unwrap()).collect()
}

/// All findings of this check, wherever they stand in a report.
pub(super) fn found<'a>(report: &'a Value, check: &str) -> Vec<&'a Value> {
    match report {
        Value::Object(fields) if fields.get("check").is_some_and(|id| id == check) => vec![report],
        Value::Object(fields) => fields.values().flat_map(|part| found(part, check)).collect(),
        Value::Array(parts) => parts.iter().flat_map(|part| found(part, check)).collect(),
        _ => vec![],
    }
}

/// One of the findings of this check names this.
pub(super) fn assert_found(report: &Value, check: &str, part: &str) {
    let findings = found(report, check);
    let is_named = findings.iter().any(|finding| finding.to_string().contains(part));
    assert!(is_named, "no {check} with {part:?}: {report:#}");
}

/// Waits for something to come true, and fails with these words where it does not.
pub(super) fn wait_until(words: &str, mut is_true: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_true() {
        assert!(began.elapsed() < LIMIT, "{words}: not so after {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What lies in /etc of the host, as far as any of this could have touched it.
pub(super) fn host_files() -> Vec<(PathBuf, Vec<u8>)> {
    let folders = ["/etc/sudoers.d", "/etc/pam.d"].map(|folder| fs::read_dir(folder).unwrap());
    let inside = folders.into_iter().flatten().map(|entry| entry.unwrap().path());
    let names = ["sudoers", "group", "gshadow", "passwd", "shadow", "nsswitch.conf", "hosts"];
    let files = names.map(|name| PathBuf::from("/etc").join(name));
    let mut all: Vec<PathBuf> = inside.chain(files).filter(|path| path.is_file()).collect();
    all.sort();
    all.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}
