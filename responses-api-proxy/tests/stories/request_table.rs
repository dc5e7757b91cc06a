//! Requests as raw bytes, with what the client gets and what the upstream sees: one table, run as one test.
//!
//! What it shows: whatever a client sends, the upstream gets one clean request or none. The page
//! docs/reference/http.md shows the same table. Besides the reader here, h11 judges what went up, which has
//! nothing in common with our own parser.

mod cases;
mod raw_client;
mod recorder;
mod words;

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use cases::*;
use raw_client::ask;
use recorder::{Recorder, Upward};
use serde_json::{Value, json};
use words::*;

use crate::support::*;

#[test]
fn the_upstream_gets_one_clean_request_or_none() {
    let recorder = Recorder::start();
    let url = format!("http://{}/v1/responses", recorder.address);
    let proxy = Proxy::start_for(&url, &["--max-body", "100KiB"]);
    let cases: Vec<(String, &Case)> = TABLE
        .iter()
        .flat_map(|(title, cases)| {
            cases.iter().map(move |case| (format!("{title}: {}", case.name), case))
        })
        .collect();

    let mut deviations = Vec::new();
    for (number, (name, case)) in cases.iter().enumerate() {
        let got = ask(&proxy, &recorder, case);
        if !case.allows(&got) {
            deviations.push(format!("{name}: the client gets {got:?}, not {:?}", case.client));
        }
        // An ordinary request: it is still served, and what the upstream saw before it came of the case.
        let marker = format!("X-Marker: {number}");
        let answer = proxy.ask("POST /v1/responses", &[&marker], b"[]");
        assert_eq!(answer.status, 200, "after {name}: {}", answer.head);
    }
    let said = proxy.stop(); // With it end all connections that it has made.

    let mut judged = Vec::new();
    let mut since_the_last: Vec<Upward> = Vec::new();
    let mut remaining = cases.iter().enumerate();
    let mut current = remaining.next();
    for upward in recorder.all() {
        let Some((number, (name, case))) = current else {
            deviations.push(format!("after the last case: {:?}", text(&upward.raw)));
            continue;
        };
        judged.push(upward.for_the_judge(name, recorder.address));
        deviations.extend(upward.faults(recorder.address).map(|fault| format!("{name}: {fault}")));
        if !upward.has(&format!("x-marker: {number}")) {
            since_the_last.push(upward);
            continue;
        }
        let saw = saw(&since_the_last);
        let expected = case.upstream_sees();
        let is_none_whole = matches!(case.upstream, [Sees::NoneWhole]) && since_the_last.is_empty();
        if saw != expected && !is_none_whole {
            deviations.push(format!("{name}: the upstream sees {saw}, not {expected}"));
        }
        since_the_last.clear();
        current = remaining.next();
    }
    assert!(current.is_none(), "not every ordinary request reached the upstream");

    let bad_heads = cases.iter().filter(|(_, case)| case.has_a_bad_head()).count();
    let is_record = |line: &&str| line.contains(" refused ") && line.contains(" bad_head");
    let recorded = said.lines().filter(is_record).count();
    if recorded != bad_heads {
        deviations.push(format!("{recorded} records of a bad head, not {bad_heads}"));
    }

    let judgement = judge(&judged);
    deviations.extend(judgement.iter().flatten().map(|line| format!("h11: {line}")));
    assert!(deviations.is_empty(), "{} deviations:\n{}", deviations.len(), deviations.join("\n"));
    if judgement.is_none() {
        can_run(Some(NO_JUDGE));
    }
}

