//! A flood of requests that are not forwarded costs no record of those that are.

use std::path::Path;
use std::time::Instant;

use codex_mock_upstream::{MockUpstream, Scenario};
use serde_json::{Value, json};

use super::ending;
use crate::control_client::*;
use crate::support::*;

/// Clients that ask at the same time.
const CLIENTS: usize = 256;

/// One exchange that goes on until it is let go, in the only place that there is.
struct Flooded {
    upstream: MockUpstream,
    traces: Traces,
    proxy: Proxy,
    holder: Client,
    /// Requests so far.
    sent: usize,
}

impl Flooded {
    async fn start() -> Self {
        let upstream = upstream(Scenario::Json).await;
        upstream.script([Scenario::Gated]);
        let traces = Traces::new();
        let proxy = Proxy::start(&upstream, &traces.flags(&["--max-concurrent", "1"]));
        let mut holder = proxy.connect();
        holder.post();
        upstream.release(1);
        holder.until("event: response.created");
        Self { upstream, traces, proxy, holder, sent: 1 }
    }

    /// Asks until a gap says so, in these words.
    fn flood_until_told(&mut self, told: &str, mut ask: impl FnMut(&Proxy)) {
        let deadline = Instant::now() + LIMIT;
        while !is_told(&self.traces.log, told) {
            assert!(Instant::now() < deadline, "{} requests, and no gap", self.sent);
            (0..100).for_each(|_| ask(&self.proxy));
            self.sent += 100;
        }
    }

    /// Lets the exchange end.
    fn let_go(&mut self) {
        self.upstream.release(20);
        self.holder.until("event: response.completed");
        self.holder.until("\r\n0\r\n\r\n");
    }

    /// Waits until every request has its record, or a gap says that it has none. Returns the records.
    fn all_are_told(&self) -> Vec<Value> {
        look_for("every record, or that it is missing", || {
            let lines = lines_of(&self.traces.log);
            let missing: u64 = lines.iter().map(gap).sum();
            let records: Vec<Value> = lines.into_iter().filter(is_record).collect();
            let told = records.len() + missing as usize;
            assert!(told <= self.sent, "{told} of {} requests", self.sent);
            if told == self.sent { Ok(records) } else { Err((told, self.sent)) }
        })
    }
}

fn is_told(log: &Path, words: &str) -> bool {
    let because = |line: &Value| line["gap"]["because"].as_str().map(str::to_owned);
    lines_of(log).iter().filter_map(because).any(|because| because.contains(words))
}

fn count(records: &[Value], expected: &Value) -> usize {
    records.iter().filter(|record| ending(record) == *expected).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_close_at_once_do_not_take_the_place_of_what_is_forwarded() {
    let mut flooded = Flooded::start().await;
    let mut told = 0;
    flooded.flood_until_told("came faster than", |proxy| {
        let mut client = proxy.connect();
        client.cork();
        client.post();
        client.half_close(); // Together with the request.
        let _ = client.read_to_end();
        told += usize::from(contains(&client.got, b"sending_side_closed"));
    });
    assert!(told > 1_000, "only {told} were told");
    flooded.let_go();
    let records = flooded.all_are_told();
    let holders = records.iter().find(|record| record["id"] == 1).unwrap();
    assert_eq!(ending(holders), json!(["completed", null, 200]));
    let kept = count(&records, &json!(["client_left", "sending_side_closed", 400]));
    assert!(kept > 0 && kept < told, "{kept} of {told} have a record");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_are_told_to_come_back_do_not_take_the_place_of_what_is_forwarded() {
    let mut flooded = Flooded::start().await;
    // They are slow, so others of the same account use up first what it may leave of such records.
    let mut client = flooded.proxy.connect();
    flooded.flood_until_told("came faster than", |_| {
        client.send_request("GET /elsewhere", &[], b"");
        assert_eq!(client.answer().status, 403);
    });

    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| flooded.proxy.connect()).collect();
    let mut statuses = Vec::new();
    for round in 0..2 {
        // Without a body: so the connection stays.
        clients.iter_mut().for_each(|client| client.send_request("POST /v1/responses", &[], b""));
        flooded.sent += CLIENTS;
        if round == 1 {
            flooded.let_go(); // Whoever waits now is served after it.
        }
        statuses.extend(clients.iter_mut().map(|client| client.answer().status));
    }
    let answered = |with: u16| statuses.iter().filter(|status| **status == with).count();
    let (served, told) = (answered(200), answered(429));
    assert_eq!(served + told, 2 * CLIENTS);
    assert!(told >= CLIENTS && served > 0, "{served} were served, {told} told to come back");

    let records = flooded.all_are_told();
    let kept = count(&records, &json!(["refused", "too_many_requests", 429]));
    assert!(kept < told, "all {told} have a record");
    let forwarded = 1 + served;
    assert_eq!(count(&records, &json!(["completed", null, 200])), forwarded);
    // Whoever looks only at the last records finds them too.
    let kept = flooded.traces.on_socket();
    assert_eq!(count(&kept, &json!(["completed", null, 200])), forwarded);
}
