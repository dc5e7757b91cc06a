//! What Prometheus reads: well formed, with the figures of what has happened, and bounded.

use std::collections::{BTreeMap, BTreeSet};

use codex_mock_upstream::Scenario;

use super::fixture::Controlled;
use crate::control_client::get;
use crate::support::*;

/// One sample of the exposition.
#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Controlled {
    fn samples(&self) -> Vec<Sample> {
        let (status, said) = get(&self.socket, "/metrics");
        assert_eq!(status, 200, "{said}");
        parse(&said)
    }
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || matches!(first, b'_' | b':'))
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':'))
}

/// Reads Prometheus's text format (and OpenMetrics, which says a little more), and accepts nothing else.
fn parse(text: &str) -> Vec<Sample> {
    assert!(text.ends_with('\n'), "the last line has no end");
    let (mut kinds, mut samples) = (BTreeMap::new(), Vec::new());
    let mut series = BTreeSet::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            if let (Some("TYPE"), Some(name), Some(kind)) =
                (words.next(), words.next(), words.next())
            {
                assert!(is_name(name), "{line}");
                let known =
                    ["counter", "gauge", "histogram", "summary", "untyped", "unknown", "info"];
                assert!(known.contains(&kind), "{line}");
                assert!(kinds.insert(name, kind).is_none(), "told twice: {line}");
            }
            continue;
        }
        let sample = sample(line);
        let family = ["_bucket", "_sum", "_count", "_total"]
            .iter()
            .find_map(|suffix| sample.name.strip_suffix(*suffix))
            .unwrap_or(&sample.name);
        let typed = kinds.contains_key(family) || kinds.contains_key(sample.name.as_str());
        assert!(typed, "no TYPE comes before {line}");
        assert!(series.insert((sample.name.clone(), sample.labels.clone())), "twice: {line}");
        samples.push(sample);
    }
    for bucket in samples.iter().filter(|sample| sample.labels.contains_key("le")) {
        let family = bucket.name.strip_suffix("_bucket").unwrap();
        let mut labels = bucket.labels.clone();
        let bound = labels.remove("le").unwrap();
        let count = format!("{family}_count");
        let whole =
            samples.iter().find(|sample| sample.name == count && sample.labels == labels).unwrap();
        let fits =
            if bound == "+Inf" { bucket.value == whole.value } else { bucket.value <= whole.value };
        assert!(fits, "{bucket:?} of {whole:?}");
    }
    samples
}

/// `name{label="value",…} number`, and perhaps a time after it.
fn sample(line: &str) -> Sample {
    let name_end = line.find(['{', ' ']).unwrap_or_else(|| panic!("no sample: {line}"));
    let (name, mut rest) = line.split_at(name_end);
    assert!(is_name(name), "{line}");
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
            assert!(is_name(label), "{line}");
            let mut escaped = false;
            let end = after.find(|letter| {
                assert!(!escaped || matches!(letter, '"' | '\\' | 'n'), "{line}");
                let ends = letter == '"' && !escaped;
                escaped = letter == '\\' && !escaped;
                ends
            });
            let (value, after) = after.split_at(end.unwrap_or_else(|| panic!("{line}")));
            assert!(labels.insert(label.to_owned(), value.to_owned()).is_none(), "{line}");
            rest = &after[1..];
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
        rest = &rest[1..];
    }
    let mut numbers = rest.split_whitespace();
    let value = numbers.next().and_then(|value| value.parse().ok());
    assert!(numbers.next().is_none_or(|time| time.parse::<f64>().is_ok()), "{line}");
    let value = value.unwrap_or_else(|| panic!("no number: {line}"));
    Sample { name: name.to_owned(), labels, value }
}

