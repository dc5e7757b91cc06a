//! An operator has everything dumped that goes by, and finds all of it there but the key.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine};
use codex_mock_upstream::Scenario;
use nix::unistd::geteuid;
use serde_json::{Value, json};

use crate::support::*;

/// A folder that does not exist yet, and neither does the one around it.
fn dump_dir() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/dumps");
    (folder, path)
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

/// The documents in the order of their names. They are all that is there, for their account alone, and show
/// nothing of the key.
fn documents(dump_dir: &Path) -> Vec<Value> {
    assert_eq!(mode(dump_dir), 0o700);
    let mut paths: Vec<PathBuf> =
        fs::read_dir(dump_dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut documents = Vec::new();
    for path in paths {
        assert!(str(&path).ends_with(".json"), "{path:?} is left over");
        assert_eq!(mode(&path), 0o600);
        let text = fs::read_to_string(&path).unwrap();
        for at in 0..=KEY.len() - 8 {
            assert!(!text.contains(&KEY[at..at + 8]), "{} is in {text}", &KEY[at..at + 8]);
        }
        documents.push(serde_json::from_str(&text).unwrap());
    }
    documents
}

/// The values of a field of a request or an answer.
fn values(side: &Value, name: &str) -> Vec<String> {
    let fields = side["headers"].as_array().unwrap().iter();
    let named = fields.filter(|pair| pair[0] == name);
    named.map(|pair| pair[1].as_str().unwrap().to_owned()).collect()
}

/// Looks until there is something to see: what the proxy does for itself, no answer tells of.
fn look_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} never came");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_exchange_is_a_file_with_all_that_went_by() {
    let upstream = tls_upstream(Scenario::Turn).await;
    upstream.script([Scenario::Turn, Scenario::Json, Scenario::Gzip]);
    let (_folder, dump_dir) = dump_dir();
    let proxy = Proxy::start(&upstream, &["--dump-dir", str(&dump_dir)]);
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let mut answers = Vec::new();
    for number in 0..3 {
        let body = format!(r#"{{"model":"é☃","number":{number}}}"#);
        let request = client.post(proxy.url()).header("x-odd", number).body(body);
        let answer = request.header("cookie", "a=secret").send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answers.push(answer.bytes().await.unwrap());
    }
    let port = proxy.port;
    proxy.stop();

    let documents = documents(&dump_dir);
    assert_eq!(documents.len(), 3);
    for (number, document) in documents.iter().enumerate() {
        let (request, answer) = (&document["request"], &document["answer"]);
        let started_at = document["started_at"].as_str().unwrap();
        assert!(humantime::parse_rfc3339(started_at).is_ok(), "{started_at}");
        let uid = &document["uid"];
        assert!(*uid == geteuid().as_raw() || uid.is_null(), "{uid}");
        assert_eq!(request["method"], "POST");
        assert_eq!(request["path"], "/v1/responses");
        assert_eq!(values(request, "host"), [format!("127.0.0.1:{port}")]);
        assert_eq!(values(request, "x-odd"), [number.to_string()]);
        assert_eq!(values(request, "cookie"), ["[hidden]"]);
        let body = format!(r#"{{"model":"é☃","number":{number}}}"#);
        let bytes = body.len();
        let expected =
            json!({ "encoding": "text", "data": body, "bytes": bytes, "truncated": false });
        assert_eq!(request["body"], expected);

        assert_eq!(answer["status"], 200);
        assert_eq!(values(answer, "content-type").len(), 1, "{answer}");
        let body = &answer["body"];
        assert_eq!(body["truncated"], false);
        assert_eq!(body["bytes"], answers[number].len());
        let data = body["data"].as_str().unwrap();
        if number == 2 {
            assert_eq!(body["encoding"], "base64");
            assert_eq!(BASE64_STANDARD.decode(data).unwrap(), answers[number]);
        } else {
            assert_eq!(body["encoding"], "text");
            assert_eq!(data, text(&answers[number]));
        }
        assert_eq!(document["outcome"], "completed");
        assert_eq!(document["reason"], Value::Null);
    }
    assert_eq!(mode(dump_dir.parent().unwrap()), 0o700);
}

/// An upstream that sends the key that it was sent back, in a field and in two pieces of a body.
fn echoing_upstream() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1/responses", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut got = Vec::new();
            let mut chunk = [0; 4_096];
            while !contains(&got, b"\r\n0\r\n\r\n") {
                let count = stream.read(&mut chunk).unwrap_or(0);
                if count == 0 {
                    break;
                }
                got.extend_from_slice(&chunk[..count]);
            }
            assert!(contains(&got, format!("Bearer {KEY}").as_bytes()));
            let (begin, end) = KEY.split_at(13);
            let length = KEY.len() + 4;
            let head = format!(
                "HTTP/1.1 401 Unauthorized\r\nX-Your-Key: {KEY}!\r\nContent-Length: {length}\r\n\r\n"
            );
            let _ = stream.write_all(format!("{head}<<{begin}").as_bytes());
            let _ = stream.write_all(format!("{end}>>").as_bytes());
        }
    });
    url
}

