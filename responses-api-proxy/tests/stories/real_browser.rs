//! Pages in a real Chromium that try to use the proxy, and to stop it: none succeeds.
//!
//! The pages are `tests/real_browser.html` under several names. What the browser itself would
//! refuse is let through, so that every attempt arrives, and it is the proxy that refuses it: each
//! has to leave its record before the page goes on to the next.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use codex_mock_upstream::Scenario;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::support::*;

/// A browser takes its time to start where much else runs.
const BROWSER_LIMIT: Duration = Duration::from_secs(60);

const PAGE: &str = include_str!("../real_browser.html");

/// What a page tries, in this order, and the request that then comes to the proxy.
const ATTEMPTS: [(&str, &str); 12] = [
    ("fetch no-cors", "POST /v1/responses"),
    ("fetch text", "POST /v1/responses"),
    (FETCH_JSON, "POST /v1/responses"),
    ("fetch redirected", "POST /v1/responses"),
    ("beacon", "POST /v1/responses"),
    ("form", "POST /v1/responses"),
    ("form of a sandbox", "POST /v1/responses"),
    ("WebSocket", "GET /v1/responses"),
    ("image", "GET /shutdown"),
    ("fetch without Referer", "GET /shutdown"),
    ("frame", "GET /shutdown"),
    ("window", "GET /shutdown"),
];

/// The one before which a browser asks whether a page of another origin may.
const FETCH_JSON: &str = "fetch JSON";

#[tokio::test(flavor = "multi_thread")]
async fn no_page_in_a_browser_reaches_the_upstream_or_stops_the_proxy() {
    if !can_run(missing()) {
        return;
    }
    let upstream = upstream(Scenario::Turn).await;
    let (visitors, visits) = channel();
    let elsewhere = Pages::serve(&visitors);
    let before = Pages::serve(&visitors);
    let (other, port) = (elsewhere.port, before.port);

    // Where a page is from, the name that it calls the proxy by, and why it is refused.
    let pages = [
        // Any page in the web.
        (format!("evil.test:{other}"), format!("127.0.0.1:{port}"), "foreign_origin"),
        (format!("evil.test:{other}"), format!("localhost:{port}"), "foreign_host"),
        // Another program of this machine: for a browser the same site.
        (format!("127.0.0.1:{other}"), format!("127.0.0.1:{port}"), "foreign_origin"),
        // Left open by a program that had the port before: the same origin.
        (format!("127.0.0.1:{port}"), format!("127.0.0.1:{port}"), "foreign_origin"),
        (format!("localhost:{port}"), format!("localhost:{port}"), "foreign_host"),
        // DNS rebinding: what the page's own name stands for has changed since it was loaded.
        (format!("rebound.test:{port}"), format!("rebound.test:{port}"), "foreign_host"),
    ];
    let mut frames = String::new();
    for (number, (page, target, _)) in pages.iter().enumerate() {
        frames += &format!(
            r#"<iframe src="http://{page}/page?page={number}&target={target}&reports=http://127.0.0.1:{other}"></iframe>"#
        );
    }
    let _browser = Browser::open(&format!("http://evil.test:{other}/"));
    let mut waiting: [Option<Visit>; 6] = Default::default();
    while waiting.iter().any(Option::is_none) {
        let report = Report::next(&visits, &frames);
        assert_eq!(report.attempt, "ready");
        waiting[report.page] = Some(report.visit);
    }

    drop(before);
    let mut proxy = Proxy::start(&upstream, &["--http-shutdown", "--port", &port.to_string()]);
    for (number, (page, target, code)) in pages.iter().enumerate() {
        waiting[number].take().unwrap().answer("200 OK", "", "");
        for (attempt, request) in ATTEMPTS {
            let report = Report::next(&visits, &frames);
            assert_eq!((report.page, report.attempt.as_str()), (number, attempt));
            let asks_first = attempt == FETCH_JSON && page != target;
            let request = if asks_first { "OPTIONS /v1/responses" } else { request };
            proxy.line_with(&format!("refused 403 {code} {request} "));
            if attempt == FETCH_JSON {
                // A page of the same origin can even read what it is told.
                let told = if asks_first { "TypeError".to_owned() } else { format!("403 {code}") };
                assert_eq!(report.saw, told, "{page}");
            }
            report.visit.answer("200 OK", "", "");
        }
        let report = Report::next(&visits, &frames);
        assert_eq!((report.page, report.attempt.as_str()), (number, "done"));
        report.visit.answer("200 OK", "", "");
    }

    assert_eq!(upstream.counts().connections, 0);
    assert_eq!(proxy.ask("POST /v1/responses", &[], b"{}").status, 200, "it still serves");
    let said = proxy.stop();
    let refused = said.lines().filter(|line| line.contains(" refused 403 foreign_"));
    let asked = refused.filter(|line| !line.contains(" GET /favicon.ico ")).count();
    assert_eq!(asked, pages.len() * ATTEMPTS.len(), "a record for each: {said}");
}

