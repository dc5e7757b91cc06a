//! The variables that keep Codex from sending to an HTTP proxy what is meant for 127.0.0.1.

use std::ffi::OsString;

use codex_config::exempting_loopback;

/// Which of the two is read, and what counts if only one is set, differs between programs.
const NAMES: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// Both with 127.0.0.1 in them. One that is not set says what the other does: some programs look no further than the
/// first one that is.
pub(crate) fn exempted(
    variable: impl Fn(&str) -> Option<OsString>,
) -> [(&'static str, OsString); 2] {
    let either = NAMES.iter().find_map(|name| variable(name));
    NAMES.map(|name| (name, with_loopback(variable(name).or_else(|| either.clone()))))
}

fn with_loopback(said: Option<OsString>) -> OsString {
    let Some(said) = said else { return exempting_loopback(None).into() };
    match said.to_str() {
        Some(text) => exempting_loopback(Some(text)).into(),
        // No UTF-8, but still a list.
        None => {
            let mut list = said;
            list.push(",127.0.0.1");
            list
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn both_exempt_this_machine_and_keep_what_they_say() {
        let plain = |text: Option<&'static str>| text.map(OsString::from);
        for (upper, lower) in [
            (None, None),
            (Some("corp.example"), None),
            (None, Some("corp.example")),
            (Some("a.example"), Some("b.example")),
        ] {
            let seen = exempted(|name| plain(if name == "NO_PROXY" { upper } else { lower }));
            assert_eq!(seen.each_ref().map(|(name, _)| *name), ["NO_PROXY", "no_proxy"]);
            for ((_, value), kept) in seen.iter().zip([upper.or(lower), lower.or(upper)]) {
                let value = value.to_str().unwrap();
                assert!(value.split(',').any(|part| part.trim() == "127.0.0.1"), "{value}");
                assert!(kept.is_none_or(|kept| value.contains(kept)), "{value}");
            }
        }
    }

    #[test]
    fn one_that_is_no_text_keeps_its_bytes() {
        let odd = OsString::from_vec(b"\xff.example".to_vec());
        let seen = exempted(|name| (name == "no_proxy").then(|| odd.clone()));
        let expected = OsString::from_vec(b"\xff.example,127.0.0.1".to_vec());
        assert_eq!(seen.map(|(_, value)| value), [expected.clone(), expected]);
    }
}
