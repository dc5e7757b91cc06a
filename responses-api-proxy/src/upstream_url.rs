//! The one place that the key is sent to.

use std::fmt;

use thiserror::Error;
use url::Url;

/// The endpoint that requests are forwarded to: https, or http to a loopback address.
///
/// It may have a query (Azure's `api-version`); it has no user, password or fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UpstreamUrl {
    url: Url,
    hop: String,
}

/// Why a URL is no upstream.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum UpstreamUrlError {
    /// It can't be parsed.
    #[error("it is not a URL: {0}")]
    NotAUrl(String),
    /// Neither https nor http.
    #[error("its scheme is {0}, not https")]
    Scheme(String),
    /// The key would cross a network in the clear.
    #[error(
        "http would send the key in the clear: it is for a loopback address only, such as 127.0.0.1 or [::1]"
    )]
    PlainHttp,
    /// `https://user:password@…`
    #[error("it has a user name or a password in it")]
    Credentials,
    /// `…#fragment`
    #[error("it has a fragment (#…) in it, which is never sent")]
    Fragment,
}

impl UpstreamUrl {
    /// Checks what was typed.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, UpstreamUrlError> {
        let url = Url::parse(text).map_err(|error| UpstreamUrlError::NotAUrl(error.to_string()))?;
        let host = url.host_str().unwrap_or_default();
        let address = host.trim_start_matches('[').trim_end_matches(']').parse();
        let is_loopback = address.is_ok_and(|address: std::net::IpAddr| address.is_loopback());
        match url.scheme() {
            "https" => {}
            "http" if is_loopback => {}
            "http" => return Err(UpstreamUrlError::PlainHttp),
            other => return Err(UpstreamUrlError::Scheme(other.to_owned())),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UpstreamUrlError::Credentials);
        }
        if url.fragment().is_some() {
            return Err(UpstreamUrlError::Fragment);
        }
        let port = url.port_or_known_default().unwrap_or_default();
        let hop = format!("{host}:{port}");
        Ok(Self { url, hop })
    }

    /// The URL as it is requested.
    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// `host:port`, the name of this hop in messages.
    pub(crate) fn hop(&self) -> &str {
        &self.hop
    }

    /// Whether the connection is encrypted.
    pub(crate) fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }
}

impl fmt::Display for UpstreamUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_endpoint_that_keeps_the_key_private_is_an_upstream() {
        for (text, expected) in [
            ("https://api.openai.com/v1/responses", Ok("api.openai.com:443")),
            (
                "https://x.openai.azure.com/openai/responses?api-version=1",
                Ok("x.openai.azure.com:443"),
            ),
            ("https://10.0.0.1:8443/v1/responses", Ok("10.0.0.1:8443")),
            ("http://127.0.0.1:9/v1/responses", Ok("127.0.0.1:9")),
            ("http://127.8.8.8/v1/responses", Ok("127.8.8.8:80")),
            ("http://[::1]:9/v1/responses", Ok("[::1]:9")),
            ("http://api.openai.com/v1/responses", Err(UpstreamUrlError::PlainHttp)),
            // A name can be made to resolve to anything.
            ("http://localhost:9/v1/responses", Err(UpstreamUrlError::PlainHttp)),
            ("http://127.0.0.1.example.com/", Err(UpstreamUrlError::PlainHttp)),
            ("http://[::ffff:10.0.0.1]/", Err(UpstreamUrlError::PlainHttp)),
            ("http://0.0.0.0/", Err(UpstreamUrlError::PlainHttp)),
            ("ftp://127.0.0.1/", Err(UpstreamUrlError::Scheme("ftp".to_owned()))),
            ("api.openai.com:443/v1", Err(UpstreamUrlError::Scheme("api.openai.com".to_owned()))),
            ("https://me@api.openai.com/", Err(UpstreamUrlError::Credentials)),
            ("https://:pw@api.openai.com/", Err(UpstreamUrlError::Credentials)),
            ("https://api.openai.com/v1#x", Err(UpstreamUrlError::Fragment)),
        ] {
            let parsed = UpstreamUrl::parse(text);
            assert_eq!(parsed.as_ref().map(UpstreamUrl::hop), expected.as_ref().copied(), "{text}");
        }
        assert!(matches!(UpstreamUrl::parse("/v1/responses"), Err(UpstreamUrlError::NotAUrl(_))));
        assert!(matches!(UpstreamUrl::parse("https://"), Err(UpstreamUrlError::NotAUrl(_))));
    }
}
