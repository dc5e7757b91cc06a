//! Whether a command line goes through the proxy, and how it is led there. Pure: facts in, a decision out.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use codex_config::{CodexHome, Effective, Layer, PROVIDER, PROVIDER_NAME};

use super::command_line::{Asks, CommandLine};
use super::error::HandOverError;
use crate::commands::START_ONE;

/// The environment variable of the user's wish.
pub(crate) const VARIABLE: &str = "CODEX_PROXY";

/// What the user wants of the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// What Codex's configuration says.
    AsPointed,
    /// Through the proxy, pointed or not.
    Always,
    /// Nothing of it.
    Never,
}

impl Wish {
    /// What CODEX_PROXY says; `None` when that means nothing.
    pub(crate) fn parse(value: Option<&OsStr>) -> Option<Self> {
        match value.map(|value| value.to_str()) {
            None | Some(Some("")) => Some(Self::AsPointed),
            Some(Some("1")) => Some(Self::Always),
            Some(Some("0")) => Some(Self::Never),
            Some(_) => None,
        }
    }
}

/// Where a command line's requests are meant to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// Anywhere: that is no affair of ours.
    Elsewhere,
    /// Where Codex's configuration points.
    Pointed(Pointed),
    /// To the proxy, which no layer names.
    Wanted,
}

/// The address that Codex's configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pointed {
    pub(crate) base_url: String,
    pub(crate) port: u16,
    /// The layer that chooses the provider.
    pub(crate) chosen_by: Layer,
    /// The layer that names the address.
    pub(crate) named_by: Layer,
}

/// Where this command line's requests are meant to go. No `effective` where Codex finds no home, as it will say itself.
pub(crate) fn aim(
    wish: Wish,
    line: &CommandLine,
    effective: Option<&Effective>,
) -> Result<Aim, HandOverError> {
    // A provider on this machine (--oss) is stronger than any layer.
    if wish == Wish::Never || line.is_oss {
        return Ok(Aim::Elsewhere);
    }
    let unpointed = if wish == Wish::Always { Aim::Wanted } else { Aim::Elsewhere };
    let Some(effective) = effective else { return Ok(unpointed) };
    if let Some(pointed) = pointed(line, effective) {
        return Ok(Aim::Pointed(pointed));
    }
    if effective.is_ours() && effective.is_odd_loopback() && !line.ignores_user_config {
        let layer = effective.named_by().unwrap_or(&effective.decided_by).clone();
        return Err(HandOverError::OddAddress { layer });
    }
    if wish == Wish::Always && is_above_ours(&effective.decided_by) && !effective.is_ours() {
        let (layer, provider) = (effective.decided_by.clone(), effective.provider.clone());
        return Err(HandOverError::Overruled { layer, provider });
    }
    Ok(unpointed)
}

/// An address that is none of ours' is the user's own affair.
fn pointed(line: &CommandLine, effective: &Effective) -> Option<Pointed> {
    let counts = |layer: &&Layer| {
        !(line.ignores_user_config && matches!(layer, Layer::User(_) | Layer::Profile(_)))
    };
    if !effective.is_ours() || !counts(&&effective.decided_by) {
        return None;
    }
    let (base_url, port) = (effective.base_url.clone()?, effective.port()?);
    let named_by = effective.named_by().filter(counts)?.clone();
    Some(Pointed { base_url, port, chosen_by: effective.decided_by.clone(), named_by })
}

/// The layer that we can't read and Codex perhaps can: it may point at a port, and nobody has looked whose that is.
pub(crate) fn unread(
    line: &CommandLine,
    home: Option<&CodexHome>,
    effective: &Effective,
) -> Option<HandOverError> {
    let users = home.map(CodexHome::folder).filter(|_| line.ignores_user_config);
    let counts = |file: &Path| users.is_none() || file.parent() != users;
    let mut problems = effective.problems.iter();
    let problem = problems.find(|problem| problem.is_unread && counts(&problem.file))?;
    let is_of_use = line.asks != Asks::No && !line.is_oss;
    is_of_use
        .then(|| HandOverError::Unread { file: problem.file.clone(), what: problem.what.clone() })
}

/// What is to be said where the user points at the proxy and an administrator chooses another provider. Codex does as the
/// administrator says, and so do we.
pub(crate) fn overruled(line: &CommandLine, effective: &Effective) -> Option<String> {
    let by = Some(&effective.decided_by).filter(|layer| is_administrators(layer))?;
    let mut below = effective.said.iter().filter(|said| !is_administrators(&said.layer));
    let counts = |layer: &Layer| match layer {
        Layer::User(_) | Layer::Profile(_) => !line.ignores_user_config,
        Layer::CommandLine => true,
        _ => false,
    };
    let chosen = below.find(|said| said.provider.is_some() && counts(&said.layer))?;
    let is_overruled = chosen.provider.as_deref() == Some(PROVIDER) && !effective.is_ours();
    (is_overruled && !line.is_oss && line.asks != Asks::No).then(|| {
        let provider = &effective.provider;
        format!("codex: warning: {by} decides otherwise: Codex uses {provider:?}, not the proxy")
    })
}

/// Whether this layer is stronger than a `-c` of ours: it stands first, and later ones win.
fn is_above_ours(layer: &Layer) -> bool {
    is_administrators(layer) || *layer == Layer::CommandLine
}

/// Whether nothing that a user says goes before it.
fn is_administrators(layer: &Layer) -> bool {
    matches!(layer, Layer::Managed(_) | Layer::Requirements(_))
}

