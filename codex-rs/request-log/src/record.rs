//! What is kept of one exchange.

use std::fmt;
use std::time::{Duration, SystemTime};

use crate::Reason;

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The answer went through whole, whatever its status.
    Completed,
    /// The proxy did not forward the request.
    Refused,
    /// The upstream gave no answer that could be relayed.
    UpstreamFailed,
    /// The client left before the answer had ended.
    ClientLeft,
    /// The upstream, or the proxy's end, ended it before the answer had ended.
    Cut,
}

impl Outcome {
    /// The word for it in records.
    pub fn code(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Refused => "refused",
            Self::UpstreamFailed => "upstream_failed",
            Self::ClientLeft => "client_left",
            Self::Cut => "cut",
        }
    }
}

/// One request and its answer. `Display` gives one line without a line end.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Counted from 1 since the proxy started.
    pub id: u64,
    /// When the request's head had been read.
    pub started_at: SystemTime,
    /// The account that made the client's socket; `None` if it could not be told.
    pub uid: Option<u32>,
    /// As the client sent it, or its beginning.
    pub method: String,
    /// The target's path, without its query, or its beginning.
    pub path: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it did not complete.
    pub reason: Option<Reason>,
    /// The cause in words, for the operator.
    pub detail: Option<String>,
    /// The status that the client got; `None` when it got none.
    pub status: Option<u16>,
    /// Bytes of the request's body that were read.
    pub bytes_in: u64,
    /// Bytes of the answer's body, the upstream's or our own, that were handed to the client's connection.
    pub bytes_out: u64,
    /// From the request's head to the end.
    pub duration: Duration,
}

impl fmt::Display for Record {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = humantime::format_rfc3339_seconds(self.started_at);
        write!(formatter, "{time} #{} {}", self.id, self.outcome.code())?;
        if let Some(status) = self.status {
            write!(formatter, " {status}")?;
        }
        if let Some(reason) = self.reason {
            write!(formatter, " {reason}")?;
        }
        // Method and path are the client's words: no control character of theirs reaches a terminal.
        write!(formatter, " {} {}", self.method.escape_debug(), self.path.escape_debug())?;
        write!(formatter, " {} ms", self.duration.as_millis())?;
        write!(formatter, " {} B up {} B down", self.bytes_in, self.bytes_out)?;
        match self.uid {
            Some(uid) => write!(formatter, " for uid {uid}")?,
            None => formatter.write_str(" for an unknown account")?,
        }
        match &self.detail {
            // Our own words, but a system's message may be in them.
            Some(detail) => write!(formatter, ": {}", detail.replace(char::is_control, " ")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            id: 7,
            started_at: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
            uid: Some(1_000),
            method: "GET".to_owned(),
            path: "/v1/models".to_owned(),
            outcome: Outcome::Refused,
            reason: Some(Reason::RouteNotAllowed),
            detail: None,
            status: Some(403),
            bytes_in: 0,
            bytes_out: 20,
            duration: Duration::from_micros(1_900),
        }
    }

    #[test]
    fn a_line_says_when_what_and_why() {
        let line = record().to_string();
        assert_eq!(
            line,
            "2027-01-15T08:00:00Z #7 refused 403 route_not_allowed GET /v1/models 1 ms 0 B up 20 B down for uid 1000"
        );
    }

    #[test]
    fn who_could_not_be_told_is_nobody() {
        let line = Record { uid: None, ..record() }.to_string();
        assert!(line.ends_with(" for an unknown account"), "{line}");
    }

    #[test]
    fn a_client_cannot_write_a_second_line_or_a_terminal_sequence() {
        let mut record = record();
        record.method = "A\tB".to_owned();
        record.path = "/\n\u{1b}[2J".to_owned();
        record.detail = Some("two\nlines".to_owned());
        let line = record.to_string();
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}
