//! `provider`: where Codex would send its requests, and who decides that. `layers`: what goes before the user's file.
//!
//! Of an address that is no proxy's, only the scheme, the host and the port are ever shown: there may be a password in the
//! rest.

use std::collections::BTreeMap;
use std::sync::Arc;

use codex_config::{CodexHome, Effective, HomeError, Problem};
use codex_peer_identity::listener;
use codex_proxy_client::Found;

use super::proxy::START_ONE;
use crate::Host;
use crate::check::blocking;
use crate::finding::Finding;

mod layers;
mod pointing;

use pointing::Pointing;

const ID: &str = "provider";
const PROXYS_ADDRESS: &str = "http://127.0.0.1:PORT/v1";

/// What the files say, and which proxies there are.
struct Facts {
    plain: Pointing,
    /// With `-p openai-proxy`, if there is such a file.
    profile: Option<Pointing>,
    proxies: Vec<Proxy>,
    /// Who listens where one of the two leads, by port.
    listeners: BTreeMap<u16, Listener>,
    /// Whether `codex` is this program and looks: then it follows a proxy that has moved.
    is_guarded: bool,
}

/// A proxy that may serve this account.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Proxy {
    port: u16,
    pid: u32,
    /// Whether it tells this account about itself.
    runs: bool,
}

/// Somebody who listens on a port.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listener {
    /// In words.
    account: String,
    /// Neither root nor this account.
    is_foreign: bool,
}

pub(crate) async fn look(host: Arc<Host>) -> Vec<Finding> {
    let proxies: Vec<Proxy> = host.proxies().await.iter().filter_map(Proxy::of).collect();
    let effective = host.effective().await.cloned();
    blocking(move || match (&host.codex_home, effective) {
        (Ok(home), Some(effective)) => judge(&gather(&host, home, effective, proxies)),
        (Ok(_), None) => Vec::new(),
        (Err(error), _) => vec![homeless(error)],
    })
    .await
}

fn gather(host: &Host, home: &CodexHome, effective: Effective, proxies: Vec<Proxy>) -> Facts {
    let plain = Pointing::of(effective, home.config());
    let profile = Pointing::with_profile(host, home);
    let pointings = [Some(&plain), profile.as_ref()].into_iter().flatten();
    let ports = pointings.filter_map(|pointing| pointing.effective.port());
    let listeners = ports.filter_map(|port| Some((port, Listener::on(port, host)?))).collect();
    Facts { plain, profile, proxies, listeners, is_guarded: host.is_guarded() }
}

fn homeless(error: &HomeError) -> Finding {
    Finding::fail(ID, error.to_string(), error.hint())
}

fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![provider(facts)];
    findings.extend(layers::judge(&facts.plain.effective, &facts.plain.file));
    findings
}

fn provider(facts: &Facts) -> Finding {
    let effective = &facts.plain.effective;
    if let Some(problem) = effective.problems.first() {
        return unknown(problem);
    }
    let leads_to_a_proxy = facts.proxies.iter().any(|proxy| Some(proxy.port) == effective.port());
    if effective.is_ours() || leads_to_a_proxy {
        return pointed(&facts.plain, "Codex uses", facts);
    }
    let (provider, decided_by) = (&effective.provider, &effective.decided_by);
    let uses = format!("Codex uses the provider {provider:?}, as {decided_by} says");
    if layers::user_is_pointed(effective) {
        let config = facts.plain.file.display();
        let evidence = format!("{uses}, though {config} is pointed at the proxy");
        return Finding::fail(ID, evidence, layers::remedy(decided_by, layers::SELECTOR));
    }
    if let Some(profile) = facts.profile.as_ref().filter(|profile| profile.effective.is_ours()) {
        return pointed(profile, "with `-p openai-proxy` Codex uses", facts);
    }
    // One that overrides an address alone is in the way of no other provider.
    let remedy = match effective.overriding().filter(|layer| *layer == decided_by) {
        Some(layer) => layers::remedy(layer, layers::SELECTOR),
        None => facts.plain.begin(),
    };
    Finding::warn(ID, format!("{uses}, and not the proxy"), remedy)
}

