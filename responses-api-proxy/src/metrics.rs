//! What Prometheus reads: counters and histograms in OpenTelemetry's words for generative AI.
//!
//! Source: OpenTelemetry semantic conventions for GenAI metrics (Development, 2026); dots become underscores and
//! units suffixes, as Prometheus wants it. Labels are bounded: outcomes and reasons come from closed lists, models from
//! the upstream's own answers and only so many of them, so that no client can make a series of its choosing.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use codex_proxy_client::status::Counters;
use codex_request_log::{Outcome, Reason, Record};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Models that have a label of their own. Others share [`OTHER_MODEL`].
const KEPT_MODELS: usize = 32;
const OTHER_MODEL: &str = "_OTHER";

/// Bucket boundaries that the conventions give, in tokens and in seconds.
const TOKENS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];
const DURATION: [f64; 14] =
    [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
const FIRST_TOKEN: [f64; 16] =
    [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// What is counted since the start.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    models: Mutex<Vec<String>>,
    tokens: Family<Tokens, Histogram, fn() -> Histogram>,
    duration: Family<Operation, Histogram, fn() -> Histogram>,
    first_token: Family<Model, Histogram, fn() -> Histogram>,
    cached: Family<Model, Counter>,
    reasoning: Family<Model, Counter>,
    outcomes: Family<ByOutcome, Counter>,
    refusals: Family<ByReason, Counter>,
    upstream_errors: Family<ByError, Counter>,
    bytes: Family<ByDirection, Counter>,
    in_flight: Gauge,
    connections: Gauge,
    dropped: Counter,
    counters: Mutex<Counters>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Model {
    gen_ai_operation_name: &'static str,
    gen_ai_provider_name: &'static str,
    gen_ai_response_model: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Tokens {
    gen_ai_operation_name: &'static str,
    gen_ai_provider_name: &'static str,
    gen_ai_response_model: String,
    gen_ai_token_type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Operation {
    gen_ai_operation_name: &'static str,
    gen_ai_provider_name: &'static str,
    gen_ai_response_model: String,
    /// Empty when nothing went wrong.
    error_type: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByError {
    error_type: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByDirection {
    direction: &'static str,
}

const OPERATION: &str = "chat";
const PROVIDER: &str = "openai";
const OF_REQUESTS: &str = "request";
const OF_ANSWERS: &str = "answer";

fn tokens() -> Histogram {
    Histogram::new(TOKENS)
}

fn duration() -> Histogram {
    Histogram::new(DURATION)
}

fn first_token() -> Histogram {
    Histogram::new(FIRST_TOKEN)
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let metrics = Self {
            registry: Registry::default(),
            models: Mutex::default(),
            tokens: Family::new_with_constructor(tokens),
            duration: Family::new_with_constructor(duration),
            first_token: Family::new_with_constructor(first_token),
            cached: Family::default(),
            reasoning: Family::default(),
            outcomes: Family::default(),
            refusals: Family::default(),
            upstream_errors: Family::default(),
            bytes: Family::default(),
            in_flight: Gauge::default(),
            connections: Gauge::default(),
            dropped: Counter::default(),
            counters: Mutex::default(),
        };
        metrics.registered()
    }

    fn registered(mut self) -> Self {
        let mut registry = Registry::default();
        registry.register(
            "gen_ai_client_token_usage",
            "Tokens of an exchange, as the upstream reports them",
            self.tokens.clone(),
        );
        registry.register_with_unit(
            "gen_ai_client_operation_duration",
            "From a request's head to the end of its answer, for what was forwarded",
            Unit::Seconds,
            self.duration.clone(),
        );
        registry.register_with_unit(
            "gen_ai_server_time_to_first_token",
            "From a request's head to the first piece of output in a stream",
            Unit::Seconds,
            self.first_token.clone(),
        );
        registry.register(
            "gen_ai_client_inference_usage_cache_read_input_tokens",
            "Input tokens that came from the upstream's cache",
            self.cached.clone(),
        );
        registry.register(
            "gen_ai_client_inference_usage_reasoning_output_tokens",
            "Output tokens that were spent on reasoning",
            self.reasoning.clone(),
        );
        registry.register(
            "codex_proxy_exchanges",
            "Exchanges that have ended, by outcome",
            self.outcomes.clone(),
        );
        registry.register(
            "codex_proxy_refusals",
            "Requests that were not forwarded, by reason",
            self.refusals.clone(),
        );
        registry.register(
            "codex_proxy_upstream_errors",
            "Failures on the upstream's side, by reason, and error answers of its own, as http_429",
            self.upstream_errors.clone(),
        );
        registry.register_with_unit(
            "codex_proxy_bodies",
            "Bytes of bodies, from and to clients",
            Unit::Bytes,
            self.bytes.clone(),
        );
        registry.register(
            "codex_proxy_exchanges_in_flight",
            "Exchanges that are under way",
            self.in_flight.clone(),
        );
        registry.register(
            "codex_proxy_connections",
            "Client connections that are open",
            self.connections.clone(),
        );
        registry.register(
            "codex_proxy_records_dropped",
            "Records that found no room on their way to file or standard error, since the start",
            self.dropped.clone(),
        );
        self.registry = registry;
        self
    }

    /// An exchange has left its record.
    pub(crate) fn observe(&self, record: &Record, was_forwarded: bool) {
        self.count(record);
        self.outcomes.get_or_create(&ByOutcome { outcome: record.outcome.code() }).inc();
        for (direction, bytes) in [(OF_REQUESTS, record.bytes_in), (OF_ANSWERS, record.bytes_out)] {
            self.bytes.get_or_create(&ByDirection { direction }).inc_by(bytes);
        }
        if let (Outcome::Refused, Some(reason)) = (record.outcome, record.reason) {
            self.refusals.get_or_create(&ByReason { reason: reason.code() }).inc();
        }
        if was_forwarded {
            self.observe_operation(record);
        }
    }

    /// The same figures, as `status` shows them.
    fn count(&self, record: &Record) {
        let counters = &mut *self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = match record.outcome {
            Outcome::Completed => &mut counters.completed,
            Outcome::Refused => &mut counters.refused,
            Outcome::UpstreamFailed => &mut counters.upstream_failed,
            Outcome::ClientLeft => &mut counters.client_left,
            Outcome::Cut => &mut counters.cut,
        };
        *ended += 1;
        counters.bytes_in += record.bytes_in;
        counters.bytes_out += record.bytes_out;
        let usage = record.usage.unwrap_or_default();
        counters.input_tokens += usage.input_tokens.unwrap_or(0);
        counters.cached_tokens += usage.cached_tokens.unwrap_or(0);
        counters.output_tokens += usage.output_tokens.unwrap_or(0);
        counters.reasoning_tokens += usage.reasoning_tokens.unwrap_or(0);
        if let (Outcome::Refused, Some(reason)) = (record.outcome, record.reason) {
            *counters.refusals.entry(reason.code().to_owned()).or_default() += 1;
        }
        if let Some(error) = upstream_error(record) {
            *counters.upstream_errors.entry(error).or_default() += 1;
        }
    }

    /// What became of a request that went to the upstream.
    fn observe_operation(&self, record: &Record) {
        if let Some(error_type) = upstream_error(record) {
            self.upstream_errors.get_or_create(&ByError { error_type }).inc();
        }
        let model = self.model(record);
        let operation = Operation {
            gen_ai_operation_name: OPERATION,
            gen_ai_provider_name: PROVIDER,
            gen_ai_response_model: model.gen_ai_response_model.clone(),
            error_type: error_type(record).unwrap_or_default(),
        };
        let after = seconds(record.duration_ms.into());
        self.duration.get_or_create(&operation).observe(after);
        self.count_tokens(record, &model);
    }

    /// A stream's first output has passed, so long after its request's head.
    pub(crate) fn first_token(&self, record_model: Option<&str>, after: Duration) {
        self.first_token
            .get_or_create(&self.labelled(record_model))
            .observe(seconds(after.as_millis()));
    }

    fn count_tokens(&self, record: &Record, model: &Model) {
        let Some(usage) = record.usage else { return };
        for (gen_ai_token_type, count) in
            [("input", usage.input_tokens), ("output", usage.output_tokens)]
        {
            let labels = Tokens {
                gen_ai_operation_name: OPERATION,
                gen_ai_provider_name: PROVIDER,
                gen_ai_response_model: model.gen_ai_response_model.clone(),
                gen_ai_token_type,
            };
            if let Some(count) = count {
                self.tokens.get_or_create(&labels).observe(count as f64);
            }
        }
        self.cached.get_or_create(model).inc_by(usage.cached_tokens.unwrap_or(0));
        self.reasoning.get_or_create(model).inc_by(usage.reasoning_tokens.unwrap_or(0));
    }

    /// The model counts only where the upstream has confirmed it with its figures.
    fn model(&self, record: &Record) -> Model {
        self.labelled(record.model.as_deref().filter(|_| record.usage.is_some()))
    }

    fn labelled(&self, model: Option<&str>) -> Model {
        let gen_ai_response_model = match model {
            None => String::new(),
            Some(model) => {
                let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
                if models.iter().any(|known| known == model) {
                    model.to_owned()
                } else if models.len() < KEPT_MODELS {
                    models.push(model.to_owned());
                    model.to_owned()
                } else {
                    OTHER_MODEL.to_owned()
                }
            }
        };
        Model {
            gen_ai_operation_name: OPERATION,
            gen_ai_provider_name: PROVIDER,
            gen_ai_response_model,
        }
    }

    /// What has been counted of exchanges that have ended. The rest is counted elsewhere.
    pub(crate) fn counters(&self) -> Counters {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A client's connection is open until what this returns is dropped.
    pub(crate) fn connected(&self) -> Connected {
        self.connections.inc();
        Connected(self.connections.clone())
    }

    pub(crate) fn open_connections(&self) -> u64 {
        u64::try_from(self.connections.get()).unwrap_or(0)
    }

    /// OpenMetrics text. What is under way and what was dropped is counted elsewhere.
    pub(crate) fn text(&self, in_flight: u64, dropped: u64) -> String {
        self.in_flight.set(i64::try_from(in_flight).unwrap_or(i64::MAX));
        self.dropped.inner().fetch_max(dropped, Ordering::Relaxed); // Several may ask at once.
        let mut text = String::new();
        // A String takes everything.
        let _ = text::encode(&mut text, &self.registry);
        text
    }
}

/// As in records: what is shorter than a millisecond is none.
fn seconds(millis: u128) -> f64 {
    millis as f64 / 1_000.0
}

/// A connection that is counted. Dropped, it is not any more.
#[derive(Debug)]
pub(crate) struct Connected(Gauge);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// What went wrong: a reason, or the upstream's status.
fn error_type(record: &Record) -> Option<String> {
    match (record.reason, record.status) {
        (Some(reason), _) => Some(reason.code().to_owned()),
        (None, Some(status @ 400..=599)) => Some(format!("http_{status}")),
        _ if record.outcome == Outcome::ClientLeft => Some(record.outcome.code().to_owned()),
        _ => None,
    }
}

/// The same where it is the upstream that failed. Reason and status of what completed are its own words; to be
/// incomplete may be the client's wish.
fn upstream_error(record: &Record) -> Option<String> {
    let is_the_upstreams = match record.outcome {
        Outcome::UpstreamFailed => true,
        Outcome::Completed => record.reason != Some(Reason::ResponseIncomplete),
        Outcome::Cut => record.reason == Some(Reason::UpstreamCut),
        Outcome::ClientLeft | Outcome::Refused => false,
    };
    error_type(record).filter(|_| is_the_upstreams)
}