/// The sum of all samples with this name, and this among their labels' values.
fn total(samples: &[Sample], name: &str, labelled: &str) -> f64 {
    let of_name: Vec<_> = samples.iter().filter(|sample| sample.name == name).collect();
    assert!(!of_name.is_empty(), "no {name} in {samples:#?}");
    let labelled = |sample: &&&Sample| {
        labelled.is_empty() || sample.labels.values().any(|value| value == labelled)
    };
    of_name.iter().filter(labelled).map(|sample| sample.value).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_happened_is_counted_in_opentelemetrys_words() {
    let upstream = upstream(Scenario::Turn).await;
    let controlled = Controlled::start(&upstream, &[]);
    controlled.exchange("gpt-5");
    controlled.exchange("gpt-5");
    assert_eq!(controlled.proxy.ask("GET /v1/models", &[], b"").status, 403);
    upstream.script([Scenario::Close]);
    let failed = controlled.proxy.ask("POST /v1/responses", &[], br#"{"model":"gpt-5"}"#);
    assert_eq!(failed.status, 502);
    controlled.ended(4);
    upstream.script([Scenario::Silent]);
    let mut client = controlled.proxy.connect();
    client.post();
    client.until("response.created");

    let samples = controlled.samples();
    for (name, labelled, expected) in [
        ("gen_ai_client_token_usage_sum", "input", 2_400.0),
        ("gen_ai_client_token_usage_sum", "output", 84.0),
        ("gen_ai_client_token_usage_count", "gpt-5", 4.0), // Input and output.
        ("gen_ai_client_operation_duration_seconds_count", "", 3.0),
        ("gen_ai_server_time_to_first_token_seconds_count", "", 2.0),
        ("codex_proxy_exchanges_in_flight", "", 1.0),
        ("codex_proxy_refusals_total", "route_not_allowed", 1.0),
        ("codex_proxy_upstream_errors_total", "upstream_closed", 1.0),
    ] {
        assert_eq!(total(&samples, name, labelled), expected, "{name} {labelled}");
    }
    drop(client);
    controlled.ended(5);
    controlled.status_until(|status| status["in_flight"].as_array().unwrap().is_empty());
    assert_eq!(total(&controlled.samples(), "codex_proxy_exchanges_in_flight", ""), 0.0);
}

/// A client chooses its words; it must not choose how many series there are.
#[tokio::test(flavor = "multi_thread")]
async fn no_client_makes_series_of_its_own() {
    const MODELS: usize = 100;
    let upstream = upstream(Scenario::Json).await;
    let controlled = Controlled::start(&upstream, &[]);
    controlled.exchange("first");
    controlled.ended(1);
    let of_one = controlled.samples().len();
    for number in 0..MODELS {
        controlled.exchange(&format!("model-{number}"));
        let path = format!("GET /path-{number}");
        assert_eq!(controlled.proxy.ask(&path, &[], b"").status, 403);
        let method = format!("METHOD{number} /v1/responses");
        assert_eq!(controlled.proxy.ask(&method, &[], b"").status, 403);
    }
    let counted = |status: &serde_json::Value| status["counters"]["requests"] == 3 * MODELS + 1;
    controlled.status_until(counted);
    let samples = controlled.samples();
    let words: BTreeSet<&str> = samples
        .iter()
        .flat_map(|sample| sample.labels.values())
        .map(String::as_str)
        .filter(|value| value.starts_with("model-"))
        .collect();
    assert!(words.len() <= MODELS / 2, "{} models have a label: {words:?}", words.len());
    let free = |value: &String| value.contains("path-") || value.contains("METHOD");
    assert!(!samples.iter().any(|sample| sample.labels.values().any(free)));
    assert!(samples.len() <= of_one * (words.len() + 2), "{} series", samples.len());
    // Whatever they are called, all are counted.
    let all = (MODELS + 1) as f64 * 1_200.0;
    assert_eq!(total(&samples, "gen_ai_client_token_usage_sum", "input"), all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_models_name_cannot_break_the_text() {
    let upstream = upstream(Scenario::Json).await;
    let controlled = Controlled::start(&upstream, &[]);
    for model in [r#"a\"b"#, r"back\\slash", r"two\nlines", "{}", "le"] {
        controlled.exchange(model);
    }
    controlled.ended(5);
    assert!(!controlled.samples().is_empty());
}