/// What a layer says that can't be read, nobody knows.
fn unknown(problem: &Problem) -> Finding {
    let file = problem.file.display();
    let untold = "which provider Codex uses can't be told";
    let evidence = match problem.is_unread {
        true => format!("{untold}: {file} can't be read by this program"),
        false => format!("{untold}: it does not start while {file} is as it is"),
    };
    Finding::fail(ID, evidence, format!("mend {file}: `layers` says what is wrong with it"))
}

/// Whether a proxy is where that leads.
fn pointed(pointing: &Pointing, begin: &str, facts: &Facts) -> Finding {
    let effective = &pointing.effective;
    let (provider, decided_by) = (&effective.provider, &effective.decided_by);
    let uses = format!("{begin} the provider {provider:?}, as {decided_by} says");
    let Some(address) = effective.shown_address() else {
        let evidence = format!("{uses}, which has no base_url, as in {PROXYS_ADDRESS}");
        return Finding::fail(ID, evidence, pointing.repair());
    };
    let uses = format!("{uses}, at {address}");
    let Some(port) = effective.port() else {
        let evidence = format!("{uses}, which is not of the form {PROXYS_ADDRESS}");
        return Finding::fail(ID, evidence, pointing.repair());
    };
    match facts.proxies.iter().find(|proxy| proxy.port == port) {
        Some(Proxy { pid, .. }) => Finding::pass(ID, format!("{uses}: the proxy with pid {pid}")),
        None => without_proxy(pointing, port, &uses, facts),
    }
}

fn without_proxy(pointing: &Pointing, port: u16, uses: &str, facts: &Facts) -> Finding {
    let listener = facts.listeners.get(&port);
    let there = listener.map_or_else(|| "no proxy is".to_owned(), Listener::words);
    let evidence = format!("{uses}, where {there}");
    // From a listener of root's or this account's it does not turn away, whatever that is.
    let can_follow = !pointing.is_fixed() && listener.is_none_or(|listener| listener.is_foreign);
    let running: Vec<&Proxy> = facts.proxies.iter().filter(|proxy| proxy.runs).collect();
    match running[..] {
        [] => Finding::fail(ID, evidence, start(pointing, port, listener)),
        [moved] if facts.is_guarded && can_follow => {
            let now = moved.port;
            let evidence =
                format!("{evidence}; `codex` is this program, and follows it to port {now}");
            let remedy = format!("for other programs too, {}", pointing.repair());
            Finding::warn(ID, evidence, remedy)
        }
        _ => Finding::fail(ID, evidence, pointing.repair()),
    }
}

/// What to type where no proxy runs at all.
fn start(pointing: &Pointing, port: u16, listener: Option<&Listener>) -> String {
    // Two can't listen on one port.
    let another = || format!("start yours on another port, and {}", pointing.repair());
    match listener {
        None => format!("{START_ONE} --port {port}; or {}", pointing.undo()),
        Some(Listener { is_foreign: true, .. }) => another(),
        Some(Listener { is_foreign: false, .. }) => format!(
            "if that is your proxy, name its file: codex proxy doctor --server-info FILE; else {}",
            another()
        ),
    }
}

impl Listener {
    fn on(port: u16, host: &Host) -> Option<Self> {
        // That nobody can say is told by `port`.
        let uid = listener(port).ok()??.as_raw();
        Some(Self { account: host.account(uid), is_foreign: uid != 0 && uid != host.uid })
    }

    fn words(&self) -> String {
        let found = if self.is_foreign { "" } else { " was found" };
        format!("{} listens, and no proxy{found}", self.account)
    }
}

impl Proxy {
    fn of(found: &Found) -> Option<Self> {
        match found {
            Found::Running(proxy) => {
                Some(Self { port: proxy.info.port, pid: proxy.info.pid, runs: true })
            }
            other => {
                let info = other.vouched()?;
                Some(Self { port: info.port, pid: info.pid, runs: false })
            }
        }
    }
}

#[cfg(test)]
mod tests;
