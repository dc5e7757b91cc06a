//! What a configuration is to point at: a port of 127.0.0.1 that a proxy, or somebody trusted, listens on.

use std::path::PathBuf;

use codex_config::base_url;
use codex_peer_identity::listener;
use codex_proxy_client::status::State;
use codex_proxy_client::{Found, RunningProxy, ServerInfo};
use nix::unistd::geteuid;

use super::error::CommandError;
use super::found;
use super::host::Host;

/// What was found on the port.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) port: u16,
    /// `None` where nothing but the port is known.
    pub(crate) pid: Option<u32>,
    /// The account that made the listening socket; `None` where the system does not tell.
    pub(crate) listener_uid: Option<u32>,
    /// The proxy, if it tells this account about itself.
    pub(crate) proxy: Option<RunningProxy>,
}

impl Target {
    /// What a client's `base_url` is to be. Made of the port alone, so no file's words get into a configuration.
    pub(crate) fn base_url(&self) -> String {
        base_url(self.port)
    }

    /// Whether it is a proxy for all that is known, and not merely somebody who listens there.
    pub(crate) fn is_known(&self) -> bool {
        self.pid.is_some()
    }

    fn running(proxy: RunningProxy) -> Result<Self, CommandError> {
        let (port, pid) = (proxy.info.port, proxy.info.pid);
        if proxy.status.state == State::Draining {
            return Err(CommandError::Draining { port, pid });
        }
        let listener_uid = Some(proxy.info.listener_uid);
        Ok(Self { port, pid: Some(pid), listener_uid, proxy: Some(proxy) })
    }

    /// One that tells this account nothing: the kernel has vouched for its process and its port.
    fn silent(info: &ServerInfo) -> Self {
        let listener_uid = Some(info.listener_uid);
        Self { port: info.port, pid: Some(info.pid), listener_uid, proxy: None }
    }
}

/// Finds it by the port or the file that was named, or by itself. `user` is the account whose Codex is to use it.
pub(crate) async fn find(
    server_info: Option<PathBuf>,
    port: Option<u16>,
    user: u32,
) -> Result<Target, CommandError> {
    match port {
        Some(port) => on_port(port, user).await,
        None => by_search(server_info).await,
    }
}

async fn by_search(server_info: Option<PathBuf>) -> Result<Target, CommandError> {
    let finds = found::look(server_info).await;
    let silent = finds.found.iter().filter_map(Found::vouched).cloned();
    let silent: Vec<ServerInfo> = silent.collect();
    match (found::one_of(finds), &silent[..]) {
        (Ok(proxy), _) => Target::running(proxy),
        (Err(CommandError::NoneAnswers { .. }), [info]) => Ok(Target::silent(info)),
        (Err(error), _) => Err(error),
    }
}

async fn on_port(port: u16, user: u32) -> Result<Target, CommandError> {
    for found in found::look(None).await.found {
        match found {
            Found::Running(proxy) if proxy.info.port == port => return Target::running(proxy),
            found => {
                if let Some(info) = found.vouched().filter(|info| info.port == port) {
                    return Ok(Target::silent(info));
                }
            }
        }
    }
    let listens =
        listener(port).map_err(|source| CommandError::UnknownListener { port, source })?;
    let Some(uid) = listens.map(|uid| uid.as_raw()) else {
        return Err(CommandError::NobodyListens { port });
    };
    if is_trusted(uid, geteuid().as_raw(), user) {
        Ok(Target { port, pid: None, listener_uid: Some(uid), proxy: None })
    } else {
        Err(CommandError::ForeignListener { port, account: Host::this().account(uid) })
    }
}

/// Root could have the prompts anyway, and so could the account itself.
fn is_trusted(listener: u32, ours: u32, user: u32) -> bool {
    listener == 0 || listener == ours || listener == user
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_and_the_user_may_listen_where_no_proxy_is_known() {
        for (listener, ours, user, expected) in [
            (0, 1_000, 1_000, true),
            (1_000, 1_000, 1_000, true),
            (1_000, 0, 1_000, true),
            (1_001, 0, 1_000, false),
            (1_001, 1_000, 1_000, false),
        ] {
            assert_eq!(is_trusted(listener, ours, user), expected, "{listener} {ours} {user}");
        }
    }

    #[test]
    fn the_address_is_made_of_the_port() {
        let target = Target { port: 4_000, pid: None, listener_uid: Some(0), proxy: None };
        assert_eq!(target.base_url(), "http://127.0.0.1:4000/v1");
    }
}
