//! Points in time as records have them: RFC 3339, UTC, milliseconds.
//!
//! What can't be written so, because a clock stands before 1970 or after 9999, is moved to the nearest
//! that can: a wrong clock costs no record.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

/// The last second of the year 9999, in seconds since 1970.
const LAST_SECOND: u64 = 253_402_300_799;

/// The same point in time as a record can have it.
pub(crate) fn in_millis(time: SystemTime) -> SystemTime {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let since = since.min(Duration::new(LAST_SECOND, 999_000_000));
    UNIX_EPOCH + Duration::new(since.as_secs(), since.subsec_millis() * 1_000_000)
}

/// `2027-01-15T08:00:00Z`
pub(crate) fn to_seconds(time: SystemTime) -> impl std::fmt::Display {
    humantime::format_rfc3339_seconds(in_millis(time))
}

/// `2027-01-15T08:00:00.000Z`, as records have it. What RFC 3339 can't say, before 1970 or after 9999, is moved to the
/// nearest that it can.
pub fn rfc3339(time: SystemTime) -> impl std::fmt::Display {
    humantime::format_rfc3339_millis(in_millis(time))
}

/// For serde: writes `2027-01-15T08:00:00.000Z`.
pub(crate) fn serialize<S: Serializer>(
    time: &SystemTime,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&rfc3339(*time))
}

/// For serde: reads any time in UTC, to the millisecond.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<SystemTime, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_rfc3339(&text).map(in_millis).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_far_out_costs_no_record() {
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(to_seconds(before).to_string(), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(before).to_string(), "1970-01-01T00:00:00.000Z");
        let after = UNIX_EPOCH + Duration::from_secs(LAST_SECOND + 1);
        assert_eq!(to_seconds(after).to_string(), "9999-12-31T23:59:59Z");
        assert_eq!(rfc3339(after).to_string(), "9999-12-31T23:59:59.999Z");
        let between = UNIX_EPOCH + Duration::from_micros(1_999);
        assert_eq!(in_millis(between), UNIX_EPOCH + Duration::from_millis(1));
    }
}
