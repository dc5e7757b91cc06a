//! Which records are asked for: the query of `GET /v1/records`, and its words.

use std::str::FromStr;
use std::time::{Duration, SystemTime};

use codex_request_log::{Filter, UnknownWord, rfc3339};
use url::form_urlencoded;

/// Which records are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordsQuery {
    /// So many, the newest; all that are kept when `None`.
    pub last: Option<usize>,
    /// Only those with a higher number.
    pub after: Option<u64>,
    /// Also all that are still to come.
    pub follow: bool,
    /// Only those that it accepts.
    pub filter: Filter,
}

impl RecordsQuery {
    /// As the query of a URL, without the question mark: `last=50&follow=1`.
    pub fn to_query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let mut put = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                query.append_pair(name, &value);
            }
        };
        put("last", self.last.map(|last| last.to_string()));
        put("after", self.after.map(|id| id.to_string()));
        put("follow", self.follow.then(|| "1".to_owned()));
        put("uid", self.filter.uid.map(|uid| uid.to_string()));
        put("model", self.filter.model.clone());
        put("outcome", self.filter.outcome.map(|outcome| outcome.code().to_owned()));
        put("since", self.filter.since.map(|since| rfc3339(since).to_string()));
        query.finish()
    }

    /// Reads what [`RecordsQuery::to_query`] writes.
    ///
    /// # Errors
    ///
    /// One sentence about the first parameter that is unknown, repeated, or has no value that it can have.
    pub fn parse(query: &str) -> Result<Self, String> {
        let mut parsed = Self::default();
        let mut seen = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = value.into_owned();
            match name.as_ref() {
                "last" => parsed.last = Some(number(&name, &value)?),
                "after" => parsed.after = Some(number(&name, &value)?),
                "follow" => parsed.follow = flag(&value)?,
                "uid" => parsed.filter.uid = Some(number(&name, &value)?),
                "model" => parsed.filter.model = Some(value),
                "outcome" => {
                    let outcome = value.parse().map_err(|error: UnknownWord| error.to_string())?;
                    parsed.filter.outcome = Some(outcome);
                }
                "since" => parsed.filter.since = Some(time(&value)?),
                _ => return Err(format!("there is no parameter {name:?}")),
            }
            if seen.contains(&name) {
                return Err(format!("the parameter {name:?} stands there twice"));
            }
            seen.push(name);
        }
        Ok(parsed)
    }
}

/// Digits alone: no sign, no space.
fn number<T: FromStr>(name: &str, value: &str) -> Result<T, String> {
    let digits = Some(value).filter(|value| value.bytes().all(|byte| byte.is_ascii_digit()));
    let number = digits.and_then(|digits| digits.parse().ok());
    number.ok_or_else(|| format!("the value of {name} is no number that it can have: {value:?}"))
}

fn flag(value: &str) -> Result<bool, String> {
    match value {
        "1" => Ok(true),
        "0" => Ok(false),
        _ => Err(format!("the value of follow is 1 or 0, not {value:?}")),
    }
}

/// To the millisecond, as records have it: what began in the same one is not left out.
fn time(value: &str) -> Result<SystemTime, String> {
    let time = humantime::parse_rfc3339(value)
        .map_err(|_| format!("the value of since is no time of RFC 3339 in UTC: {value:?}"))?;
    let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let beyond_nanos = since_epoch.subsec_nanos() % 1_000_000;
    Ok(time - Duration::from_nanos(beyond_nanos.into()))
}

#[cfg(test)]
mod tests {
    use codex_request_log::Outcome;

    use super::*;

    fn parsed(query: &str) -> RecordsQuery {
        RecordsQuery::parse(query).unwrap()
    }

    #[test]
    fn everything_that_can_be_asked_is_written_and_read_back() {
        let since = SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_250);
        let query = RecordsQuery {
            last: Some(50),
            after: Some(7),
            follow: true,
            filter: Filter {
                uid: Some(1_000),
                model: Some("gpt-5".to_owned()),
                outcome: Some(Outcome::ClientLeft),
                since: Some(since),
            },
        };
        let text = query.to_query();
        assert!(
            text.starts_with("last=50&after=7&follow=1&uid=1000&model=gpt-5&outcome=client_left&"),
            "{text}"
        );
        assert_eq!(parsed(&text), query);
    }

    #[test]
    fn nothing_asked_is_no_query() {
        assert_eq!(RecordsQuery::default().to_query(), "");
        assert_eq!(parsed("").to_query(), "");
        assert_eq!(parsed("follow=0").to_query(), "");
    }

    #[test]
    fn whatever_a_model_is_called_it_stays_one_parameter_of_one_line() {
        for model in
            ["a b", "a+b", "a&last=1", "50%", "%00", "ü/é#?", "\r\nHost: x", "\u{1f600}", "", "="]
        {
            let filter = Filter { model: Some(model.to_owned()), ..Filter::default() };
            let text = RecordsQuery { filter, ..RecordsQuery::default() }.to_query();
            assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{text}");
            let read = parsed(&text);
            assert_eq!(read.filter.model.as_deref(), Some(model), "{text}");
            assert_eq!(read.last, None, "{text}");
        }
    }

    #[test]
    fn what_has_no_meaning_is_refused_by_name() {
        for (query, word) in [
            ("moon=1", "moon"),
            ("last", "last"),
            ("last=", "last"),
            ("last=+5", "last"),
            ("last=-1", "last"),
            ("last=99999999999999999999999", "last"),
            ("last=1&last=2", "twice"),
            ("follow=yes", "follow"),
            ("uid=root", "uid"),
            ("uid=4294967296", "uid"),
            ("outcome=lost", "\"lost\" is no outcome: it is one of completed, "),
            ("since=yesterday", "since"),
            ("since=2027-01-15", "since"),
        ] {
            let error = RecordsQuery::parse(query).unwrap_err();
            assert!(error.contains(word), "{query}: {error}");
            assert!(!error.contains(char::is_control), "{query}: {error:?}");
        }
        let error = RecordsQuery::parse("model=x&%1b%5b2J=1").unwrap_err();
        assert!(!error.contains(char::is_control), "{error:?}");
    }

    #[test]
    fn a_time_is_asked_for_to_the_millisecond_or_is_the_nearest_that_can_be_written() {
        let since = |time| {
            let filter = Filter { since: Some(time), ..Filter::default() };
            RecordsQuery { filter, ..RecordsQuery::default() }.to_query()
        };
        let early = since(SystemTime::UNIX_EPOCH - Duration::from_secs(1));
        assert_eq!(early, "since=1970-01-01T00%3A00%3A00.000Z");
        let late = since(SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_800));
        assert_eq!(late, "since=9999-12-31T23%3A59%3A59.999Z");
        for text in ["1970-01-01T00:00:00.001999999Z", "1970-01-01T00:00:00.001Z"] {
            let time = parsed(&format!("since={text}")).filter.since.unwrap();
            assert_eq!(time, SystemTime::UNIX_EPOCH + Duration::from_millis(1));
            assert_eq!(since(time), "since=1970-01-01T00%3A00%3A00.001Z");
        }
    }
}
