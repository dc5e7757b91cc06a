//! A proxy between us and the upstream, through which TLS is tunnelled (CONNECT, RFC 9110 section 9.3.6).

use std::fmt;

use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use thiserror::Error;
use url::Url;

use crate::environment::Environment;
use crate::upstream_url::UpstreamUrl;

/// The one hop before the upstream. It sees host and port of the upstream, and ciphertext.
#[derive(Clone)]
pub(crate) struct UpstreamProxy {
    /// May have a user and a password, which are for the proxy alone and are never shown.
    url: Url,
    /// Of the user and the password in it (RFC 7617).
    login: Option<HeaderValue>,
    /// The flag or variable that named it.
    named_by: &'static str,
}

/// Why a URL is no proxy.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum UpstreamProxyError {
    /// It can't be parsed.
    #[error("it is not a URL: {0}")]
    NotAUrl(String),
    /// SOCKS, for example.
    #[error("its scheme is {0}, not http or https")]
    Scheme(String),
    /// Only a host and a port name a proxy.
    #[error("it has a path, a query or a fragment in it")]
    NotAnAddress,
    /// Only what is encrypted may pass a proxy.
    #[error("the upstream is http on this machine, which a proxy would read")]
    PlainUpstream,
}

impl UpstreamProxy {
    /// The proxy that the flag names, or else the environment for this upstream.
    pub(crate) fn choose(
        flag: Option<&str>,
        environment: &Environment,
        upstream: &UpstreamUrl,
    ) -> Result<Option<Self>, (&'static str, UpstreamProxyError)> {
        if let Some(text) = flag {
            const FLAG: &str = "--upstream-proxy";
            if !upstream.is_https() {
                return Err((FLAG, UpstreamProxyError::PlainUpstream));
            }
            return Self::parse(text, FLAG).map(Some).map_err(|error| (FLAG, error));
        }
        match &environment.https_proxy {
            Some((name, text)) if upstream.is_https() => {
                let proxy = Self::parse(text, name).map_err(|error| (*name, error))?;
                let rules = Matcher::builder().https(text.as_str());
                let rules = rules.no(environment.no_proxy.as_str()).build();
                let target = upstream.url().as_str().parse::<Uri>();
                let applies = target.is_ok_and(|target| rules.intercept(&target).is_some());
                // The matcher does not take this for an address, as curl does.
                let all_are_exempt = environment.no_proxy.split(',').any(|host| host.trim() == "*");
                Ok((applies && !all_are_exempt).then_some(proxy))
            }
            _ => Ok(None),
        }
    }

    fn parse(text: &str, named_by: &'static str) -> Result<Self, UpstreamProxyError> {
        let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let url =
            Url::parse(&text).map_err(|error| UpstreamProxyError::NotAUrl(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(UpstreamProxyError::Scheme(url.scheme().to_owned()));
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(UpstreamProxyError::NotAnAddress);
        }
        // The same rules again, for what the URL says alone.
        let rules = Matcher::builder().all(url.as_str()).build();
        let asked = rules.intercept(&Uri::from_static("https://upstream.example"));
        let login = asked.and_then(|hop| hop.basic_auth().cloned());
        Ok(Self { url, login, named_by })
    }

    /// With its user and password: for the HTTP client alone.
    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// `host:port`, the name of this hop in messages.
    pub(crate) fn hop(&self) -> String {
        let port = self.url.port_or_known_default().unwrap_or_default();
        format!("{}:{port}", self.url.host_str().unwrap_or_default())
    }

    /// What a proxy that wants a login gets.
    pub(crate) fn login(&self) -> Option<&HeaderValue> {
        self.login.as_ref()
    }

    pub(crate) fn named_by(&self) -> &'static str {
        self.named_by
    }
}

/// Scheme, host and port.
impl fmt::Display for UpstreamProxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://{}", self.url.scheme(), self.hop())
    }
}

impl fmt::Debug for UpstreamProxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "UpstreamProxy({self}, {})", self.named_by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(
        flag: Option<&str>,
        https_proxy: Option<&str>,
        no_proxy: &str,
        upstream: &str,
    ) -> Result<Option<String>, UpstreamProxyError> {
        let environment = Environment {
            https_proxy: https_proxy.map(|text| ("HTTPS_PROXY", text.to_owned())),
            no_proxy: no_proxy.to_owned(),
            ..Environment::default()
        };
        let upstream = UpstreamUrl::parse(upstream).unwrap();
        let chosen = UpstreamProxy::choose(flag, &environment, &upstream);
        chosen
            .map(|proxy| proxy.map(|proxy| format!("{proxy} {}", proxy.named_by())))
            .map_err(|(_, error)| error)
    }

    const OPENAI: &str = "https://api.openai.com/v1/responses";
    const LOCAL: &str = "http://127.0.0.1:9/v1/responses";

    #[test]
    fn the_flag_comes_first_and_the_environment_obeys_no_proxy() {
        let from_flag = Ok(Some("http://p:3128 --upstream-proxy".to_owned()));
        assert_eq!(choose(Some("http://p:3128"), None, "", OPENAI), from_flag);
        assert_eq!(choose(Some("p:3128"), Some("http://q:1"), "*", OPENAI), from_flag);
        let from_environment = Ok(Some("https://q:443 HTTPS_PROXY".to_owned()));
        for (no_proxy, applies) in [
            ("", true),
            ("localhost,127.0.0.1", true),
            ("api.openai.com", false),
            (".openai.com", false),
            ("openai.com", false),
            ("penai.com", true),
            ("*", false),
        ] {
            let expected = if applies { from_environment.clone() } else { Ok(None) };
            assert_eq!(choose(None, Some("https://q"), no_proxy, OPENAI), expected, "{no_proxy}");
        }
        let by_address = choose(None, Some("http://q:1"), "10.0.0.0/8", "https://10.1.2.3/v1");
        assert_eq!(by_address, Ok(None));
        assert_eq!(choose(None, Some("http://q:1"), "a, *", "https://10.1.2.3/v1"), Ok(None));
    }

    #[test]
    fn what_is_not_encrypted_goes_through_no_proxy() {
        assert_eq!(choose(None, Some("http://q:1"), "", LOCAL), Ok(None));
        assert_eq!(choose(Some("p:1"), None, "", LOCAL), Err(UpstreamProxyError::PlainUpstream));
    }

    #[test]
    fn a_proxy_is_a_host_and_a_port_whose_password_is_never_shown() {
        let proxy = UpstreamProxy::parse("http://me:secret@p:3128/", "X").unwrap();
        assert_eq!(proxy.login().unwrap(), "Basic bWU6c2VjcmV0");
        assert!(UpstreamProxy::parse("p:3128", "X").unwrap().login().is_none());
        assert_eq!(format!("{proxy} {proxy:?}"), "http://p:3128 UpstreamProxy(http://p:3128, X)");
        for (text, error) in [
            ("socks5://p:1", UpstreamProxyError::Scheme("socks5".to_owned())),
            ("http://p:1/path", UpstreamProxyError::NotAnAddress),
            ("http://p:1?q", UpstreamProxyError::NotAnAddress),
        ] {
            assert_eq!(UpstreamProxy::parse(text, "X").unwrap_err(), error, "{text}");
        }
        for text in ["http://", "p:99999", ""] {
            let error = UpstreamProxy::parse(text, "X").unwrap_err();
            assert!(matches!(error, UpstreamProxyError::NotAUrl(_)), "{text}");
        }
    }
}
