//! Who listens on a port, and which proxies run: what a hand-over has to ask the machine.

use std::time::Duration;

use codex_config::base_url;
use codex_peer_identity::{IdentityError, listener};
use codex_proxy_client::status::State;
use codex_proxy_client::{Found, Search, find_within};
use nix::unistd::geteuid;
use tokio::runtime;

use super::pointing::{Proxies, Usable};

/// How long each proxy may take to answer, all side by side: whoever typed `codex` waits.
const PATIENCE: Duration = Duration::from_millis(800);

/// Who listens on a port, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listener {
    /// Root or this account itself. Either could have the requests anyway.
    Trusted,
    Nobody,
    /// An account that is to see nothing of them.
    Foreign(u32),
    /// It can't be told, for this reason if there is one to tell.
    Unknown(Option<String>),
}

/// One question to the kernel, which never blocks.
pub(crate) fn who_listens(port: u16) -> Listener {
    match listener(port) {
        Ok(Some(uid)) if uid.is_root() || uid == geteuid() => Listener::Trusted,
        Ok(Some(uid)) => Listener::Foreign(uid.as_raw()),
        Ok(None) => Listener::Nobody,
        Err(IdentityError::Unavailable) => Listener::Unknown(None), // Not Linux.
        Err(error) => Listener::Unknown(Some(error.to_string())),
    }
}

/// Looks for proxies that serve this account, where they leave their server-info.
pub(crate) fn look() -> Proxies {
    let search = Search::new(None);
    let runtime = runtime::Builder::new_current_thread().enable_io().enable_time().build();
    // Without one nothing is found, and that is said.
    let Ok(runtime) = runtime else { return Proxies::default() };
    sorted(runtime.block_on(find_within(&search, PATIENCE)), geteuid().as_raw())
}

fn sorted(found: Vec<Found>, us: u32) -> Proxies {
    let mut proxies = Proxies::default();
    for found in found {
        if let Some(info) = found.vouched() {
            proxies.silent = Some(info.port);
        } else if let Found::Running(proxy) = found
            && proxy.status.state == State::Serving
            && proxy.status.policy.serves(us)
        {
            // Not the address that the file says: that is a text of somebody's, the port is a number.
            let (pid, base_url) = (proxy.info.pid, base_url(proxy.info.port));
            proxies.usable.push(Usable { pid, base_url });
        }
    }
    proxies
}

#[cfg(test)]
mod tests {
    use codex_proxy_client::status::{Account, Counters, Files, Hardening, Key, Policy, Upstream};
    use codex_proxy_client::{RunningProxy, ServerInfo, Status};

    use super::*;

    fn info(port: u16) -> ServerInfo {
        ServerInfo {
            port,
            pid: 17,
            base_url: "http://evil.example/v1".to_owned(),
            control_socket: None,
            uid: 1_000,
            listener_uid: 0,
            instance: "0123456789abcdef".to_owned(),
            started_at: 1_800_000_000,
            version: "0.1.0".to_owned(),
        }
    }

    /// One that serves these accounts, or all.
    fn running(port: u16, state: State, uids: Option<&[u32]>) -> Found {
        let account = |uid: &u32| Account { uid: *uid, user: None };
        let users = uids.map(|uids| uids.iter().map(account).collect());
        let info = info(port);
        let policy = Policy {
            users,
            max_concurrent: 64,
            max_body_bytes: 1,
            connect_timeout_ms: 1,
            header_timeout_ms: 1,
            drain_timeout_ms: 1,
            http_shutdown: false,
            set_fields: Vec::new(),
            forwarded_fields: Vec::new(),
        };
        let upstream = Upstream {
            url: "https://api.openai.com/v1/responses".to_owned(),
            proxy: None,
            authorities: Vec::new(),
            key_field: "Authorization: Bearer".to_owned(),
        };
        let status = Status {
            version: info.version.clone(),
            pid: info.pid,
            instance: info.instance.clone(),
            started_at: info.started_at,
            uptime_seconds: 60,
            port,
            base_url: info.base_url.clone(),
            state,
            uid: info.uid,
            listener_uid: info.listener_uid,
            starter_uid: None,
            upstream,
            key: Key::default(),
            hardening: Hardening::default(),
            policy,
            files: Files::default(),
            counters: Counters::default(),
            in_flight: Vec::new(),
        };
        Found::Running(RunningProxy { file: "/run/it.json".into(), info, status })
    }

    fn silent(port: u16, not_allowed: bool) -> Found {
        let because = "of it".to_owned();
        Found::Silent { file: "/run/it.json".into(), info: info(port), because, not_allowed }
    }

    #[test]
    fn only_who_serves_this_account_is_of_use() {
        let found = vec![
            running(4_001, State::Serving, None),
            running(4_002, State::Serving, Some(&[1_000])),
            running(4_003, State::Draining, None),
            silent(4_004, true),
            silent(4_005, false),
        ];
        let usable =
            |port: u16| Usable { pid: 17, base_url: format!("http://127.0.0.1:{port}/v1") };
        let seen = sorted(found, 1_000);
        assert_eq!(seen.usable, [usable(4_001), usable(4_002)]);
        assert_eq!(seen.silent, Some(4_004));
        let found = vec![
            running(4_001, State::Serving, None),
            running(4_002, State::Serving, Some(&[1_000])),
        ];
        let seen = sorted(found, 1_001);
        assert_eq!((seen.usable, seen.silent), (vec![usable(4_001)], None));
        assert_eq!(sorted(Vec::new(), 0), Proxies::default());
    }
}
