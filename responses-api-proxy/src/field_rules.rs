//! What the operator decides about header fields: where the key stands, what is added, what is let through.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use thiserror::Error;

use crate::headers::{self, Standing};

/// The operator's decisions about the fields of a request.
#[derive(Clone, Debug)]
pub(crate) struct FieldRules {
    pub(crate) key: KeyField,
    /// Sent with every request, in place of the client's.
    pub(crate) set: HeaderMap,
    /// The client's that are let through although they are usually kept back.
    pub(crate) forwarded: Vec<HeaderName>,
}

/// The field that the key stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyField {
    /// `Authorization: Bearer KEY`
    Bearer,
    /// `NAME: KEY`
    Bare(HeaderName),
}

/// Why a field can't be named so.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FieldError {
    /// It has a character that no field name has (RFC 9110 section 5.1).
    #[error("it is no field name")]
    NotAName,
    /// It has a character that no field value has (RFC 9110 section 5.5).
    #[error("its value has a character that no field may have")]
    NotAValue,
    /// `--set-header` without a colon.
    #[error("it has no colon between name and value")]
    NoColon,
    /// The proxy frames and addresses requests itself.
    #[error("the proxy alone decides about this field")]
    OfTheProxy,
    /// The field that the key stands in.
    #[error("the key stands in this field")]
    OfTheKey,
}

impl FieldRules {
    /// Checks what was typed; an error comes with the flag and the text that it is about.
    pub(crate) fn resolve(
        auth_header: Option<&str>,
        set_headers: &[String],
        forward_headers: &[String],
    ) -> Result<Self, (&'static str, String, FieldError)> {
        let key = match auth_header {
            None => KeyField::Bearer,
            Some(text) => {
                KeyField::parse(text).map_err(|error| ("--auth-header", text.to_owned(), error))?
            }
        };
        let mut rules = Self { key, set: HeaderMap::new(), forwarded: Vec::new() };
        for text in set_headers {
            // The value may be a secret of its own: only the name is repeated.
            let (name, value) = text.split_once(':').unwrap_or((text, ""));
            let no = |error| ("--set-header", name.trim().to_owned(), error);
            if !text.contains(':') {
                // Where the name ends is not known.
                return Err(("--set-header", "…".to_owned(), FieldError::NoColon));
            }
            let name = rules.may_name(name.trim()).map_err(no)?;
            let value = HeaderValue::try_from(value.trim());
            let mut value = value.map_err(|_| no(FieldError::NotAValue))?;
            value.set_sensitive(true);
            rules.set.append(name, value);
        }
        for text in forward_headers {
            let no = |error| ("--forward-header", text.clone(), error);
            let name = rules.may_name(text).map_err(no)?;
            rules.forwarded.push(name);
        }
        Ok(rules)
    }

    fn may_name(&self, text: &str) -> Result<HeaderName, FieldError> {
        let name = HeaderName::try_from(text).map_err(|_| FieldError::NotAName)?;
        if headers::mean_the_same(&name, self.key.name()) {
            Err(FieldError::OfTheKey)
        } else if headers::standing(&name) == Standing::OfTheProxy {
            Err(FieldError::OfTheProxy)
        } else {
            Ok(name)
        }
    }
}

impl KeyField {
    fn parse(text: &str) -> Result<Self, FieldError> {
        let name = HeaderName::try_from(text).map_err(|_| FieldError::NotAName)?;
        if name == AUTHORIZATION {
            return Ok(Self::Bearer);
        }
        if headers::standing(&name) == Standing::OfTheProxy {
            return Err(FieldError::OfTheProxy);
        }
        Ok(Self::Bare(name))
    }

    pub(crate) fn name(&self) -> &HeaderName {
        match self {
            Self::Bearer => &AUTHORIZATION,
            Self::Bare(name) => name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(
        auth: Option<&str>,
        set: &[&str],
        forward: &[&str],
    ) -> Result<FieldRules, (&'static str, String, FieldError)> {
        let owned =
            |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        FieldRules::resolve(auth, &owned(set), &owned(forward))
    }

    #[test]
    fn the_operator_may_decide_about_fields_that_neither_frame_nor_address() {
        let rules = resolve(
            Some("API-Key"),
            &["OpenAI-Project: p:1", "X-Empty:", "X-Two: 1", "x-two:2"],
            &["openai-organization", "Cookie", "X-Forwarded-For"],
        )
        .unwrap();
        assert_eq!(rules.key, KeyField::Bare(HeaderName::from_static("api-key")));
        assert_eq!(rules.set["openai-project"], "p:1");
        assert_eq!(rules.set["x-empty"], "");
        assert_eq!(rules.set.get_all("x-two").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert!(rules.set.values().all(HeaderValue::is_sensitive));
        assert_eq!(rules.forwarded, ["openai-organization", "cookie", "x-forwarded-for"]);
        assert_eq!(resolve(Some("authorization"), &[], &[]).unwrap().key, KeyField::Bearer);
    }

    #[test]
    fn what_would_move_the_key_or_the_frame_is_refused() {
        use FieldError::{NoColon, NotAName, NotAValue, OfTheKey, OfTheProxy};
        for (auth, error) in [
            ("", NotAName),
            ("a b", NotAName),
            ("host", OfTheProxy),
            ("Content-Length", OfTheProxy),
            ("connection", OfTheProxy),
            ("proxy-authorization", OfTheProxy),
        ] {
            assert_eq!(
                resolve(Some(auth), &[], &[]).unwrap_err(),
                ("--auth-header", auth.to_owned(), error)
            );
        }
        for (set, name, error) in [
            ("Host: x", "Host", OfTheProxy),
            ("Transfer-Encoding: chunked", "Transfer-Encoding", OfTheProxy),
            ("expect: 100-continue", "expect", OfTheProxy),
            ("Authorization: Bearer x", "Authorization", OfTheKey),
            ("X-Value: a\nb", "X-Value", NotAValue),
            ("X-Token=secret", "…", NoColon),
            (": x", "", NotAName),
        ] {
            let expected = ("--set-header", name.to_owned(), error);
            assert_eq!(resolve(None, &[set], &[]).unwrap_err(), expected);
        }
        let spelt = resolve(Some("api-key"), &["API_Key: x"], &[]).unwrap_err();
        assert_eq!(spelt.2, OfTheKey);
        let bare = resolve(Some("api-key"), &["Authorization: Bearer x"], &[]).unwrap_err();
        assert_eq!(bare.2, OfTheProxy, "a second credential is none of ours to send");
        for (forward, error) in [
            ("authorization", OfTheKey),
            ("te", OfTheProxy),
            ("transfer_encoding", OfTheProxy),
            ("proxy-authorization", OfTheProxy),
            ("content-length", OfTheProxy),
        ] {
            assert_eq!(resolve(None, &[], &[forward]).unwrap_err().2, error, "{forward}");
        }
    }
}
