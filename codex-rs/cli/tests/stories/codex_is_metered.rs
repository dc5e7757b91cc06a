//! The real Codex at work: each of its requests leaves one record, with the model and the tokens, and no word of it.

use std::fs;

use codex_mock_upstream::{MockUpstream, Scenario};
use nix::unistd::geteuid;
use serde_json::{Value, json};

use crate::codex_process::*;
use crate::codex_texts::{HIGH_DEMAND, RECONNECTING};
use crate::real_codex::{SAID, missing, pointing};
use crate::support::*;

/// The model that each of Codex's requests asked the upstream for.
fn models_asked_for(upstream: &MockUpstream) -> Vec<Value> {
    let of = |body: &[u8]| serde_json::from_slice::<Value>(body).unwrap()["model"].take();
    upstream.seen().iter().map(|seen| of(&seen.body)).collect()
}

/// Ends the proxy and reads the records of what was forwarded: the log is complete then.
fn records(proxy: Proxy, log: &std::path::Path) -> Vec<Value> {
    proxy.stop();
    let log = fs::read_to_string(log).unwrap();
    assert!(!log.contains("say hi") && !log.contains(SAID), "what was said is in the log: {log}");
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut records: Vec<_> = lines.filter(|line| line["path"] == "/v1/responses").collect();
    records.sort_by_key(|record| record["id"].as_u64());
    records
}

/// What every record of a turn of Codex's says.
fn is_codexs(record: &Value, model: &Value) {
    assert!(model.as_str().is_some_and(|model| !model.is_empty()), "Codex named no model");
    assert_eq!(&record["model"], model, "{record}");
    assert_eq!(record["stream"], true, "{record}");
    assert_eq!(record["method"], "POST", "{record}");
    assert_eq!(record["peer"]["uid"], geteuid().as_raw(), "{record}");
    assert!(record["bytes_in"].as_u64().unwrap() > 0, "{record}");
}

/// The mock's turn went through whole, also when Codex left between the last event and the end of its answer.
fn is_a_whole_turn(record: &Value) {
    assert_eq!(record["outcome"], "completed", "{record}");
    assert_eq!((&record["status"], &record["reason"]), (&json!(200), &Value::Null), "{record}");
    let usage = json!({
        "input_tokens": 1_200,
        "cached_tokens": 1_024,
        "output_tokens": 42,
        "reasoning_tokens": 7,
        "total_tokens": 1_242,
    });
    assert_eq!(record["usage"], usage, "{record}");
    assert!(record["first_byte_ms"].as_u64() <= record["duration_ms"].as_u64(), "{record}");
    assert!(record["first_byte_ms"].is_u64(), "{record}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_leaves_its_model_and_its_tokens() {
    if !can_run(missing()) {
        return;
    }
    let upstream = tls_upstream(Scenario::Turn).await;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("requests.jsonl");
    let proxy = Proxy::start(&upstream, &["--log-file", str(&log)]);
    Codex::start(pointing(proxy.port, AS_EVER), &[]).end().succeeded();
    let records = records(proxy, &log);
    let [record] = records.as_slice() else { panic!("{records:#?}") };
    is_codexs(record, &models_asked_for(&upstream)[0]);
    is_a_whole_turn(record);
    assert_eq!(record["bytes_in"], body_bytes(&upstream));
}

fn body_bytes(upstream: &MockUpstream) -> u64 {
    upstream.counts().body_bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn each_try_of_a_failing_turn_leaves_a_record() {
    if !can_run(missing()) {
        return;
    }
    let upstream = upstream(Scenario::Status { status: 500, retry_after: None }).await;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("requests.jsonl");
    let proxy = Proxy::start(&upstream, &["--log-file", str(&log)]);
    Codex::start(pointing(proxy.port, TWICE), &[]).end().failed(HIGH_DEMAND);
    let (records, models) = (records(proxy, &log), models_asked_for(&upstream));
    assert!(records.len() > 1, "Codex did not try again");
    assert_eq!(records.len() as u64, upstream.counts().requests);
    for (record, model) in records.iter().zip(&models) {
        is_codexs(record, model);
        assert_eq!((&record["outcome"], &record["status"]), (&json!("completed"), &json!(500)));
        assert_eq!(record["upstream_request_id"], "req_mock_1", "{record}");
        assert_eq!(record["upstream_error"], "mock_status", "{record}");
        assert_eq!(record["usage"], Value::Null, "{record}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_turn_leaves_a_record_and_the_next_try_another() {
    if !can_run(missing()) {
        return;
    }
    let upstream = upstream(Scenario::Turn).await;
    upstream.script([Scenario::Cut { events: 3 }]);
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("requests.jsonl");
    let proxy = Proxy::start(&upstream, &["--log-file", str(&log)]);
    let mut codex = Codex::start(pointing(proxy.port, AS_EVER), &[]);
    codex.line(RECONNECTING.says);
    codex.end().succeeded();
    let (records, models) = (records(proxy, &log), models_asked_for(&upstream));
    let [cut, whole] = records.as_slice() else { panic!("{records:#?}") };
    assert_eq!((&cut["outcome"], &cut["reason"]), (&json!("cut"), &json!("upstream_cut")), "{cut}");
    assert_eq!((&cut["status"], &cut["usage"]), (&json!(200), &Value::Null), "{cut}");
    assert!(cut["bytes_out"].as_u64().unwrap() > 0, "{cut}");
    is_codexs(cut, &models[0]);
    is_codexs(whole, &models[1]);
    is_a_whole_turn(whole);
}
