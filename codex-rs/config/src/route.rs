//! Whether Codex would send what is meant for 127.0.0.1 to an HTTP proxy instead.
//!
//! Its rules are those of the libraries that it uses, and so do we; which variable goes before which was seen with
//! Codex 0.169.0 (docs/reference/codex.md). They are stricter than other programs': neither `*` nor `localhost` exempts
//! 127.0.0.1.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;

/// Any proxy, to ask what is exempted from it.
const ANY_PROXY: &str = "http://192.0.2.1";
/// Where requests are meant to go. The port makes no difference.
const LOOPBACK: &str = "http://127.0.0.1/v1/responses";

/// Where a variable has its value from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Where {
    /// The environment.
    Environment,
    /// Codex's `.env`, which is stronger.
    EnvFile(PathBuf),
}

/// The way to 127.0.0.1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The variable that names a proxy for it: `HTTP_PROXY` and the like.
    pub proxy_variable: Option<(String, Where)>,
    /// The variable that exempts it from any: `NO_PROXY`, `no_proxy`.
    pub exempted_by: Option<(String, Where)>,
    /// What is to be set so that it is exempted.
    mend: Mend,
}

/// What leads to 127.0.0.1 again: NO_PROXY, where it counts and with its whole value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mend {
    /// In the environment.
    Environment {
        /// The value.
        no_proxy: String,
    },
    /// In Codex's `.env`, which takes the place of what the environment says.
    EnvFile {
        /// The file.
        file: PathBuf,
        /// The value.
        no_proxy: String,
    },
}

/// A variable that is set.
struct Variable {
    name: &'static str,
    value: String,
    place: Where,
}

impl Route {
    /// What the environment, and the `.env` in Codex's folder with what it says, come to.
    pub fn of(variable: impl Fn(&str) -> Option<String>, env_file: Option<(&Path, &str)>) -> Self {
        let in_file = env_file.map(|(file, text)| (file, variables(text)));
        let said = |name: &'static str| {
            let of_file = in_file.as_ref().and_then(|(file, variables)| {
                Some((variables.get(name)?.clone(), Where::EnvFile(file.to_path_buf())))
            });
            let (value, place) = of_file.or_else(|| Some((variable(name)?, Where::Environment)))?;
            Some(Variable { name, value, place })
        };
        // The first that is set counts, even if it is empty.
        let first = |names: [&'static str; 2]| names.into_iter().find_map(&said);
        let proxy = |names| first(names).filter(|variable| is_proxy(&variable.value));
        let proxy_variable =
            proxy(["HTTP_PROXY", "http_proxy"]).or_else(|| proxy(["ALL_PROXY", "all_proxy"]));
        // In a CGI program HTTP_PROXY could come from a request, and so none is believed.
        let is_cgi = said("REQUEST_METHOD").is_some();
        let exempted_by = first(["NO_PROXY", "no_proxy"]);
        let no_proxy = exempting_loopback(exempted_by.as_ref().map(|found| found.value.as_str()));
        let mend = match said("NO_PROXY").map(|found| found.place) {
            Some(Where::EnvFile(file)) => Mend::EnvFile { file, no_proxy },
            _ => Mend::Environment { no_proxy },
        };
        Self {
            mend,
            proxy_variable: proxy_variable.filter(|_| !is_cgi).map(Variable::name_and_place),
            exempted_by: exempted_by
                .filter(|variable| exempts_loopback(&variable.value))
                .map(Variable::name_and_place),
        }
    }

    /// What is to be set where what is meant for 127.0.0.1 does not get there.
    pub fn mend(&self) -> Option<&Mend> {
        (!self.is_direct()).then_some(&self.mend)
    }

    /// Whether what is meant for 127.0.0.1 gets there.
    pub fn is_direct(&self) -> bool {
        self.proxy_variable.is_none() || self.exempted_by.is_some()
    }
}

impl Variable {
    fn name_and_place(self) -> (String, Where) {
        (self.name.to_owned(), self.place)
    }
}

/// The value of NO_PROXY with 127.0.0.1 in it.
pub fn exempting_loopback(no_proxy: Option<&str>) -> String {
    match no_proxy {
        Some(value) if exempts_loopback(value) => value.to_owned(),
        Some(value) if !value.trim().is_empty() => format!("{value},127.0.0.1"),
        Some(_) | None => "127.0.0.1".to_owned(),
    }
}

fn exempts_loopback(no_proxy: &str) -> bool {
    Matcher::builder()
        .http(ANY_PROXY)
        .no(no_proxy)
        .build()
        .intercept(&Uri::from_static(LOOPBACK))
        .is_none()
}

/// Whether a proxy can be meant. What can't be one is passed over.
fn is_proxy(value: &str) -> bool {
    Matcher::builder().http(value).build().intercept(&Uri::from_static(LOOPBACK)).is_some()
}

/// What Codex's `.env` sets. A line that is none is passed over; of several with one name the last counts. (Names that the
/// file uses are looked up in this process's environment, as Codex does in its own.)
fn variables(text: &str) -> BTreeMap<String, String> {
    let set = dotenvy::from_read_iter(text.as_bytes()).filter_map(Result::ok);
    // Its own variables Codex does not take from there.
    set.filter(|(name, _)| !name.to_ascii_uppercase().starts_with("CODEX_")).collect()
}

#[cfg(test)]
mod tests;
