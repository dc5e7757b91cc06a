//! A running proxy, and clients that speak HTTP by hand where the wire matters.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use codex_mock_upstream::{Counts, MockUpstream, Options, Scenario};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use socket2::{Domain, Socket, Type};

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
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        writeln!(child.stdin.take().unwrap(), "{KEY}").unwrap();
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

/// A connection on which requests are written by hand.
pub(crate) struct Client {
    stream: TcpStream,
    port: u16,
    /// All bytes that have arrived.
    pub(crate) got: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(port: u16) -> Self {
        Self::of(TcpStream::connect(("127.0.0.1", port)).unwrap(), port)
    }

    /// Whose socket takes about so many bytes before they are read.
    pub(crate) fn connect_with_buffer(port: u16, bytes: usize) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(bytes / 2).unwrap(); // The kernel doubles it (socket(7)).
        socket.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into()).unwrap();
        Self::of(socket.into(), port)
    }

    pub(crate) fn of(stream: TcpStream, port: u16) -> Self {
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, port, got: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// A request on which only what matters to the test has to be said: `Host` and, for a body,
    /// `Content-Length` are added unless they are there.
    pub(crate) fn send_request(&mut self, line: &str, fields: &[&str], body: &[u8]) {
        self.try_send_request(line, fields, body).unwrap();
    }

    /// The same where the proxy may close the connection before all of it is sent.
    pub(crate) fn try_send_request(
        &mut self,
        line: &str,
        fields: &[&str],
        body: &[u8],
    ) -> std::io::Result<()> {
        let mut head = format!("{line} HTTP/1.1\r\n");
        let says = |name: &str| fields.iter().any(|field| field.to_lowercase().starts_with(name));
        if !says("host:") {
            head += &format!("Host: 127.0.0.1:{}\r\n", self.port);
        }
        if !body.is_empty() && !says("content-length:") && !says("transfer-encoding:") {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        for field in fields {
            head += &format!("{field}\r\n");
        }
        let mut request = (head + "\r\n").into_bytes();
        request.extend_from_slice(body);
        self.stream.write_all(&request)
    }

    /// An ordinary request whose answer will be streamed.
    pub(crate) fn post(&mut self) {
        self.send_request("POST /v1/responses", &[], br#"{"model":"m","stream":true}"#);
    }

    /// Reads on until this has arrived.
    pub(crate) fn until(&mut self, part: &str) {
        let mut chunk = [0; 4_096];
        while !contains(&self.got, part.as_bytes()) {
            let count = match self.stream.read(&mut chunk) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                read => read.unwrap(),
            };
            assert!(count > 0, "the connection ended before {part:?}: {:?}", text(&self.got));
            self.got.extend_from_slice(&chunk[..count]);
        }
    }

    /// Reads to the end of the connection, which may be a reset.
    pub(crate) fn read_to_end(&mut self) -> std::io::Result<()> {
        let ended = self.stream.read_to_end(&mut self.got).map(drop);
        if let Err(error) = &ended {
            assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "the connection did not end");
        }
        ended
    }

    /// Reads to the end of a chunked body without keeping it; returns how many bytes came.
    pub(crate) fn discard(&mut self) -> u64 {
        let mut total = 0;
        let mut chunk = vec![0; 1 << 20];
        while !self.got.ends_with(b"\r\n0\r\n\r\n") {
            let count = self.stream.read(&mut chunk).unwrap();
            assert!(count > 0, "the answer ended early");
            total += count as u64;
            self.got.extend_from_slice(&chunk[..count]);
            self.got.drain(..self.got.len().saturating_sub(16));
        }
        total
    }

    /// Reads one whole answer that has a length or none, or is chunked and small.
    pub(crate) fn answer(&mut self) -> Answer {
        self.until("\r\n\r\n");
        let head_end = find(&self.got, b"\r\n\r\n").unwrap() + 4;
        let head = text(&self.got[..head_end]);
        let field = |name: &str| {
            head.lines().find_map(|line| {
                line.to_lowercase().strip_prefix(name).map(|value| value.trim().to_owned())
            })
        };
        let body = if let Some(length) = field("content-length:") {
            let length: usize = length.parse().unwrap();
            while self.got.len() < head_end + length {
                let mut chunk = [0; 4_096];
                let count = self.stream.read(&mut chunk).unwrap();
                assert!(count > 0, "the answer ended early: {:?}", text(&self.got));
                self.got.extend_from_slice(&chunk[..count]);
            }
            self.got.drain(..head_end + length).skip(head_end).collect()
        } else if field("transfer-encoding:").is_some() {
            self.until("0\r\n\r\n");
            std::mem::take(&mut self.got).split_off(head_end)
        } else {
            self.got.drain(..head_end);
            Vec::new()
        };
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head, body }
    }

    /// Sends this while the test goes on; the proxy may not want all of it.
    pub(crate) fn send_meanwhile(&self, bytes: Vec<u8>) {
        let mut stream = self.stream.try_clone().unwrap();
        std::thread::spawn(move || stream.write_all(&bytes));
    }

    /// Sends until nothing more is taken.
    pub(crate) fn send_until_stuck(&mut self) {
        self.stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        while self.stream.write(&[b'x'; 1 << 16]).is_ok() {}
    }

    /// Keeps what is sent from now on until the sending side is closed.
    pub(crate) fn cork(&self) {
        socket2::SockRef::from(&self.stream).set_tcp_cork(true).unwrap();
    }

    /// Sends one byte out of band (MSG_OOB).
    pub(crate) fn send_urgent(&self) {
        assert_eq!(socket2::SockRef::from(&self.stream).send_out_of_band(b"!").unwrap(), 1);
    }

    pub(crate) fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }
}

/// An answer that was read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The code, message and type of an error of the proxy's own, whose shape is checked.
    pub(crate) fn error(&self) -> (String, String) {
        let document: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        let error = document["error"].as_object().unwrap();
        let names: Vec<&str> = error.keys().map(String::as_str).collect();
        assert_eq!(names, ["code", "message", "param", "type"], "{document}");
        assert!(error["param"].is_null());
        assert!(error["type"].as_str().unwrap().starts_with("proxy_"), "{document}");
        let code = error["code"].as_str().unwrap().to_owned();
        assert!(self.head.contains(&format!("x-codex-proxy-error: {code}\r\n")), "{}", self.head);
        (code, error["message"].as_str().unwrap().to_owned())
    }
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