#[test]
fn the_judge_knows_what_is_clean() {
    let head = "POST / HTTP/1.1\r\nhost: h\r\nauthorization: k\r\n";
    let whole = |name: &str, rest: &str| {
        let raw = hexadecimal(format!("{head}{rest}").as_bytes());
        let body = hexadecimal(b"{}");
        json!({
            "name": name, "raw": raw, "whole": true, "body": body,
            "host": "h", "authorization": "k",
        })
    };
    let clean = [
        whole("by its length", "content-length: 2\r\n\r\n{}"),
        whole("in chunks", "transfer-encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"),
    ];
    let chunks = "transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    let unclean = [
        whole("two framings", &format!("content-length: 2\r\n{chunks}")),
        whole("the same length twice", "content-length: 2\r\ncontent-length: 2\r\n\r\n{}"),
        whole("no framing", "\r\n"),
        whole("two hosts", "host: h\r\ncontent-length: 2\r\n\r\n{}"),
        whole("two keys", "authorization: k\r\ncontent-length: 2\r\n\r\n{}"),
        whole("two requests", &format!("content-length: 2\r\n\r\n{{}}{head}\r\n")),
        whole("a line end without CR", "x: 1\ncontent-length: 2\r\n\r\n{}"),
        whole("a field on two lines", "x: 1\r\n 2\r\ncontent-length: 2\r\n\r\n{}"),
        whole("an extension", "transfer-encoding: chunked\r\n\r\n2;a\r\n{}\r\n0\r\n\r\n"),
        whole("a trailer", "transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nx: 1\r\n\r\n"),
        whole("another coding", "transfer-encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
        whole("another body", "content-length: 2\r\n\r\n[]"),
        whole("not whole", "content-length: 3\r\n\r\n{}"),
    ];
    let Some(judgement) = judge(&[&clean[..], &unclean[..]].concat()) else {
        can_run(Some(NO_JUDGE));
        return;
    };
    let named: Vec<&str> = judgement.iter().map(|line| line.split(": ").next().unwrap()).collect();
    let expected: Vec<&str> =
        unclean.iter().map(|document| document["name"].as_str().unwrap()).collect();
    assert_eq!(named, expected, "{judgement:#?}");
}

/// The page for a proxy's users.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/http.md");
const BEGIN: &str = "<!-- Made from request_table.rs: from here -->\n";
const END: &str = "<!-- to here -->\n";

#[test]
fn the_reference_page_shows_this_table() {
    let page = fs::read_to_string(PAGE).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let made = format!("{before}{BEGIN}{}{END}{after}", table_as_markdown());
    if std::env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1") {
        fs::write(PAGE, made).unwrap();
        return;
    }
    let other = page.lines().zip(made.lines()).find(|(is, should)| is != should);
    assert!(
        page == made,
        "docs/reference/http.md shows another table, first in {other:#?}; \
         make it anew: UPDATE_DOCS=1 cargo test --package codex-responses-api-proxy request_table"
    );
}

#[test]
fn the_reference_page_explains_every_code() {
    let page = fs::read_to_string(PAGE).unwrap();
    let reasons = concat!(env!("CARGO_MANIFEST_DIR"), "/../codex-rs/request-log/src/reason.rs");
    let reasons = fs::read_to_string(reasons).unwrap();
    let codes: Vec<&str> =
        reasons.lines().filter_map(|line| line.split_once(" = \"")?.1.split('"').next()).collect();
    assert!(codes.contains(&"foreign_host"), "{codes:?}");
    for code in codes {
        assert!(
            page.contains(&format!("| `{code}` |")),
            "docs/reference/http.md has no row for {code}"
        );
    }
}

const NO_JUDGE: &str = "no python3 has h11: apt-get install python3-h11";

/// What h11 finds unclean, a line each; `None` where there is no h11.
fn judge(documents: &[Value]) -> Option<Vec<String>> {
    // The second is Debian's own, which has Debian's packages, whatever comes first on the PATH.
    let python = ["python3", "/usr/bin/python3"].into_iter().find(|python| {
        let mut command = Command::new(python);
        command.args(["-c", "import h11"]).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    })?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/h11_judge.py");
    let mut child = Command::new(python)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    for document in documents {
        writeln!(stdin, "{document}").unwrap();
    }
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let lines: Vec<String> = text(&output.stdout).lines().map(ToOwned::to_owned).collect();
    assert_eq!(output.status.code(), Some(i32::from(!lines.is_empty())), "the judge itself failed");
    Some(lines)
}