/// A client or an upstream that knows the key can't have it written down.
#[test]
fn the_key_is_masked_wherever_it_stands() {
    let (_folder, dump_dir) = dump_dir();
    let proxy = Proxy::start_for(&echoing_upstream(), &["--dump-dir", str(&dump_dir)]);
    let mut client = proxy.connect();
    let odd = format!("X-Odd: a {KEY} b");
    let bearer = format!("Authorization: Bearer {KEY}");
    let named = format!("X-{}: 1", &KEY[..9]);
    let fields: [&str; 6] = [
        "Transfer-Encoding: chunked",
        &odd,
        &bearer,
        &named,
        "Api-Key: secret",
        "X-Api-Key: secret",
    ];
    client.send_request("POST /v1/responses", &fields, b"");
    for character in format!("<{KEY}>").chars() {
        client.send(format!("1\r\n{character}\r\n"));
    }
    client.send("0\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status, contains(&answer.body, KEY.as_bytes())), (401, true));
    assert_eq!(proxy.ask(&format!("GET /{KEY}?{KEY}"), &[], b"").status, 403);
    proxy.stop();

    let documents = documents(&dump_dir); // Looks for the key.
    let document = &documents[0];
    let stars = "*".repeat(KEY.len());
    let (request, answer) = (&document["request"], &document["answer"]);
    assert_eq!(values(request, "x-odd"), [format!("a {stars} b")]);
    assert_eq!(request["body"]["data"], format!("<{stars}>"));
    assert_eq!(request["body"]["truncated"], false);
    for name in ["authorization", "api-key", "x-api-key"] {
        assert_eq!(values(request, name), ["[hidden]"], "{name}");
    }
    assert_eq!(values(answer, "x-your-key"), [format!("{stars}!")]);
    assert_eq!(answer["body"]["data"], format!("<<{stars}>>"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_field_that_the_key_stands_in_is_hidden_too() {
    let upstream = upstream(Scenario::Json).await;
    let (_folder, dump_dir) = dump_dir();
    let flags = ["--dump-dir", str(&dump_dir), "--auth-header", "X-Provider-Key"];
    let proxy = Proxy::start(&upstream, &flags);
    proxy.ask("POST /v1/responses", &["X-Provider-Key: mine"], b"{}");
    proxy.stop();
    assert_eq!(values(&documents(&dump_dir)[0]["request"], "x-provider-key"), ["[hidden]"]);
}

#[test]
fn an_upstream_that_is_down_leaves_a_file_without_an_answer() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (_folder, dump_dir) = dump_dir();
    let url = format!("http://{free}/v1/responses");
    let proxy = Proxy::start_for(&url, &["--dump-dir", str(&dump_dir)]);
    assert_eq!(proxy.ask("POST /v1/responses", &[], b"{}").status, 502);
    proxy.stop();
    let documents = documents(&dump_dir);
    let [document] = documents.as_slice() else { panic!("{documents:?}") };
    assert_eq!(document["answer"], Value::Null);
    assert_eq!(document["outcome"], "upstream_failed");
    assert_eq!(document["reason"], "upstream_unreachable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_and_a_cut_are_told_apart() {
    let upstream = upstream(Scenario::Silent).await;
    upstream.script([Scenario::Silent, Scenario::Cut { events: 2 }]);
    let (_folder, dump_dir) = dump_dir();
    let mut proxy = Proxy::start(&upstream, &["--dump-dir", str(&dump_dir)]);
    let mut client = proxy.connect();
    client.post();
    client.until("event: response.created");
    drop(client);
    proxy.line_with("client_left");
    let mut client = proxy.connect();
    client.post();
    let _ = client.read_to_end();
    proxy.line_with("upstream_cut");
    proxy.stop();
    let documents = documents(&dump_dir);
    assert_eq!(documents.len(), 2);
    for (document, end) in
        documents.iter().zip([json!(["client_left", null]), json!(["cut", "upstream_cut"])])
    {
        assert_eq!(json!([document["outcome"], document["reason"]]), end);
        assert_eq!(document["request"]["body"]["truncated"], false);
        let body = &document["answer"]["body"];
        assert_eq!(body["truncated"], true);
        assert!(body["data"].as_str().unwrap().starts_with("event: response.created\n"), "{body}");
    }
}

/// A body of any length is on its way to the disk while it goes by, under a name that says so.
#[tokio::test(flavor = "multi_thread")]
async fn what_goes_by_is_written_at_once() {
    let upstream = upstream(Scenario::Gated).await;
    let (_folder, dump_dir) = dump_dir();
    let proxy = Proxy::start(&upstream, &["--dump-dir", str(&dump_dir)]);
    let mut client = proxy.connect();
    client.post();
    upstream.release(1);
    client.until("event: response.created");
    let part = look_for("the event's dump", || {
        let path = fs::read_dir(&dump_dir).unwrap().next()?.unwrap().path();
        let is_there = fs::read_to_string(&path).unwrap().contains("event: response.created");
        is_there.then_some(path)
    });
    assert!(str(&part).ends_with(".json.part"), "{part:?}");
    assert_eq!(mode(&part), 0o600);
    upstream.release(20);
    client.until("\r\n0\r\n\r\n");
    let whole = part.with_extension("");
    look_for("the whole dump", || whole.exists().then_some(()));
    assert!(!part.exists());
    proxy.stop();
    assert_eq!(documents(&dump_dir).len(), 1);
}

#[test]
fn a_folder_that_is_not_for_this_account_alone_ends_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for (name, bits) in [("real", 0o700), ("open", 0o755)] {
        fs::create_dir(path(name)).unwrap();
        fs::set_permissions(path(name), fs::Permissions::from_mode(bits)).unwrap();
    }
    symlink(path("real"), path("link")).unwrap();
    fs::write(path("file"), "").unwrap();
    let server_info = path("server-info.json");
    for (name, expected, remedy) in [
        ("link", "it is a link", "name the folder itself"),
        ("link/", "it is a link", "name the folder itself"),
        ("file", "a file stands where a folder should", "does not exist yet"),
        ("open", "open to other accounts (mode 755)", "chmod 700"),
        ("file/new", "a file stands where a folder should", "does not exist yet"),
    ] {
        let dump_dir = format!("{}/{name}", folder.path().display());
        let flags = ["--dump-dir", &dump_dir, "--server-info", str(&server_info)];
        let output = run(&flags, KEY.as_bytes());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.starts_with("error: ") && said.contains(expected), "{said}");
        assert!(said.contains(dump_dir.trim_end_matches('/')), "{said}");
        let hint = said.lines().find(|line| line.starts_with("hint: ")).unwrap();
        assert!(hint.contains(remedy), "{said}");
        assert!(!said.contains("ready: ") && !server_info.exists(), "{said}");
    }
    assert_eq!(mode(&path("open")), 0o755, "somebody's folder was changed");
    assert_eq!(fs::read_dir(path("real")).unwrap().count(), 0);
}

/// A full disk, or what looks like one: no file may grow over the limit (RLIMIT_FSIZE, EFBIG).
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_ends_dumping_and_not_serving() {
    let upstream = upstream(Scenario::Echo).await;
    let (_folder, dump_dir) = dump_dir();
    let script = r#"trap "" XFSZ; ulimit -f 8; exec "$0" "$@""#;
    let mut command = clean(Command::new("sh"));
    command.args(["-c", script, crate::PROXY.0]).args(crate::PROXY.1);
    command.args(["--upstream-url", &upstream.responses_url(), "--dump-dir", str(&dump_dir)]);
    let mut proxy = Proxy::spawn(&mut command);
    assert_eq!(proxy.ask("POST /v1/responses", &[], b"{}").status, 200);
    look_for("the first dump", || {
        let path = fs::read_dir(&dump_dir).unwrap().next()?.unwrap().path();
        str(&path).ends_with(".json").then_some(())
    });
    // One that goes on while the disk is full.
    upstream.script([Scenario::Gated]);
    let mut streaming = proxy.connect();
    streaming.post();
    upstream.release(1);
    streaming.until("event: response.created");

    let body = vec![b'x'; 100 << 10];
    let answer = proxy.ask("POST /v1/responses", &[], &body);
    assert!(text(&answer.body).contains(&format!(r#""received_bytes":{}"#, body.len())));
    let line = proxy.line_with("nothing more is dumped to");
    assert!(line.contains(str(&dump_dir)) && line.contains("File too large"), "{line}");
    assert!(line.contains("requests are served as before"), "{line}");

    upstream.release(20);
    streaming.until("event: response.completed");
    streaming.until("\r\n0\r\n\r\n");
    for _ in 0..3 {
        let answer = proxy.ask("POST /v1/responses", &[], &body);
        assert!(text(&answer.body).contains(&format!(r#""received_bytes":{}"#, body.len())));
    }
    upstream.script([Scenario::Flood { mebibytes: 5 }]);
    let mut client = proxy.connect();
    client.post();
    assert!(client.discard() > 5 << 20);
    let said = proxy.stop();
    assert_eq!(said.matches("nothing more is dumped").count(), 1, "{said}");

    let documents = documents(&dump_dir); // Nothing that is not complete is left there.
    let [document] = documents.as_slice() else { panic!("{documents:?}") };
    assert_eq!(document["request"]["body"]["data"], "{}");
}
