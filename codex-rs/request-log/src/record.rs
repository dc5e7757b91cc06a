//! What is kept of one exchange.

use std::fmt;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::{Client, Outcome, Reason, Usage, line, time};

/// One request and its answer. `Display` gives one line for people, [`Record::to_json`] one of JSON, which
/// [`crate::Line`] reads back.
///
/// Every key is always written, in this order, `null` where there is nothing to say; keys that are not
/// known are passed over when one is read.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Record {
    /// Counted from 1 since the proxy started.
    pub id: u64,
    /// When the request's head had been read, to the millisecond.
    #[serde(with = "crate::time")]
    pub started_at: SystemTime,
    /// The account that made the client's socket.
    pub peer: Client,
    /// As the client sent it, or its beginning.
    pub method: String,
    /// The target's path, without its query, or its beginning.
    pub path: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it did not complete, or what a whole answer says of itself.
    pub reason: Option<Reason>,
    /// The cause in our own words, for the operator.
    pub detail: Option<String>,
    /// The status that the client got; `None` when it got none.
    pub status: Option<u16>,
    /// The answer's model, else the request's.
    pub model: Option<String>,
    /// Whether the answer was, or was to be, a stream of events.
    pub stream: Option<bool>,
    /// Bytes of the request's body that were read.
    pub bytes_in: u64,
    /// Bytes of the answer's body, the upstream's or our own, that were handed to the client's connection.
    pub bytes_out: u64,
    /// From the request's head to the first byte of the upstream's answer's body, in milliseconds.
    pub first_byte_ms: Option<u64>,
    /// From the request's head to the end, in milliseconds.
    pub duration_ms: u64,
    /// What the upstream says that it took.
    pub usage: Option<Usage>,
    /// The upstream's own name for the exchange.
    pub upstream_request_id: Option<String>,
    /// The code in the upstream's error, as in `rate_limit_exceeded`.
    pub upstream_error: Option<String>,
}

impl Record {
    /// Its line of the JSONL form, without the end. There is no control character in it.
    pub fn to_json(&self) -> String {
        line::json(self)
    }
}

impl fmt::Display for Record {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = time::to_seconds(self.started_at);
        write!(formatter, "{time} #{} {}", self.id, self.outcome)?;
        if let Some(status) = self.status {
            write!(formatter, " {status}")?;
        }
        if let Some(reason) = self.reason {
            write!(formatter, " {reason}")?;
        }
        // Method, path and model are others' words: no control character of theirs reaches a terminal.
        write!(formatter, " {} {}", self.method.escape_debug(), self.path.escape_debug())?;
        write!(formatter, " {} ms", self.duration_ms)?;
        write!(formatter, " {} B up {} B down ", self.bytes_in, self.bytes_out)?;
        if let Some(model) = &self.model {
            write!(formatter, "{} ", model.escape_debug())?;
        }
        if let Some(usage) = self.usage.map(|usage| usage.to_string())
            && !usage.is_empty()
        {
            write!(formatter, "{usage} ")?;
        }
        if let Some(first_byte_ms) = self.first_byte_ms {
            write!(formatter, "first byte {first_byte_ms} ms ")?;
        }
        write!(formatter, "for {}", self.peer)?;
        match &self.detail {
            // Our own words, but a system's message may be in them.
            Some(detail) => write!(formatter, ": {}", detail.replace(char::is_control, " ")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! A record in which everything stands.

    use std::time::Duration;

    use super::*;

    pub(crate) fn record() -> Record {
        Record {
            id: 7,
            started_at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_025),
            peer: Client { uid: Some(1_000), user: Some("alice".to_owned()) },
            method: "POST".to_owned(),
            path: "/v1/responses".to_owned(),
            outcome: Outcome::Completed,
            reason: Some(Reason::ResponseIncomplete),
            detail: Some("max_output_tokens".to_owned()),
            status: Some(200),
            model: Some("gpt-5".to_owned()),
            stream: Some(true),
            bytes_in: 400,
            bytes_out: 1_200,
            first_byte_ms: Some(80),
            duration_ms: 1_234,
            usage: Some(Usage {
                input_tokens: Some(1_200),
                cached_tokens: Some(1_024),
                output_tokens: Some(42),
                reasoning_tokens: Some(7),
                total_tokens: Some(1_242),
            }),
            upstream_request_id: Some("req_1".to_owned()),
            upstream_error: Some("rate_limit_exceeded".to_owned()),
        }
    }

    /// A refused request, about which nothing is known that need not be.
    pub(crate) fn bare() -> Record {
        Record {
            peer: Client { uid: Some(1_000), user: None },
            method: "GET".to_owned(),
            path: "/v1/models".to_owned(),
            outcome: Outcome::Refused,
            reason: Some(Reason::RouteNotAllowed),
            detail: None,
            status: Some(403),
            model: None,
            stream: None,
            bytes_in: 0,
            bytes_out: 20,
            first_byte_ms: None,
            duration_ms: 1,
            usage: None,
            upstream_request_id: None,
            upstream_error: None,
            ..record()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{bare, record};
    use super::*;

    #[test]
    fn a_line_says_when_what_and_why() {
        assert_eq!(
            bare().to_string(),
            "2027-01-15T08:00:00Z #7 refused 403 route_not_allowed GET /v1/models 1 ms 0 B up 20 B down for uid 1000"
        );
        assert_eq!(
            record().to_string(),
            "2027-01-15T08:00:00Z #7 completed 200 response_incomplete POST /v1/responses 1234 ms \
             400 B up 1200 B down gpt-5 in 1200 (cached 1024) out 42 (reasoning 7) first byte 80 ms \
             for alice (uid 1000): max_output_tokens"
        );
    }

    #[test]
    fn usage_without_a_figure_leaves_no_hole() {
        let line = Record { usage: Some(Usage::default()), ..record() }.to_string();
        assert!(line.contains("down gpt-5 first byte"), "{line}");
    }

    #[test]
    fn who_could_not_be_told_is_nobody() {
        let line = Record { peer: Client::default(), ..bare() }.to_string();
        assert!(line.ends_with(" for an unknown account"), "{line}");
    }

    #[test]
    fn nobody_can_write_a_second_line_or_a_terminal_sequence() {
        let odd = || "two\nlines\t\u{1b}[2J\u{7f}\u{9b}2J".to_owned();
        let mut record = record();
        record.method = odd();
        record.path = odd();
        record.detail = Some(odd());
        record.model = Some(odd());
        record.peer.user = Some(odd());
        let line = record.to_string();
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}
