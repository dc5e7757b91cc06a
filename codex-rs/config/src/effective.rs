//! What Codex's layers of configuration say together: which provider a run would use, at which address, and who decides.
//!
//! The order and the rules are those that Codex 0.169.0 was seen to keep (docs/reference/codex.md). A project's own
//! `.codex/config.toml` has no say in this.

mod settings;

use std::fmt;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use http::Uri;
use url::{Host, Url};

use self::settings::Settings;
use crate::{CodexHome, PROVIDER};

/// Where an administrator puts settings for everybody on a machine.
pub const SYSTEM_FOLDER: &str = "/etc/codex";

/// What Codex uses where no layer says anything.
const DEFAULT_PROVIDER: &str = "openai";

/// All that a run of Codex reads its configuration from.
#[derive(Clone, Copy, Debug)]
pub struct Layers<'l> {
    /// The user's folder.
    pub home: &'l CodexHome,
    /// Everybody's: [`SYSTEM_FOLDER`].
    pub system_folder: &'l Path,
    /// What `-p` names.
    pub profile: Option<&'l str>,
    /// What each `-c` says, in order: `key=value`.
    pub overrides: &'l [String],
}

/// One place where settings come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layer {
    /// `/etc/codex/managed_config.toml`.
    Managed(PathBuf),
    /// `/etc/codex/requirements.toml`, the strongest of all.
    Requirements(PathBuf),
    /// What `-c` says.
    CommandLine,
    /// The file that `-p` names.
    Profile(PathBuf),
    /// The user's `config.toml`.
    User(PathBuf),
    /// `/etc/codex/config.toml`.
    System(PathBuf),
    /// What Codex does of itself.
    BuiltIn,
}

/// What one layer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The layer.
    pub layer: Layer,
    /// The provider that it chooses.
    pub provider: Option<String>,
    /// The address that it has for the provider in effect.
    pub base_url: Option<String>,
}

/// Why a layer could not be taken as it is. Codex does not start with most of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file; `-c` or `-p` for the command line.
    pub file: PathBuf,
    /// What is wrong with it. Nothing that stands in it.
    pub what: String,
    /// Whether nothing of it could be read by us; Codex, which has other limits, may.
    pub is_unread: bool,
}

/// What a run of Codex would use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// The id of the provider.
    pub provider: String,
    /// The layer that chooses it.
    pub decided_by: Layer,
    /// Its address, if any layer has one.
    pub base_url: Option<String>,
    /// The layers that have something to say of this, the strongest first.
    pub said: Vec<Said>,
    /// What could not be taken as it is.
    pub problems: Vec<Problem>,
}

/// Reads all layers and says what they come to.
pub fn effective(layers: &Layers<'_>) -> Effective {
    let mut problems = Vec::new();
    let read = read(layers, &mut problems);
    let decided = read.iter().find_map(|(layer, settings)| {
        settings.selector.as_ref().map(|provider| (provider.clone(), layer.clone()))
    });
    let (provider, decided_by) =
        decided.unwrap_or_else(|| (DEFAULT_PROVIDER.to_owned(), Layer::BuiltIn));
    let said = said(&read, &provider);
    let base_url = said.iter().find_map(|said| said.base_url.clone());
    Effective { provider, decided_by, base_url, said, problems }
}

/// The strongest first.
fn read(layers: &Layers<'_>, problems: &mut Vec<Problem>) -> Vec<(Layer, Settings)> {
    let Layers { home, system_folder, profile, overrides } = *layers;
    let requirements = system_folder.join("requirements.toml");
    let settings = Settings::of_requirements(&requirements, problems);
    let mut read = vec![(Layer::Requirements(requirements), settings)];
    read.push(file(Layer::Managed, system_folder.join("managed_config.toml"), problems));
    read.push((Layer::CommandLine, Settings::of_overrides(overrides, problems)));
    match profile {
        Some(name) if is_plain(name) => {
            read.push(file(Layer::Profile, home.profile(name), problems));
        }
        Some(name) => {
            let what = format!("{name:?} is no name of a profile");
            problems.push(Problem { file: PathBuf::from("-p"), what, is_unread: false });
        }
        None => {}
    }
    read.push(file(Layer::User, home.config(), problems));
    read.push(file(Layer::System, system_folder.join("config.toml"), problems));
    read
}

fn file(
    layer: fn(PathBuf) -> Layer,
    path: PathBuf,
    problems: &mut Vec<Problem>,
) -> (Layer, Settings) {
    let settings = Settings::of_file(&path, problems);
    (layer(path), settings)
}