/// For the browser, a link that another program opens is like an address that a person types: its
/// request has no `Origin` and `Sec-Fetch-Site: none`, wherever redirects lead it.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_in_a_mail_that_redirects_to_the_proxy_does_not_stop_it() {
    if !can_run(missing()) {
        return;
    }
    let upstream = upstream(Scenario::Turn).await;
    let mut proxy = Proxy::start(&upstream, &["--http-shutdown"]);
    let (visitors, visits) = channel();
    let elsewhere = Pages::serve(&visitors);
    let link = format!("/redirect?http://127.0.0.1:{}/shutdown", proxy.port);
    let _browser = Browser::open(&format!("http://evil.test:{}{link}", elsewhere.port));
    let visit = visits.recv_timeout(BROWSER_LIMIT).unwrap();
    assert_eq!(visit.target, link);
    assert!(visit.serve("").is_none());
    proxy.line_with("refused 403 foreign_origin GET /shutdown ");
    assert_eq!(proxy.ask("POST /v1/responses", &[], b"{}").status, 200, "it still serves");
}

fn missing() -> Option<&'static str> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::env::split_paths(&path).any(|folder| folder.join("chromium").exists());
    (!installed).then_some(
        "Chromium is not installed: run `apt-get install --no-install-recommends chromium`",
    )
}

/// A Chromium without a window, and with a home of its own. Dropped, all its processes are killed.
struct Browser {
    child: Child,
    said: Receiver<Vec<u8>>,
    /// Dropped last: its processes write to it.
    _home: TempDir,
}

impl Browser {
    const FLAGS: [&str; 11] = [
        "--headless",
        "--no-sandbox", // Root can't have it, and the pages are ours.
        "--no-first-run",
        "--disable-dev-shm-usage", // Containers have little of it.
        // Nothing leaves this machine.
        "--no-proxy-server",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--host-resolver-rules=MAP evil.test 127.0.0.1, MAP rebound.test 127.0.0.1, MAP * ~NOTFOUND, \
         EXCLUDE 127.0.0.1, EXCLUDE localhost",
        // It is the proxy that has to refuse.
        "--disable-popup-blocking",
        "--disable-features=LocalNetworkAccessChecks,LocalNetworkAccessChecksWebSockets,\
         LocalNetworkAccessForNavigations,LocalNetworkAccessForSubframeNavigations,\
         LocalNetworkAccessForWorkers",
    ];

    fn open(url: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut child = Command::new("chromium")
            .args(Self::FLAGS)
            .arg(format!("--user-data-dir={}", str(&home.path().join("profile"))))
            .arg(url)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", home.path())
            .env("TMPDIR", home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut pipe = child.stderr.take().unwrap();
        let (end, said) = channel();
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = pipe.read_to_end(&mut bytes);
            end.send(bytes)
        });
        Self { child, said, _home: home }
    }
}

