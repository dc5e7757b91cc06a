//! The operator looks at a running proxy through its control socket: all of it is seen, and nothing is changed.

mod accounts;
mod end;
mod fixture;
mod metrics;
mod open_folders;
mod places;
mod rotation;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{SystemTime, UNIX_EPOCH};

use codex_mock_upstream::Scenario;
use codex_proxy_client::ServerInfo;
use fixture::{Controlled, code, id, open_folder};
use serde_json::{Value, json};

use crate::control_client::{KEYS, gap, get, is_record, post};
use crate::support::*;

/// What the kernel tells everybody of a process: the rest of a line of `/proc/PID/FILE`.
fn kernel_says(pid: u32, file: &str, name: &str) -> String {
    let facts = fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
    let line = facts.lines().find(|line| line.starts_with(name)).unwrap();
    line[name.len()..].trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn status_says_what_is_true_of_the_process() {
    let upstream = tls_upstream(Scenario::Turn).await;
    let folder = open_folder();
    let (authority, info) =
        (folder.path().join("authority.pem"), folder.path().join("server-info.json"));
    fs::write(&authority, upstream.authority_pem().unwrap()).unwrap();
    let flags = ["--upstream-ca", str(&authority), "--server-info", str(&info)];
    let controlled = Controlled::start_for(&upstream.responses_url(), folder, &flags, &[]);
    let (proxy, status) = (&controlled.proxy, controlled.status());

    let info_says = ServerInfo::read(&info).unwrap();
    assert_eq!(info_says.control_socket.as_deref(), Some(controlled.socket.as_path()));
    assert_eq!(status["version"], info_says.version);
    assert_eq!(status["pid"], proxy.pid());
    assert_eq!(status["port"], proxy.port);
    assert_eq!(status["base_url"], format!("http://127.0.0.1:{}/v1", proxy.port));
    assert_eq!(status["instance"], info_says.instance);
    assert_eq!(status["started_at"], info_says.started_at);
    assert_eq!(status["uid"], nix::unistd::geteuid().as_raw());
    assert_eq!(status["listener_uid"], info_says.listener_uid);
    assert_eq!(status["starter_uid"], Value::Null);
    assert_eq!(status["state"], "serving");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let uptime = status["uptime_seconds"].as_u64().unwrap();
    assert!(info_says.started_at + uptime <= now + 1, "{uptime} s");

    let hardening = &status["hardening"];
    assert_eq!(hardening["dumpable"], false);
    assert_eq!(hardening["core_limit_bytes"], json!({ "soft": 0, "hard": 0 }));
    let limits = kernel_says(proxy.pid(), "limits", "Max core file size");
    assert_eq!(limits.split_whitespace().take(2).collect::<Vec<_>>(), ["0", "0"]);
    for (fact, name) in
        [("tracer_pid", "TracerPid:"), ("seccomp", "Seccomp:"), ("no_new_privs", "NoNewPrivs:")]
    {
        let number: u64 = kernel_says(proxy.pid(), "status", name).parse().unwrap();
        let expected = if fact == "no_new_privs" { json!(number == 1) } else { json!(number) };
        assert_eq!(hardening[fact], expected, "{fact}");
    }
    let capabilities = kernel_says(proxy.pid(), "status", "CapEff:");
    assert_eq!(hardening["effective_capabilities"], capabilities);

    let way = &status["upstream"];
    assert_eq!(way["url"], upstream.responses_url());
    assert_eq!(way["proxy"], Value::Null);
    assert_eq!(
        way["authorities"],
        json!([{ "path": str(&authority), "named_by": "--upstream-ca" }])
    );
    assert_eq!(way["key_field"], "Authorization: Bearer");
    let files = &status["files"];
    assert!(files["server_info"].as_array().unwrap().contains(&json!(str(&info))), "{files}");
    if nix::unistd::geteuid().is_root() {
        let standing = format!("/run/codex-responses-api-proxy/{}.json", proxy.port);
        let expected = json!([str(&info), standing]);
        assert_eq!(files["server_info"], expected, "the run folder always has one");
    }
    assert_eq!(files["control_socket"], str(&controlled.socket));
    assert_eq!((&files["log_file"], &files["dump_dir"]), (&Value::Null, &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn status_says_what_the_operator_chose_and_no_secret_of_it() {
    let ours = nix::unistd::geteuid().as_raw();
    let named = ours.to_string();
    let flags = [
        ["--upstream-proxy", "http://user:s3cret-1@127.0.0.1:9"],
        ["--auth-header", "api-key"],
        ["--allow-user", named.as_str()],
        ["--max-concurrent", "7"],
        ["--max-body", "1MiB"],
        ["--connect-timeout", "3s"],
        ["--header-timeout", "4s"],
        ["--drain-timeout", "5s"],
        ["--set-header", "X-Team: s3cret-2"],
        ["--forward-header", "Cookie"],
    ];
    let mut flags = flags.concat();
    flags.push("--http-shutdown");
    let url = "https://upstream.invalid/v1/responses";
    let controlled = Controlled::start_for(url, open_folder(), &flags, &[]);
    let status = controlled.status();
    let (way, policy) = (&status["upstream"], &status["policy"]);
    assert_eq!(way["url"], url);
    assert!(way["proxy"]["url"].as_str().unwrap().contains("127.0.0.1:9"), "{way}");
    assert_eq!(way["proxy"]["named_by"], "--upstream-proxy");
    assert!(way["key_field"].as_str().unwrap().eq_ignore_ascii_case("api-key"), "{way}");
    assert_eq!(policy["users"][0]["uid"], ours);
    assert_eq!(policy["users"].as_array().unwrap().len(), 1);
    for (name, expected) in [
        ("max_concurrent", json!(7)),
        ("max_body_bytes", json!(1 << 20)),
        ("connect_timeout_ms", json!(3_000)),
        ("header_timeout_ms", json!(4_000)),
        ("drain_timeout_ms", json!(5_000)),
        ("http_shutdown", json!(true)),
    ] {
        assert_eq!(policy[name], expected, "{name}");
    }
    for (fields, name) in [("set_fields", "x-team"), ("forwarded_fields", "cookie")] {
        let named = policy[fields].as_array().unwrap();
        let [named] = named.as_slice() else { panic!("{fields}: {policy}") };
        assert!(named.as_str().unwrap().eq_ignore_ascii_case(name), "{policy}");
    }
    assert!(!status.to_string().contains("s3cret"), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_exchange_is_seen_until_it_ends_and_is_counted_then() {
    let upstream = upstream(Scenario::Gated).await;
    let controlled = Controlled::start(&upstream, &[]);
    assert_eq!(controlled.status()["in_flight"], json!([]));
    let body = br#"{"model":"gpt-5","stream":true}"#;
    let mut client = controlled.proxy.connect();
    client.send_request("POST /v1/responses", &[], body);
    upstream.release(1);
    client.until("event: response.created");

    let relayed = |status: &Value| status["in_flight"][0]["bytes_out"].as_u64().unwrap_or(0) > 0;
    let status = controlled.status_until(relayed);
    let [exchange] = status["in_flight"].as_array().unwrap().as_slice() else { panic!("{status}") };
    assert_eq!(exchange["id"], 1);
    assert_eq!(exchange["uid"], nix::unistd::geteuid().as_raw());
    assert_eq!(exchange["path"], "/v1/responses");
    assert_eq!(exchange["model"], "gpt-5");
    assert_eq!(exchange["status"], 200);
    assert_eq!(exchange["bytes_in"], body.len());
    assert!(exchange["elapsed_ms"].is_u64());
    assert!(exchange["started_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(status["counters"]["completed"], 0);
    assert!(status["counters"]["connections"].as_u64().unwrap() >= 1);

    upstream.release(20);
    client.until("\r\n0\r\n\r\n");
    assert_eq!(controlled.proxy.ask("GET /v1/models", &[], b"").status, 403);
    let records = controlled.ended(2);
    let status = controlled.status_until(|status| status["in_flight"] == json!([]));
    let counters = &status["counters"];
    for (name, expected) in [
        ("requests", 2),
        ("completed", 1),
        ("refused", 1),
        ("upstream_failed", 0),
        ("client_left", 0),
        ("cut", 0),
        ("bytes_in", body.len()),
        ("input_tokens", 1_200),
        ("cached_tokens", 1_024),
        ("output_tokens", 42),
        ("reasoning_tokens", 7),
        ("records_dropped", 0),
    ] {
        assert_eq!(counters[name], expected, "{name} of {counters}");
    }
    let bytes_out: u64 = records.iter().map(|record| record["bytes_out"].as_u64().unwrap()).sum();
    assert_eq!(counters["bytes_out"], bytes_out);
    assert_eq!(counters["refusals"], json!({ "route_not_allowed": 1 }));
    assert_eq!(counters["upstream_errors"], json!({}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_reads_what_was_and_then_what_happens() {
    let upstream = upstream(Scenario::Turn).await;
    let controlled = Controlled::start(&upstream, &[]);
    controlled.exchange("gpt-5");
    controlled.ended(1);
    let mut lines = controlled.follow("");
    let first = lines.next().unwrap();
    let places = KEYS.map(|key| first.find(&format!(r#""{key}":"#)).unwrap_or(usize::MAX));
    assert!(places.is_sorted() && places[17] != usize::MAX, "{first}");
    let record: Value = serde_json::from_str(&first).unwrap();
    assert_eq!(record.as_object().unwrap().len(), KEYS.len(), "{record}");
    assert_eq!((id(&record), &record["outcome"]), (1, &json!("completed")));
    assert_eq!((&record["model"], &record["stream"]), (&json!("gpt-5"), &json!(true)));
    assert_eq!(record["usage"]["total_tokens"], 1_242);
    assert!(record["first_byte_ms"].as_u64() <= record["duration_ms"].as_u64(), "{record}");

    controlled.proxy.ask("GET /elsewhere", &[], b"");
    let record = lines.next_record();
    assert_eq!((id(&record), &record["reason"]), (2, &json!("route_not_allowed")));
    controlled.exchange("gpt-6");
    assert_eq!(lines.next_record()["model"], "gpt-6");
}

/// So that a reader can tell a quiet proxy from a dead connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_follower_hears_a_heartbeat() {
    let upstream = upstream(Scenario::Turn).await;
    let controlled = Controlled::start(&upstream, &[]);
    let line = controlled.follow("").next().unwrap();
    let beat: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(beat.as_object().unwrap().len(), 1, "{beat}");
    assert!(beat["heartbeat"]["at"].as_str().unwrap().ends_with('Z'), "{beat}");
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_chosen_by_what_is_asked_for() {
    let upstream = upstream(Scenario::Turn).await;
    let controlled = Controlled::start(&upstream, &[]);
    controlled.exchange("gpt-a");
    controlled.exchange("gpt-b");
    controlled.proxy.ask("GET /elsewhere", &[], b"");
    controlled.ended(3);
    let ours = nix::unistd::geteuid().as_raw();
    for (query, expected) in [
        ("", &[1, 2, 3][..]),
        ("?last=2", &[2, 3]),
        ("?last=0", &[]),
        ("?after=1", &[2, 3]),
        ("?model=gpt-b", &[2]),
        ("?outcome=refused", &[3]),
        ("?outcome=completed&last=1", &[2]),
        (&format!("?uid={ours}"), &[1, 2, 3]),
        (&format!("?uid={}", ours + 1), &[]),
        ("?since=2020-01-01T00:00:00Z", &[1, 2, 3]),
        ("?since=2100-01-01T00:00:00Z", &[]),
    ] {
        let ids: Vec<u64> = controlled.records(query).iter().map(id).collect();
        assert_eq!(ids, expected, "{query:?}");
    }
    // The same for those that follow.
    let mut lines = controlled.follow("&model=gpt-c&last=0");
    controlled.exchange("gpt-a");
    controlled.exchange("gpt-c");
    assert_eq!(id(&lines.next_record()), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_comes_back_reads_on_where_it_was() {
    const EXCHANGES: u64 = 300;
    let upstream = upstream(Scenario::Json).await;
    let controlled = Controlled::start(&upstream, &[]);
    let mut client = controlled.proxy.connect();
    let asking = std::thread::spawn(move || {
        for _ in 0..EXCHANGES {
            client.send_request("POST /v1/responses", &[], b"{}");
            assert_eq!(client.answer().status, 200);
        }
    });
    let mut last = 0;
    while last < EXCHANGES {
        let mut lines = controlled.follow(&format!("&after={last}"));
        for _ in 0..(EXCHANGES - last).min(20) {
            let record = lines.next_record();
            assert_eq!(id(&record), last + 1, "{record}");
            last += 1;
        }
    }
    asking.join().unwrap();
}

/// Records come in the order in which exchanges end, and ids are given when they begin.
#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_that_was_still_running_is_not_lost_on_a_follower_that_comes_back() {
    let upstream = upstream(Scenario::Turn).await;
    upstream.script([Scenario::Gated]);
    let controlled = Controlled::start(&upstream, &[]);
    let mut long = controlled.proxy.connect();
    long.post();
    until(&upstream, |counts| counts.requests == 1).await;
    controlled.exchange("gpt-5");
    assert_eq!(id(&controlled.follow("").next_record()), 2);
    let mut lines = controlled.follow("&after=2");
    upstream.release(20);
    long.until("\r\n0\r\n\r\n");
    assert_eq!(id(&lines.next_record()), 1);
}

/// It costs nobody anything but itself, and is told what it has missed.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_does_not_read_is_dropped_with_a_gap() {
    // More than a follower may be behind (1,024), and than the sockets between them hold.
    const REFUSED: usize = 5_000;
    const FORWARDED: usize = 1_000;
    let upstream = upstream(Scenario::Json).await;
    let controlled = Controlled::start(&upstream, &[]);
    let mut slow = controlled.follow("");
    std::thread::scope(|scope| {
        let ask = |line: &'static str, body: &'static [u8], status: u16, times: usize| {
            let mut client = controlled.proxy.connect();
            scope.spawn(move || {
                for _ in 0..times {
                    client.send_request(line, &[], body);
                    assert_eq!(client.answer().status, status);
                }
            });
        };
        ask("GET /elsewhere", b"", 403, REFUSED);
        for _ in 0..3 {
            ask("POST /v1/responses", b"{}", 200, FORWARDED);
        }
    });
    let all = |status: &Value| status["counters"]["requests"] == REFUSED + 3 * FORWARDED;
    let counters = controlled.status_until(all)["counters"].take();
    assert_eq!((&counters["completed"], &counters["refused"]), (&json!(3_000), &json!(5_000)));

    let mut read: Vec<Value> = Vec::new();
    while let Some(line) = slow.next() {
        read.push(serde_json::from_str(&line).unwrap()); // And so no line is torn.
    }
    assert!(!slow.was_cut());
    let last = read.pop().unwrap();
    assert!(gap(&last) > 0, "{last}");
    assert!(!last["gap"]["because"].as_str().unwrap().is_empty(), "{last}");
    let mut ids: Vec<u64> = read.iter().filter(|line| is_record(line)).map(id).collect();
    let count = ids.len();
    assert!(count > 0 && count < REFUSED + 3 * FORWARDED, "{count}");
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "a record came twice");
    // Whoever reads is served as before.
    controlled.exchange("after-the-flood");
    let mut lines = controlled.follow("&model=after-the-flood");
    assert_eq!(lines.next_record()["outcome"], "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_refused_in_the_apis_shape() {
    let upstream = upstream(Scenario::Turn).await;
    let controlled = Controlled::start(&upstream, &[]);
    let socket = &controlled.socket;
    let gets = ["/", "/v1/nothing", "/v1/status/", "/v1/shutdown"].map(|path| get(socket, path));
    let posts = ["/v1/status", "/metrics", "/v1/responses"].map(|path| post(socket, path));
    for (status, said) in gets.into_iter().chain(posts) {
        assert_eq!((status, code(&said).as_str()), (404, "route_not_allowed"));
    }
    for query in ["last=-1", "last=many", "after=x", "uid=alice", "outcome=wrong", "since=today"] {
        let (status, said) = get(socket, &format!("/v1/records?{query}"));
        assert_eq!((status, code(&said).as_str()), (400, "bad_query"), "{query}");
    }
    // No web page reaches a Unix socket: the port's rules for them are not needed here.
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let foreign =
        "Host: evil.example\r\nOrigin: https://evil.example\r\nSec-Fetch-Site: cross-site";
    write!(stream, "GET /v1/status HTTP/1.1\r\n{foreign}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(upstream.counts().connections, 0);
}
