//! What many exchanges leave together: bounded memory, gaps that are told, and totals that fit the records.

use std::collections::BTreeMap;
use std::io::Write;

use codex_mock_upstream::Scenario;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::{STREAMED, WHOLE, ending, facts};
use crate::control_client::*;
use crate::support::*;

/// The most memory that it has had, in bytes.
fn peak_bytes(proxy: &Proxy) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// An upstream whose events have no end, and one whose answer grows a thousandfold when it is unpacked.
fn upstream_without_measure(mebibytes: usize, bomb: Vec<u8>) -> String {
    answering(move |request, stream| {
        let is_bomb = request.contains("/bomb/");
        let encoding = if is_bomb { "Content-Encoding: gzip\r\n" } else { "" };
        let head = chunked_head("200 OK", "text/event-stream", encoding);
        let _ = stream.write_all(head.as_bytes());
        if is_bomb {
            let _ = stream.write_all(&chunk(&bomb));
        } else {
            let piece = chunk(&vec![b'x'; 1 << 16]);
            for _ in 0..mebibytes << 4 {
                let _ = stream.write_all(&piece);
            }
        }
        let _ = stream.write_all(&chunk(b""));
    })
}

/// Zeros: a line that never ends.
fn bomb(mebibytes: usize) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    for _ in 0..mebibytes {
        encoder.write_all(&[0; 1 << 20]).unwrap();
    }
    encoder.finish().unwrap()
}

/// Sends this, and looks at the proxy's peak while the answer goes by: it must not grow with the answer.
fn goes_by_without_growth(proxy: &Proxy, body: &str) {
    let before = peak_bytes(proxy);
    let mut client = proxy.connect();
    client.send_request("POST /v1/responses", &[], body.as_bytes());
    client.discard();
    // The kernel counts pages for each CPU, and so its peak may seem to sink a little (proc_pid_status(5), VmRSS).
    let growth = peak_bytes(proxy).saturating_sub(before);
    assert!(growth < 16 << 20, "{body}: {growth} bytes more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_megabytes_are_metered_in_constant_memory() {
    const MEBIBYTES: u32 = 100;
    let upstream = upstream(Scenario::Flood { mebibytes: MEBIBYTES }).await;
    upstream.script([Scenario::Turn]);
    let traces = Traces::new();
    let proxy = Proxy::start(&upstream, &traces.flags(&[]));
    assert_eq!(proxy.ask("POST /v1/responses", &[], STREAMED.as_bytes()).status, 200);
    goes_by_without_growth(&proxy, STREAMED);
    let record = traces.records(2).pop().unwrap();
    assert_eq!(record["bytes_out"], u64::from(MEBIBYTES) << 20, "{record}");
    assert_eq!(ending(&record), json!(["completed", "response_unfinished", 200]));

    // One event of that size, and one that is small on the wire.
    let bomb = bomb(32);
    let bomb_bytes = bomb.len();
    let url = upstream_without_measure(MEBIBYTES as usize, bomb);
    let traces = Traces::new();
    let proxy = Proxy::start_for(&url, &traces.flags(&[]));
    for (number, case, bytes) in
        [(1, "/giant/", (MEBIBYTES as usize) << 20), (2, "/bomb/", bomb_bytes)]
    {
        let body = format!(r#"{{"input":"{case}","model":"gpt-of-the-request","stream":true}}"#);
        goes_by_without_growth(&proxy, &body);
        let record = traces.records(number).pop().unwrap();
        assert_eq!(record["bytes_out"], bytes, "{record}");
        assert_eq!(facts(&record, ["outcome", "status", "usage"]), json!(["completed", 200, null]));
        assert_eq!(record["model"], "gpt-of-the-request");
    }
}

/// Whoever sends nonsense by the thousand can't push the records of what was forwarded out.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_refusals_loses_no_record_of_what_was_forwarded() {
    const CLIENTS: usize = 8;
    const REFUSED: usize = 5_000;
    const FORWARDED: usize = 20;
    let upstream = upstream(Scenario::Json).await;
    upstream.script([Scenario::Gated]);
    let traces = Traces::new();
    let proxy = Proxy::start(&upstream, &traces.flags(&[]));
    let mut streaming = proxy.connect(); // From before the flood to after it.
    streaming.post();
    upstream.release(1);
    streaming.until("event: response.created");
    let port = proxy.port;
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = Client::connect(port);
                for _ in 0..REFUSED / CLIENTS {
                    client.send_request("GET /nope", &[], b"");
                    assert_eq!(client.answer().status, 403);
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..FORWARDED {
                let mut client = Client::connect(port);
                client.send_request("POST /v1/responses", &[], WHOLE.as_bytes());
                assert_eq!(client.answer().status, 200);
            }
        });
    });
    upstream.release(20);
    streaming.until("\r\n0\r\n\r\n");

    let completed = |records: &[Value]| -> usize {
        records.iter().filter(|record| record["outcome"] == "completed").count()
    };
    look_for("the last exchange's record", || {
        let found = completed(&traces.on_socket());
        if found == FORWARDED + 1 { Ok(()) } else { Err(found) }
    });
    let status = traces.status();
    proxy.stop();

    let lines = lines_of(&traces.log);
    let records = records_of(&traces.log);
    assert_eq!(completed(&records), FORWARDED + 1);
    assert!(records.windows(2).all(|pair| pair[0]["id"] != pair[1]["id"]), "an id came twice");
    let missing: u64 = lines.iter().map(gap).sum();
    let told = records.len() as u64 + missing;
    assert_eq!(told, (REFUSED + FORWARDED + 1) as u64, "{missing} are told to be missing");
    assert!(missing > 0 && records.len() > 1_000, "{} records", records.len());
    let because = |line: &&Value| {
        line["gap"]["because"].as_str().is_some_and(|because| because.contains("came faster than"))
    };
    assert!(lines.iter().any(|line| because(&line)), "no gap says why");

    let counters = &status["counters"];
    assert_eq!(counters["refused"], REFUSED);
    assert_eq!(counters["refusals"], json!({ "route_not_allowed": REFUSED }));
    assert_eq!(counters["completed"], FORWARDED + 1);
    assert!(counters["records_dropped"].as_u64() > Some(0), "{counters}");
}