impl Drop for Browser {
    #[expect(clippy::print_stderr, reason = "why a browser failed, only it can say")]
    fn drop(&mut self) {
        let _ = killpg(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGKILL);
        let _ = self.child.wait();
        // They all share its standard error: at its end the last of them is gone.
        let said = self.said.recv_timeout(LIMIT).unwrap_or_default();
        if thread::panicking() {
            eprintln!("Chromium said: {}", text(&said));
        }
    }
}

/// A server on a port of 127.0.0.1; who comes is for the test to answer. Dropped, it closes all of
/// its connections too, so that the browser has to make new ones to whoever has the port then.
struct Pages {
    port: u16,
    listener: TcpListener,
    accepting: Option<JoinHandle<Vec<TcpStream>>>,
}

impl Pages {
    fn serve(visitors: &Sender<Visit>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (incoming, visitors) = (listener.try_clone().unwrap(), visitors.clone());
        let accepting = thread::spawn(move || {
            let mut streams = Vec::new();
            for stream in incoming.incoming().map_while(Result::ok) {
                streams.push(stream.try_clone().unwrap());
                // A thread for each: a browser also makes connections that it may never use.
                let visitors = visitors.clone();
                thread::spawn(move || Visit::read(stream).map(|visit| visitors.send(visit)));
            }
            streams
        });
        Self { port, listener, accepting: Some(accepting) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        let _ = socket2::SockRef::from(&self.listener).shutdown(Shutdown::Both); // Ends `accept`.
        let streams = self.accepting.take().and_then(|accepting| accepting.join().ok());
        for stream in streams.into_iter().flatten() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// A request that waits for its answer.
struct Visit {
    target: String,
    body: Vec<u8>,
    stream: TcpStream,
}

impl Visit {
    fn read(stream: TcpStream) -> Option<Self> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let target = line.split(' ').nth(1)?.to_owned();
        let mut length = 0;
        loop {
            let mut field = String::new();
            reader.read_line(&mut field).ok()?;
            let field = field.trim_end().to_lowercase();
            if field.is_empty() {
                break;
            }
            if let Some(value) = field.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        Some(Self { target, body, stream })
    }

    /// `field` is empty or ends with its line.
    fn answer(mut self, status: &str, field: &str, body: &str) {
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/html\r\nAccess-Control-Allow-Origin: *\r\n\
             Connection: close\r\nContent-Length: {}\r\n{field}\r\n",
            body.len()
        );
        let _ = self.stream.write_all((head + body).as_bytes()); // The browser may have left.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Answers unless it is a report.
    fn serve(self, frames: &str) -> Option<Report> {
        let target = self.target.clone();
        match target.split_once('?').unwrap_or((&target, "")) {
            ("/", _) => self.answer("200 OK", "", frames),
            ("/page", _) => self.answer("200 OK", "", PAGE),
            ("/redirect", url) => {
                self.answer("307 Temporary Redirect", &format!("Location: {url}\r\n"), "");
            }
            ("/report", _) => return Some(Report::of(self)),
            _ => self.answer("404 Not Found", "", ""),
        }
        None
    }
}

/// What a page has tried, and what came of it. The page waits for an answer.
struct Report {
    page: usize,
    attempt: String,
    saw: String,
    visit: Visit,
}

impl Report {
    fn of(visit: Visit) -> Self {
        let document: serde_json::Value = serde_json::from_slice(&visit.body).unwrap();
        let word = |name: &str| document[name].as_str().unwrap().to_owned();
        let page = document["page"].as_u64().unwrap().try_into().unwrap();
        Self { page, attempt: word("attempt"), saw: word("saw"), visit }
    }

    /// Serves the browser until one of its pages reports.
    fn next(visits: &Receiver<Visit>, frames: &str) -> Self {
        loop {
            if let Some(report) = visits.recv_timeout(BROWSER_LIMIT).unwrap().serve(frames) {
                return report;
            }
        }
    }
}
