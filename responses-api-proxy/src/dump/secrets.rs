//! What no dump shows: the key wherever it stands, and the values of fields that carry keys and cookies.

use std::sync::Arc;

use codex_key_custody::Masker;
use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

/// Fields whose values are secrets, whoever sends them.
const SECRET_FIELDS: [HeaderName; 6] = [
    AUTHORIZATION,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-api-key"),
    COOKIE,
    SET_COOKIE,
];

/// In place of a secret field's value.
const HIDDEN: &str = "[hidden]";

/// What is to be kept out.
#[derive(Debug)]
pub(crate) struct Secrets {
    /// Of the key; one that has not begun.
    pub(crate) masker: Masker,
    /// Fields of the operator's choosing whose values are secrets too.
    pub(crate) fields: Arc<[HeaderName]>,
}

impl Secrets {
    /// A client's or an upstream's words, with `*` for each byte of the key. What is no UTF-8 becomes U+FFFD, and a
    /// tab a blank: as `\t` it could complete the key.
    pub(crate) fn shown(&self, words: &[u8]) -> Value {
        let mut masker = self.masker.another();
        let mut masked = Vec::with_capacity(words.len());
        masker.feed(words, &mut masked);
        masker.finish(&mut masked);
        Value::from(String::from_utf8_lossy(&masked).replace('\t', " "))
    }

    /// Pairs of name and value, in order.
    pub(crate) fn shown_fields(&self, fields: &HeaderMap) -> Value {
        let pair = |(name, value): (&HeaderName, &HeaderValue)| {
            let is_secret = SECRET_FIELDS.contains(name) || self.fields.contains(name);
            let value = if is_secret { json!(HIDDEN) } else { self.shown(value.as_bytes()) };
            json!([self.shown(name.as_str().as_bytes()), value])
        };
        fields.iter().map(pair).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dump::dumper::testing::{KEY, masker};

    #[test]
    fn fields_that_carry_secrets_keep_their_names_alone() {
        let secrets = Secrets {
            masker: masker(),
            fields: [HeaderName::from_static("x-provider-key")].into(),
        };
        let mut fields = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer a"),
            ("proxy-authorization", "a"),
            ("api-key", "a"),
            ("x-api-key", "a"),
            ("cookie", "a=b"),
            ("set-cookie", "a=b"),
            ("set-cookie", "c=d"),
            ("x-provider-key", "a"),
        ] {
            fields.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let shown = secrets.shown_fields(&fields);
        for (number, name) in fields.keys().enumerate().take(5) {
            assert_eq!(shown[number], json!([name.as_str(), HIDDEN]));
        }
        assert!(shown.as_array().unwrap().iter().all(|pair| pair[1] == HIDDEN), "{shown}");
        assert_eq!(shown.as_array().unwrap().len(), 8);
    }

    #[test]
    fn other_fields_are_shown_without_the_key() {
        let secrets = Secrets { masker: masker(), fields: [].into() };
        let stars = "*".repeat(KEY.len());
        for (value, shown) in [
            (b"text/event-stream".to_vec(), "text/event-stream".to_owned()),
            (format!("a \"{KEY}\" b").into_bytes(), format!("a \"{stars}\" b")),
            (KEY.as_bytes()[..7].to_vec(), KEY[..7].to_owned()),
            (b"caf\xe9".to_vec(), "caf\u{fffd}".to_owned()),
            (Vec::new(), String::new()),
        ] {
            let value = HeaderValue::from_bytes(&value).unwrap();
            let fields = HeaderMap::from_iter([(HeaderName::from_static("x-a"), value)]);
            assert_eq!(secrets.shown_fields(&fields), json!([["x-a", shown]]));
        }
    }
}