/// Sums up the samples with this name whose labels have all of this.
fn sum(metrics: &str, name: &str, labels: &[&str]) -> u64 {
    let sample = |line: &str| {
        let (series, value) = line.rsplit_once(' ')?;
        let (found, given) = series.split_once('{').unwrap_or((series, ""));
        let is_it = found == name && labels.iter().all(|label| given.contains(label));
        is_it.then(|| value.parse::<f64>().unwrap())
    };
    let lines = metrics.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(sample).sum::<f64>() as u64
}

/// How many records have each of a field's words.
fn tally(records: &[Value], name: &str) -> BTreeMap<String, u64> {
    let mut tally = BTreeMap::new();
    for word in records.iter().filter_map(|record| record[name].as_str()) {
        *tally.entry(word.to_owned()).or_default() += 1;
    }
    tally
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_metrics_say_what_the_records_say() {
    let upstream = upstream(Scenario::Turn).await;
    upstream.script([
        Scenario::Turn,
        Scenario::Json,
        Scenario::Status { status: 500, retry_after: None },
        Scenario::Cut { events: 2 },
        Scenario::Close,
        Scenario::Silent,
    ]);
    let traces = Traces::new();
    let proxy = Proxy::start(&upstream, &traces.flags(&[]));
    for _ in 0..5 {
        let mut client = proxy.connect();
        client.send_request("POST /v1/responses", &["Connection: close"], STREAMED.as_bytes());
        let _ = client.read_to_end();
    }
    assert_eq!(proxy.ask("GET /v1/models", &[], b"").status, 403);
    assert_eq!(proxy.ask("GET /v1/models", &[], b"").status, 403);
    assert_eq!(proxy.ask("POST /v1/responses", &["Origin: x"], b"{}").status, 403);
    let mut client = proxy.connect();
    client.send_request("POST /v1/responses", &[], STREAMED.as_bytes());
    client.until("event: response.created");
    let status = traces.status();
    assert_eq!(status["in_flight"].as_array().unwrap().len(), 1, "{status}");
    assert_eq!(
        facts(&status["in_flight"][0], ["path", "status", "bytes_in"]),
        json!(["/v1/responses", 200, STREAMED.len()])
    );
    assert_eq!(sum(&traces.metrics(), "codex_proxy_exchanges_in_flight", &[]), 1);
    drop(client);

    let records = traces.records(9);
    let total =
        |name: &str| -> u64 { records.iter().filter_map(|record| record[name].as_u64()).sum() };
    let outcomes = tally(&records, "outcome");
    assert_eq!(outcomes.len(), 5, "an outcome is missing: {outcomes:?}");
    let (status, metrics) = (traces.status(), traces.metrics());
    assert_eq!(status["in_flight"], json!([]));
    let counters = &status["counters"];
    assert_eq!(counters["requests"], 9, "{counters}");
    for (outcome, count) in &outcomes {
        assert_eq!(counters[outcome], *count, "{outcome}: {counters}");
        let label = format!(r#"outcome="{outcome}""#);
        assert_eq!(sum(&metrics, "codex_proxy_exchanges_total", &[&label]), *count, "{metrics}");
    }
    let refusals = json!({ "route_not_allowed": 2, "foreign_origin": 1 });
    assert_eq!(counters["refusals"], refusals);
    let label = r#"reason="route_not_allowed""#;
    assert_eq!(sum(&metrics, "codex_proxy_refusals_total", &[label]), 2, "{metrics}");
    let errors = json!({ "http_500": 1, "upstream_closed": 1, "upstream_cut": 1 });
    assert_eq!(counters["upstream_errors"], errors);
    assert_eq!(sum(&metrics, "codex_proxy_upstream_errors_total", &[]), 3, "{metrics}");

    assert_eq!(counters["bytes_in"], total("bytes_in"));
    assert_eq!(counters["bytes_out"], total("bytes_out"));
    let (up, down) = (r#"direction="request""#, r#"direction="answer""#);
    assert_eq!(sum(&metrics, "codex_proxy_bodies_bytes_total", &[up]), total("bytes_in"));
    assert_eq!(sum(&metrics, "codex_proxy_bodies_bytes_total", &[down]), total("bytes_out"));

    let names = ["input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens"];
    assert_eq!(facts(counters, names), json!([2_400, 2_048, 84, 14]));
    let model = r#"gen_ai_response_model="gpt-of-the-request""#;
    for (kind, tokens) in [("input", 2_400), ("output", 84)] {
        let kind = format!(r#"gen_ai_token_type="{kind}""#);
        assert_eq!(sum(&metrics, "gen_ai_client_token_usage_sum", &[model, &kind]), tokens);
        assert_eq!(sum(&metrics, "gen_ai_client_token_usage_count", &[model, &kind]), 2);
    }
    // Six were forwarded; the first was a stream with output.
    assert_eq!(sum(&metrics, "gen_ai_client_operation_duration_seconds_count", &[]), 6);
    assert_eq!(sum(&metrics, "gen_ai_server_time_to_first_token_seconds_count", &[]), 1);
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
}

/// What is asked on the control socket leaves no record, and what is not there is refused in the API's shape.
#[tokio::test(flavor = "multi_thread")]
async fn the_control_socket_shows_what_was_asked_for_and_nothing_else() {
    let upstream = upstream(Scenario::Json).await;
    let traces = Traces::new();
    let proxy = Proxy::start(&upstream, &traces.flags(&[]));
    for model in ["gpt-a", "gpt-b", "gpt-a"] {
        let body = format!(r#"{{"model":"{model}","stream":false}}"#);
        assert_eq!(proxy.ask("POST /v1/responses", &[], body.as_bytes()).status, 200);
    }
    assert_eq!(proxy.ask("GET /v1/models", &[], b"").status, 403);
    traces.records(4);
    for (query, expected) in [
        ("last=2", json!([3, 4])),
        ("after=2", json!([3, 4])),
        ("model=gpt-a", json!([1, 3])),
        ("outcome=refused", json!([4])),
        ("outcome=completed&last=1", json!([3])),
        ("uid=4294967294", json!([])),
        ("since=2999-01-01T00:00:00Z", json!([])),
    ] {
        let (status, said) = get(&traces.socket, &format!("/v1/records?{query}"));
        let lines = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let ids: Value = lines.map(|record| record["id"].clone()).collect();
        assert_eq!((status, ids), (200, expected), "{query}: {said}");
    }
    for (target, expected, code) in
        [("/v1/records?outcome=odd", 400, "bad_query"), ("/v1/nothing", 404, "route_not_allowed")]
    {
        let (status, said) = get(&traces.socket, target);
        let document: Value = serde_json::from_str(&said).unwrap();
        assert_eq!((status, &document["error"]["code"]), (expected, &json!(code)), "{target}");
    }
    assert_eq!(post(&traces.socket, "/v1/status").0, 404);
    assert_eq!(traces.records(4).len(), 4);
    proxy.stop();
    assert_eq!(lines_of(&traces.log).len(), 4);
}
