//! How the mock answers one request.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

/// How one request is answered. `FromStr` takes the words that `Display` gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// A whole turn as server-sent events, as fast as the socket takes it.
    Turn,
    /// A turn of so many text events with a pause before each.
    Slow {
        /// How many text events.
        events: u32,
        /// The pause before each.
        gap: Duration,
    },
    /// A turn in which every event waits for [`MockUpstream::release`](crate::MockUpstream::release).
    Gated,
    /// So many MiB of events, as fast as the client takes them.
    Flood {
        /// How much.
        mebibytes: u32,
    },
    /// A whole turn as one JSON document.
    Json,
    /// A turn as gzip-encoded server-sent events.
    Gzip,
    /// A JSON document that tells how many bytes of body arrived, under which encoding.
    Echo,
    /// This status with an error document.
    Status {
        /// The status code.
        status: u16,
        /// The `Retry-After` field, in seconds.
        retry_after: Option<u32>,
    },
    /// 429 with the code `insufficient_quota`.
    Quota,
    /// A redirect to this location.
    Redirect {
        /// The status code.
        status: u16,
        /// The `Location` field.
        location: String,
    },
    /// The connection is closed in place of an answer.
    Close,
    /// The connection is reset in place of an answer.
    ResetAtOnce,
    /// No answer, and the connection stays open.
    Hang,
    /// The head and one event, then nothing more, and the connection stays open.
    Silent,
    /// So many events, then the connection is closed within the chunked body.
    Cut {
        /// How many events before it.
        events: usize,
    },
    /// So many events, then the connection is reset.
    Reset {
        /// How many events before it.
        events: usize,
    },
    /// A body that ends cleanly, without the event `response.completed`.
    Unfinished,
}

/// A word that names no [`Scenario`].
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0:?} is no scenario; known are {known}", known = Scenario::WORDS)]
pub struct UnknownScenario(String);

impl Scenario {
    /// The words that [`FromStr`] takes.
    pub const WORDS: &str = "turn, slow:EVENTS:MILLISECONDS, flood:MEBIBYTES, json, gzip, echo, status:CODE[:RETRY_AFTER_SECONDS], \
        quota, redirect:CODE:LOCATION, close, reset-at-once, hang, silent, cut:EVENTS, reset:EVENTS, unfinished";
}

impl FromStr for Scenario {
    type Err = UnknownScenario;

    fn from_str(words: &str) -> Result<Self, Self::Err> {
        let (name, rest) = words.split_once(':').unwrap_or((words, ""));
        let (first, second) = rest.split_once(':').unwrap_or((rest, ""));
        let unknown = || UnknownScenario(words.to_owned());
        let number = |word: &str| word.parse::<u32>().map_err(|_| unknown());
        Ok(match name {
            "turn" => Self::Turn,
            "slow" => Self::Slow {
                events: number(first)?,
                gap: Duration::from_millis(number(second)?.into()),
            },
            "flood" => Self::Flood { mebibytes: number(first)? },
            "json" => Self::Json,
            "gzip" => Self::Gzip,
            "echo" => Self::Echo,
            "status" => Self::Status {
                status: first.parse().map_err(|_| unknown())?,
                retry_after: if second.is_empty() { None } else { Some(number(second)?) },
            },
            "quota" => Self::Quota,
            "redirect" => Self::Redirect {
                status: first.parse().map_err(|_| unknown())?,
                location: second.to_owned(),
            },
            "close" => Self::Close,
            "reset-at-once" => Self::ResetAtOnce,
            "hang" => Self::Hang,
            "silent" => Self::Silent,
            "cut" => Self::Cut { events: number(first)? as usize },
            "reset" => Self::Reset { events: number(first)? as usize },
            "unfinished" => Self::Unfinished,
            _ => return Err(unknown()),
        })
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Turn => formatter.write_str("turn"),
            Self::Slow { events, gap } => write!(formatter, "slow:{events}:{}", gap.as_millis()),
            Self::Gated => formatter.write_str("gated"),
            Self::Flood { mebibytes } => write!(formatter, "flood:{mebibytes}"),
            Self::Json => formatter.write_str("json"),
            Self::Gzip => formatter.write_str("gzip"),
            Self::Echo => formatter.write_str("echo"),
            Self::Status { status, retry_after: None } => write!(formatter, "status:{status}"),
            Self::Status { status, retry_after: Some(seconds) } => {
                write!(formatter, "status:{status}:{seconds}")
            }
            Self::Quota => formatter.write_str("quota"),
            Self::Redirect { status, location } => {
                write!(formatter, "redirect:{status}:{location}")
            }
            Self::Close => formatter.write_str("close"),
            Self::ResetAtOnce => formatter.write_str("reset-at-once"),
            Self::Hang => formatter.write_str("hang"),
            Self::Silent => formatter.write_str("silent"),
            Self::Cut { events } => write!(formatter, "cut:{events}"),
            Self::Reset { events } => write!(formatter, "reset:{events}"),
            Self::Unfinished => formatter.write_str("unfinished"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_is_named_by_the_words_that_it_prints() {
        for words in [
            "turn",
            "slow:10:200",
            "flood:200",
            "json",
            "gzip",
            "echo",
            "status:500",
            "status:429:1",
            "quota",
            "redirect:307:http://127.0.0.1:9/x",
            "close",
            "reset-at-once",
            "hang",
            "silent",
            "cut:3",
            "reset:3",
            "unfinished",
        ] {
            assert_eq!(
                words.parse::<Scenario>().map(|known| known.to_string()),
                Ok(words.to_owned())
            );
        }
        for words in ["", "slow", "slow:1", "status:x", "cut:-1", "gated"] {
            assert_eq!(words.parse::<Scenario>(), Err(UnknownScenario(words.to_owned())));
        }
    }
}