/// What Codex takes for the name of a profile, and what can't lead out of its folder.
fn is_plain(name: &str) -> bool {
    let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !name.is_empty() && name.bytes().all(is_usual)
}

fn said(read: &[(Layer, Settings)], provider: &str) -> Vec<Said> {
    let mut said = Vec::new();
    // Tables are merged, but for one in the requirements: it takes the place of all others of that id.
    let mut is_without_address = false;
    for (layer, settings) in read {
        let base_url = settings.base_url(provider).filter(|_| !is_without_address);
        let replaces = matches!(layer, Layer::Requirements(_)) && settings.has_table(provider);
        is_without_address |= replaces && base_url.is_none();
        if settings.selector.is_some() || base_url.is_some() {
            let base_url = base_url.map(str::to_owned);
            said.push(Said { layer: layer.clone(), provider: settings.selector.clone(), base_url });
        }
    }
    said
}

impl Effective {
    /// Whether it is the provider that `codex proxy point` writes.
    pub fn is_ours(&self) -> bool {
        self.provider == PROVIDER
    }

    /// The port of `http://127.0.0.1:PORT/v1`; `None` for any other address.
    pub fn port(&self) -> Option<u16> {
        let rest = self.base_url.as_deref()?.strip_prefix("http://127.0.0.1:")?;
        let port = rest.strip_suffix('/').unwrap_or(rest).strip_suffix("/v1")?;
        let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
        port.parse().ok().filter(|port| is_number && *port != 0)
    }

    /// Whether its address leads to this machine, but is written otherwise than [`Effective::port`] knows: Codex goes there all
    /// the same.
    pub fn is_odd_loopback(&self) -> bool {
        let Some(base_url) = self.base_url.as_deref().filter(|_| self.port().is_none()) else {
            return false;
        };
        let Ok(url) = Url::parse(base_url) else { return false };
        match url.host() {
            Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(Host::Ipv4(address)) => is_here(address),
            Some(Host::Ipv6(address)) => {
                let mapped = address.to_ipv4_mapped();
                address.is_loopback() || address.is_unspecified() || mapped.is_some_and(is_here)
            }
            None => false,
        }
    }

    /// The address as it may be shown: whole, if it is a proxy's on this machine.
    pub fn shown_address(&self) -> Option<String> {
        let url = self.base_url.as_deref()?;
        Some(if self.port().is_some() { url.to_owned() } else { without_secrets(url) })
    }

    /// The layer that names the address.
    pub fn named_by(&self) -> Option<&Layer> {
        self.said.iter().find(|said| said.base_url.is_some()).map(|said| &said.layer)
    }

    /// The layer above the user's file without which another provider would be used, or the same at another address.
    pub fn overriding(&self) -> Option<&Layer> {
        let (above, below): (Vec<&Said>, Vec<&Said>) =
            self.said.iter().partition(|said| said.layer.is_above_users_file());
        let chosen_below = below.iter().find_map(|said| said.provider.as_deref());
        let is_otherwise = self.provider != chosen_below.unwrap_or(DEFAULT_PROVIDER);
        if self.decided_by.is_above_users_file() && is_otherwise {
            return Some(&self.decided_by);
        }
        let address = below.iter().find_map(|said| said.base_url.as_deref())?;
        let strongest = above.into_iter().find(|said| said.base_url.is_some())?;
        (strongest.base_url.as_deref() != Some(address)).then_some(&strongest.layer)
    }
}

fn is_here(address: Ipv4Addr) -> bool {
    address.is_loopback() || address.is_unspecified()
}

/// Of an address what may be shown: there may be a password or a key in the rest.
fn without_secrets(url: &str) -> String {
    let Ok(url) = url.parse::<Uri>() else { return "an address that is no URL".to_owned() };
    let (scheme, host) = (url.scheme_str().unwrap_or("http"), url.host().unwrap_or("…"));
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{scheme}://{host}{port}/…")
}

impl Layer {
    /// Whether it is stronger than the user's `config.toml`.
    pub fn is_above_users_file(&self) -> bool {
        match self {
            Self::Requirements(_) | Self::Managed(_) | Self::CommandLine | Self::Profile(_) => true,
            Self::User(_) | Self::System(_) | Self::BuiltIn => false,
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Managed(file)
            | Self::Requirements(file)
            | Self::User(file)
            | Self::System(file) => write!(formatter, "{}", file.display()),
            Self::CommandLine => formatter.write_str("the command line (-c)"),
            Self::Profile(file) => write!(formatter, "the profile {}", file.display()),
            Self::BuiltIn => formatter.write_str("Codex itself"),
        }
    }
}

#[cfg(test)]
mod tests;