/// Why the proxy can't be where the configuration points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    NothingListens,
    /// In words.
    Foreign {
        owner: String,
    },
}

/// What a look around has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Proxies {
    /// Those that run and serve this account.
    pub(crate) usable: Vec<Usable>,
    /// The port of one that tells this account nothing about itself, and may serve it.
    pub(crate) silent: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Usable {
    pub(crate) pid: u32,
    pub(crate) base_url: String,
}

/// What has to be added to a command line, and said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Led {
    /// They stand first.
    pub(crate) arguments: Vec<OsString>,
    pub(crate) notice: Option<String>,
}

/// Leads to the one proxy that runs, in place of the address where it is not.
pub(crate) fn follow(
    pointed: &Pointed,
    trouble: &Trouble,
    proxies: &Proxies,
) -> Result<Led, HandOverError> {
    let url = match &proxies.usable[..] {
        [one] if one.base_url == pointed.base_url => return Ok(Led::default()), // It has just come.
        [one] if !is_above_ours(&pointed.named_by) => &one.base_url,
        [one] => return Err(troubled(pointed, trouble, &elsewhere(pointed, &one.base_url))),
        [] => return Err(troubled(pointed, trouble, &remedy(pointed, trouble, proxies.silent))),
        several => return Err(which(troubled(pointed, trouble, "").to_string(), several)),
    };
    let moved = match trouble {
        Trouble::NothingListens => format!("the proxy has moved to {url}"),
        Trouble::Foreign { owner } => {
            format!("port {} belongs to {owner}; the proxy is at {url}", pointed.port)
        }
    };
    let notice = format!("codex: {moved}; followed (make it so for good: {})", for_good(pointed));
    let arguments = vec!["-c".into(), format!("{}={}", base_url_key(), quoted(url)).into()];
    Ok(Led { arguments, notice: Some(notice) })
}

/// Leads an unpointed Codex to the one proxy that runs.
pub(crate) fn lead(proxies: &Proxies) -> Result<Led, HandOverError> {
    let one = match &proxies.usable[..] {
        [one] => one,
        [] => {
            let hint = format!("{START_ONE}{}", may_be_yours(proxies.silent));
            return Err(HandOverError::NoneRuns { hint });
        }
        several => return Err(which("CODEX_PROXY=1".to_owned(), several)),
    };
    let table = format!(
        "model_providers.{PROVIDER}={{name={},base_url={},wire_api=\"responses\"}}",
        quoted(PROVIDER_NAME),
        quoted(&one.base_url)
    );
    let selector = format!("model_provider={}", quoted(PROVIDER));
    let arguments = ["-c", &selector, "-c", &table].map(OsString::from).to_vec();
    Ok(Led { arguments, notice: None })
}

fn base_url_key() -> String {
    format!("model_providers.{PROVIDER}.base_url")
}

/// As a string of TOML's. Addresses and names of ours have nothing in them that would need an escape.
fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

fn troubled(pointed: &Pointed, trouble: &Trouble, hint: &str) -> HandOverError {
    let hint = hint.to_owned();
    match trouble {
        Trouble::NothingListens => {
            HandOverError::NothingListens { base_url: pointed.base_url.clone(), hint }
        }
        Trouble::Foreign { owner } => {
            HandOverError::Foreign { port: pointed.port, owner: owner.clone(), hint }
        }
    }
}

fn which(because: String, several: &[Usable]) -> HandOverError {
    let line = |proxy: &Usable| format!("  {}  pid {}", proxy.base_url, proxy.pid);
    let proxies = several.iter().map(line).collect::<Vec<_>>().join("\n");
    HandOverError::Several { because, count: several.len(), proxies }
}

fn remedy(pointed: &Pointed, trouble: &Trouble, silent: Option<u16>) -> String {
    let (port, undo) = (pointed.port, undo(&pointed.chosen_by));
    let start = match trouble {
        Trouble::NothingListens => {
            format!("start it: printenv OPENAI_API_KEY | codex proxy --daemon --port {port}")
        }
        Trouble::Foreign { .. } => {
            let start =
                "start yours on another port: printenv OPENAI_API_KEY | codex proxy --daemon";
            format!("{start} (who that is: ss -ltnp 'sport = :{port}')")
        }
    };
    format!("{start}, or {undo}{}", may_be_yours(silent))
}

/// The address is fixed above what we may say.
fn elsewhere(pointed: &Pointed, url: &str) -> String {
    format!("the proxy is at {url} now, but {} says otherwise: change it there", pointed.named_by)
}

fn may_be_yours(silent: Option<u16>) -> String {
    let yours =
        |port| format!("; if the proxy on port {port} is yours: codex proxy point --port {port}");
    silent.map(yours).unwrap_or_default()
}

/// How to be pointed no more.
fn undo(chosen_by: &Layer) -> String {
    match chosen_by {
        Layer::User(_) => "undo it: codex proxy unpoint".to_owned(),
        Layer::Profile(_) => "leave out that profile".to_owned(),
        Layer::CommandLine => "leave out that -c".to_owned(),
        other => format!("change {other}"),
    }
}

fn for_good(pointed: &Pointed) -> String {
    match &pointed.named_by {
        Layer::User(_) => "codex proxy point".to_owned(),
        Layer::Profile(_) => "codex proxy point --profile".to_owned(),
        other => format!("change {other}"),
    }
}

#[cfg(test)]
mod tests;
