//! The toolbox: a running proxy, and what it talks to.

// Named, because other programs' tests take this file from elsewhere.
#[path = "support/client.rs"]
mod client;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

pub(crate) use client::{Answer, Client};
use codex_mock_upstream::{Counts, MockUpstream, Options, Scenario};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The key of every test. No answer, line or file of the proxy's may show 8 bytes of it.
pub(crate) const KEY: &str = "sk-proj-0aZ9_-K3yUnderTest.7f~2+b/Qx==";

/// Longer than anything here takes: what is not there by then never comes.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// The proxy's program, without what cargo and this machine put into the environment.
pub(crate) fn program() -> Command {
    let (program, arguments) = crate::PROXY;
    let mut command = clean(Command::new(program));
    command.args(arguments);
    command
}

/// Copies the program. Another process does it: one that a test beside this one starts meanwhile would have our open copy,
/// and what is open for writing can't be run (ETXTBSY, execve(2)).
pub(crate) fn copy_program(to: &Path) {
    let copied = Command::new("cp").arg(crate::PROXY.0).arg(to).status().unwrap();
    assert!(copied.success());
}

/// The program where any account may run it: a build folder may be closed to others. Everybody may look into this folder
/// from now on.
pub(crate) fn program_for_all(folder: &Path) -> PathBuf {
    let program = folder.join("program");
    copy_program(&program);
    for path in [folder, &program] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    program
}

/// Takes away the variables that the proxy would warn about or believe.
pub(crate) fn clean(mut command: Command) -> Command {
    for name in [
        "LD_LIBRARY_PATH",
        "DYLD_FALLBACK_LIBRARY_PATH",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "CODEX_CA_CERTIFICATE",
        "HTTPS_PROXY",
        "https_proxy",
        "NO_PROXY",
        "no_proxy",
    ] {
        command.env_remove(name);
    }
    command
}

/// A proxy that has said that it is ready. Dropped, it is killed.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    pub(crate) ready: String,
    child: Child,
    stderr: Receiver<String>,
    pub(crate) said: Vec<String>,
}

impl Proxy {
    /// A proxy for `upstream`, trusting its authority.
    pub(crate) fn start(upstream: &MockUpstream, flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = program();
        command.args(["--upstream-url", &upstream.responses_url()]).args(flags);
        if let Some(pem) = upstream.authority_pem() {
            let file = folder.path().join("authority.pem");
            fs::write(&file, pem).unwrap();
            command.arg("--upstream-ca").arg(file);
        }
        Self::spawn(&mut command)
    }

    /// A proxy for a URL where something or nothing is.
    pub(crate) fn start_for(url: &str, flags: &[&str]) -> Self {
        Self::spawn(program().args(["--upstream-url", url]).args(flags))
    }

    pub(crate) fn spawn(command: &mut Command) -> Self {
        Self::spawn_with_key(command, KEY)
    }

