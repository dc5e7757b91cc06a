//! Numbers, times and sizes as people read them.

use std::time::{Duration, SystemTime};

use codex_request_log::rfc3339;

/// Tokens, in at most 6 characters up to 999.9 M: `999`, `12.3k`, `1.2M`.
pub(crate) fn tokens(count: u64) -> String {
    match count {
        0..1_000 => count.to_string(),
        1_000..999_950 => format!("{}k", tenths(count, 1_000)),
        999_950..999_950_000 => format!("{}M", tenths(count, 1_000_000)),
        _ => format!("{}G", tenths(count, 1_000_000_000)),
    }
}

/// A length of time: `80 ms`, `1.2 s`, `2 min 05 s`, `3 h 07 min`, `4 d 05 h`.
pub(crate) fn millis(millis: u64) -> String {
    let seconds = millis / 1_000;
    match seconds {
        0 => format!("{millis} ms"),
        // To the next tenth only below a minute, so that nothing is ever called 60.0 s.
        1..60 if millis < 59_950 => format!("{} s", tenths(millis, 1_000)),
        1..60 => "1 min 00 s".to_owned(),
        60..3_600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {:02} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {:02} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// The same of whole seconds: `0 s`, `3 s`, `2 min 05 s`.
pub(crate) fn seconds(count: u64) -> String {
    if count < 60 { format!("{count} s") } else { millis(count.saturating_mul(1_000)) }
}

/// A length of time to the millisecond, as somebody has set it: `10 s`, `10 min`, `1 s 500 ms`.
pub(crate) fn exact_millis(millis: u64) -> String {
    let units = [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000), ("ms", 1)];
    let (mut parts, mut rest) = (Vec::new(), millis);
    for (unit, size) in units {
        if rest >= size {
            parts.push(format!("{} {unit}", rest / size));
            rest %= size;
        }
    }
    if parts.is_empty() { "0 s".to_owned() } else { parts.join(" ") }
}

/// A size: `400 B`, `12.3 KiB`, `64 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.into_iter().find(|(_, size)| count >= *size) {
        None => format!("{count} B"),
        Some((unit, size)) if count.is_multiple_of(size) => format!("{} {unit}", count / size),
        Some((unit, size)) => format!("{} {unit}", tenths(count, size)),
    }
}

/// The same, and to the byte where that says less than all.
pub(crate) fn exact_bytes(count: u64) -> String {
    let short = bytes(count);
    if count < 1_024 || !short.contains('.') { short } else { format!("{short} ({count} B)") }
}

/// `2027-01-15T08:00:00Z`, or the nearest that can be written so.
pub(crate) fn moment(at: SystemTime) -> String {
    let millis = rfc3339(at).to_string();
    format!("{}Z", millis.split('.').next().unwrap_or_default())
}

/// The same for Unix time in seconds, or what is no time on any clock.
pub(crate) fn moment_of(unix_seconds: u64) -> String {
    let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(unix_seconds));
    at.map_or_else(|| "an impossible time".to_owned(), moment)
}

/// `count` in units of `unit`, rounded to a tenth.
fn tenths(count: u64, unit: u64) -> String {
    let tenths = (u128::from(count) * 10 + u128::from(unit) / 2) / u128::from(unit);
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_short() {
        for (count, expected) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1.0k"),
            (12_345, "12.3k"),
            (123_456, "123.5k"),
            (999_949, "999.9k"),
            (999_950, "1.0M"),
            (1_234_567, "1.2M"),
            (999_950_000, "1.0G"),
            (u64::MAX, "18446744073.7G"),
        ] {
            assert_eq!(tokens(count), expected);
        }
    }

    #[test]
    fn a_time_has_two_units_at_most() {
        for (count, expected) in [
            (0, "0 ms"),
            (80, "80 ms"),
            (999, "999 ms"),
            (1_000, "1.0 s"),
            (1_249, "1.2 s"),
            (59_949, "59.9 s"),
            (59_950, "1 min 00 s"),
            (125_000, "2 min 05 s"),
            (3_599_999, "59 min 59 s"),
            (11_220_000, "3 h 07 min"),
            (363_600_000, "4 d 05 h"),
        ] {
            assert_eq!(millis(count), expected);
        }
    }

    #[test]
    fn whole_seconds_have_no_tenths() {
        for (count, expected) in
            [(0, "0 s"), (3, "3 s"), (59, "59 s"), (60, "1 min 00 s"), (7_380, "2 h 03 min")]
        {
            assert_eq!(seconds(count), expected);
        }
    }

    #[test]
    fn what_was_set_is_told_to_the_millisecond() {
        for (count, expected) in [
            (0, "0 s"),
            (500, "500 ms"),
            (1_500, "1 s 500 ms"),
            (10_000, "10 s"),
            (600_000, "10 min"),
            (90_000, "1 min 30 s"),
            (90_061_001, "1 d 1 h 1 min 1 s 1 ms"),
        ] {
            assert_eq!(exact_millis(count), expected);
        }
    }

    #[test]
    fn a_size_is_short_or_exact() {
        for (count, short, exact) in [
            (0, "0 B", "0 B"),
            (1_023, "1023 B", "1023 B"),
            (1_024, "1 KiB", "1 KiB"),
            (12_600, "12.3 KiB", "12.3 KiB (12600 B)"),
            (64 << 20, "64 MiB", "64 MiB"),
            (3_000_000_000, "2.8 GiB", "2.8 GiB (3000000000 B)"),
        ] {
            assert_eq!((bytes(count).as_str(), exact_bytes(count).as_str()), (short, exact));
        }
    }

    #[test]
    fn a_moment_is_utc_and_no_number_breaks_it() {
        assert_eq!(moment_of(1_800_000_000), "2027-01-15T08:00:00Z");
        for late in [253_402_300_799, 253_402_300_800] {
            assert_eq!(moment_of(late), "9999-12-31T23:59:59Z");
        }
        assert_eq!(moment_of(u64::MAX), "an impossible time");
        let early = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(moment(early), "1970-01-01T00:00:00Z");
    }
}