    /// A proxy that gets this on its standard input.
    pub(crate) fn spawn_with_key(command: &mut Command, key: &str) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let _ = writeln!(child.stdin.take().unwrap(), "{key}"); // It may not want it.
        let (lines, stderr) = channel();
        let pipe = child.stderr.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                if lines.send(line).is_err() {
                    break;
                }
            }
        });
        let mut proxy = Self { port: 0, ready: String::new(), child, stderr, said: Vec::new() };
        proxy.ready = proxy.line_with("ready: ");
        let after = proxy.ready.split("http://127.0.0.1:").nth(1).unwrap();
        proxy.port = after.split('/').next().unwrap().parse().unwrap();
        proxy
    }

    /// Waits for a line on standard error.
    pub(crate) fn line_with(&mut self, part: &str) -> String {
        let deadline = Instant::now() + LIMIT;
        loop {
            match self.stderr.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.said.push(line.clone());
                    if line.contains(part) {
                        return line;
                    }
                }
                Err(_) => panic!("no line with {part:?} came; it said {:#?}", self.said),
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/v1/responses", self.port)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid().try_into().unwrap()), signal).unwrap();
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.port)
    }

    /// Sends a request of its own connection and takes the whole answer.
    pub(crate) fn ask(&self, line: &str, fields: &[&str], body: &[u8]) -> Answer {
        let mut client = self.connect();
        client.send_request(line, fields, body);
        client.answer()
    }

    /// Waits for the end of the process; returns how it ended and all that it said.
    pub(crate) fn ended(&mut self) -> (ExitStatus, String) {
        loop {
            match self.stderr.recv_timeout(LIMIT) {
                Ok(line) => self.said.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("it did not end; it said {:#?}", self.said)
                }
            }
        }
        (self.child.wait().unwrap(), self.said.join("\n"))
    }

    /// Closes the pipe that its standard error goes to.
    pub(crate) fn stop_listening(&mut self) {
        self.stderr = channel().1; // The reading thread ends at its next line, and the pipe with it.
        let _ = self.ask("GET /one-more-line", &[], b"");
    }

    /// Waits for the end of the process alone.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Ends it as an operator would; returns all that it said.
    pub(crate) fn stop(mut self) -> String {
        self.signal(Signal::SIGTERM);
        let (status, said) = self.ended();
        assert!(status.success(), "{status}: {said}");
        said
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a proxy said after the ready line, but for exchanges that completed and have no more to say.
pub(crate) fn failures(said: &str) -> Vec<&str> {
    let after = said.lines().skip_while(|line| !line.starts_with("ready: ")).skip(1);
    after.filter(|line| !line.contains(" completed ") || line.contains(" response_")).collect()
}

/// Runs the program to its end with this on its standard input.
pub(crate) fn run(flags: &[&str], input: &[u8]) -> Output {
    let mut child = program()
        .args(flags)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = child.stdin.take().unwrap().write_all(input); // It may not want all of it.
    child.wait_with_output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|found| found == part)
}

pub(crate) fn contains(bytes: &[u8], part: &[u8]) -> bool {
    find(bytes, part).is_some()
}

/// Checks that no 8 bytes of this key are in what somebody got to see.
pub(crate) fn assert_not_shown(key: &str, seen: &[u8]) {
    let shown = key.as_bytes().windows(8).any(|part| contains(seen, part));
    assert!(!shown, "a part of the key is in {:?}", text(seen));
}

/// The descriptors of a process, and where each leads. Only root can see them of a proxy.
pub(crate) fn descriptors(pid: u32) -> Vec<(u32, PathBuf)> {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let leads = |entry: fs::DirEntry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        Some((number, fs::read_link(entry.path()).ok()?))
    };
    open.filter_map(|entry| leads(entry.unwrap())).collect()
}

/// A mock that answers like this and expects [`KEY`].
pub(crate) async fn upstream(scenario: Scenario) -> MockUpstream {
    start(scenario, false).await
}

/// The same over TLS.
pub(crate) async fn tls_upstream(scenario: Scenario) -> MockUpstream {
    start(scenario, true).await
}

async fn start(scenario: Scenario, tls: bool) -> MockUpstream {
    let expected_key = Some(KEY.to_owned());
    MockUpstream::start(Options { tls, expected_key, scenario, ..Options::default() })
        .await
        .unwrap()
}

/// Waits until the mock's counts are like this.
pub(crate) async fn until(upstream: &MockUpstream, reached: impl FnMut(&Counts) -> bool) -> Counts {
    match tokio::time::timeout(LIMIT, upstream.until(reached)).await {
        Ok(counts) => counts,
        Err(_) => panic!("the upstream never came to that: {:?}", upstream.counts()),
    }
}

/// A folder and a path in it for a server-info file.
pub(crate) fn server_info() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server-info.json");
    (folder, path)
}

pub(crate) fn str(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Whether a test can run. `missing` says what is not there and how to get it; in CI that is a failure.
#[expect(clippy::print_stderr, reason = "a test that did not run must say so")]
pub(crate) fn can_run(missing: Option<&str>) -> bool {
    let Some(missing) = missing else { return true };
    let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(!in_ci, "CI must run this test: {missing}");
    eprintln!("not run: {missing}");
    false
}
