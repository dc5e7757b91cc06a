//! `proxy`: what the server-info files lead to: whether a proxy runs, whose it is, and whether it serves this account.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io;
use std::path::Path;
use std::sync::Arc;

use codex_config::{Effective, base_url};
use codex_proxy_client::status::State;
use codex_proxy_client::{Found, RunningProxy, ServerInfo, ServerInfoError, serves_this_account};
use tokio::task::JoinSet;

use crate::Host;
use crate::check::blocking;
use crate::finding::Finding;

const ID: &str = "proxy";
/// What to type where no proxy runs.
pub(super) const START_ONE: &str = "start one: printenv OPENAI_API_KEY | codex proxy --daemon";
const ASK_AS_ANOTHER: &str = "ask as root with sudo, or as the account that started it";
const LOOK_EVERYWHERE: &str =
    "with neither --server-info nor CODEX_PROXY_SERVER_INFO the run folders are looked through";

/// What matters besides what was found.
struct Facts {
    uid: u32,
    /// Accounts in words.
    names: BTreeMap<u32, String>,
    /// Where Codex is pointed.
    pointed_port: Option<u16>,
    /// Of the proxy that Codex is meant to use.
    meant_port: Option<u16>,
    /// By port: whether a proxy that tells this account nothing serves it, as far as it says.
    serves: BTreeMap<u16, bool>,
    looked_in: String,
    /// Of this program.
    version: &'static str,
}

pub(crate) async fn look(host: Arc<Host>) -> Vec<Finding> {
    let found = host.proxies().await;
    let meant_port = host.proxy().await.map(|proxy| proxy.info.port);
    let serves = asked_for_service(found, host.uid).await;
    let (uids, asked) = (accounts(found, host.uid), host.clone());
    let pointed_port = host.effective().await.and_then(Effective::port);
    let facts = blocking(move || {
        let search = &asked.search;
        let places = search.file().into_iter().chain(search.folders().iter().map(|it| &**it));
        let places: Vec<String> = places.map(|place| place.display().to_string()).collect();
        Facts {
            uid: asked.uid,
            names: uids.into_iter().map(|uid| (uid, asked.account(uid))).collect(),
            pointed_port,
            meant_port,
            serves,
            looked_in: places.join(" and "),
            version: env!("CARGO_PKG_VERSION"),
        }
    });
    let facts = facts.await;
    judge(found, &facts)
}

/// All that are to be named, and this one.
fn accounts(found: &[Found], own: u32) -> BTreeSet<u32> {
    let mut uids = BTreeSet::from([own]);
    for found in found {
        if let Found::Running(proxy) = found {
            uids.insert(proxy.status.uid);
            uids.extend(proxy.status.policy.users.iter().flatten().map(|user| user.uid));
        }
    }
    uids
}

/// Asks those that tell this account nothing, side by side. Root they tell all there is.
async fn asked_for_service(found: &[Found], uid: u32) -> BTreeMap<u16, bool> {
    let mut asked = JoinSet::new();
    for found in found {
        if let Some(ServerInfo { port, .. }) = found.vouched().filter(|_| uid != 0) {
            let port = *port;
            asked.spawn(async move { (port, serves_this_account(port).await) });
        }
    }
    let mut serves = BTreeMap::new();
    while let Some(answered) = asked.join_next().await {
        if let Ok((port, Some(is_served))) = answered {
            serves.insert(port, is_served);
        }
    }
    serves
}

fn judge(found: &[Found], facts: &Facts) -> Vec<Finding> {
    if let Some(file) = missing(found) {
        let evidence = format!("there is no file {}", file.display());
        return vec![Finding::fail(ID, evidence, LOOK_EVERYWHERE)];
    }
    let mut findings = Vec::new();
    // One that tells this account nothing may well serve it.
    let may_serve = |found: &Found| matches!(found, Found::Running(_)) || found.vouched().is_some();
    if !found.iter().any(may_serve) {
        let evidence = format!("no proxy runs: looked in {}", facts.looked_in);
        findings.push(Finding::fail(ID, evidence, START_ONE));
    }
    for found in found {
        match found {
            Found::Running(proxy) => findings.extend(running(proxy, facts)),
            other => findings.extend(not_running(other, facts)),
        }
    }
    findings
}

/// The file that was named and is not there. (One that lay in a folder and has gone is not told of.)
fn missing(found: &[Found]) -> Option<&Path> {
    match found {
        [Found::Unusable { file, error: ServerInfoError::Unreadable { source, .. } }]
            if source.kind() == io::ErrorKind::NotFound =>
        {
            Some(file)
        }
        _ => None,
    }
}

fn running(proxy: &RunningProxy, facts: &Facts) -> Vec<Finding> {
    let (pid, port, status) = (proxy.info.pid, proxy.info.port, &proxy.status);
    if status.state == State::Draining {
        let evidence = format!("pid {pid} on port {port} is draining: it takes no more requests");
        return vec![match facts.meant_port == Some(port) {
            true => Finding::fail(ID, evidence, START_ONE),
            false => Finding::warn(ID, evidence, START_ONE),
        }];
    }
    let mut findings = serving(proxy, facts);
    if status.version != facts.version {
        let (theirs, ours) = (&status.version, facts.version);
        let evidence = format!("pid {pid} is of version {theirs}, and this program of {ours}");
        let remedy = "stop it with `codex proxy stop`, and start it anew with this program";
        findings.push(Finding::warn(ID, evidence, remedy));
    }
    findings
}

/// Whom it serves.
fn serving(proxy: &RunningProxy, facts: &Facts) -> Vec<Finding> {
    let (pid, port, status) = (proxy.info.pid, proxy.info.port, &proxy.status);
    let base_url = base_url(port);
    let (served_by, uid) = (facts.name(status.uid), facts.uid);
    let serves = format!("pid {pid} serves {base_url} as {served_by}");
    let passes = Finding::pass(ID, format!("{serves}, key in {}", status.key.page));
    let Some(users) = &status.policy.users else {
        // Elsewhere than on Linux it can't tell accounts apart.
        if !cfg!(any(target_os = "linux", target_os = "android")) {
            return vec![passes];
        }
        let evidence = format!(
            "any account on this machine may use {base_url}, and with it the key that pid {pid} has"
        );
        let user = if uid == 0 { "NAME".to_owned() } else { uid.to_string() };
        let remedy = format!("start it anew with --allow-user {user}");
        return vec![passes, Finding::warn(ID, evidence, remedy)];
    };
    if status.policy.serves(uid) {
        return vec![passes];
    }
    let users: Vec<String> = users.iter().map(|user| facts.name(user.uid)).collect();
    let (others, own) = (users.join(", "), facts.name(uid));
    let evidence = format!("{serves}, for {others} alone and not for {own}");
    let remedy = format!("start it anew with --allow-user {uid} besides");
    vec![match facts.pointed_port == Some(port) {
        true => Finding::fail(ID, evidence, remedy),
        false => Finding::warn(ID, evidence, remedy),
    }]
}

/// What a file leads to that is no proxy, or none that can be asked.
fn not_running(found: &Found, facts: &Facts) -> Option<Finding> {
    let finding = match found {
        Found::Running(_) => return None,
        Found::Stale { file, because, .. } => {
            let evidence = format!("{} is left over: {because}", file.display());
            let remedy = "start a proxy, which takes it away, or remove it by hand";
            Finding::warn(ID, evidence, remedy)
        }
        Found::Forged { file, info, because } => {
            let evidence = format!("{} is forged, do not trust it: {because}", file.display());
            Finding::fail(ID, evidence, who_listens(info.port))
        }
        Found::Silent { info, because, not_allowed: true, .. } if facts.uid != 0 => {
            closed(info, because, facts)
        }
        Found::Silent { info, because, .. } => {
            let (pid, port) = (info.pid, info.port);
            let evidence = format!("pid {pid} has port {port} and does not answer: {because}");
            let remedy = format!("look at it with `ps -fp {pid}`; end it, and {START_ONE}");
            Finding::fail(ID, evidence, remedy)
        }
        Found::Unusable { error, .. } => {
            Finding::warn(ID, in_one_line(error), unusable_remedy(error, facts.uid == 0))
        }
    };
    Some(finding)
}

/// What any client can learn of a proxy that tells this account nothing: whether it serves it.
fn closed(info: &ServerInfo, because: &str, facts: &Facts) -> Finding {
    let (pid, port) = (info.pid, info.port);
    match facts.serves.get(&port) {
        Some(true) => Finding::pass(
            ID,
            format!(
                "pid {pid} on port {port} serves this account, but tells it nothing about itself"
            ),
        ),
        Some(false) => {
            let evidence = format!("pid {pid} does not serve this account, on port {port}");
            let remedy = format!("have it started anew with --allow-user {} besides", facts.uid);
            match facts.pointed_port == Some(port) {
                true => Finding::fail(ID, evidence, remedy),
                false => Finding::warn(ID, evidence, remedy),
            }
        }
        None => {
            let evidence = format!("pid {pid} has port {port}, and {because}");
            Finding::warn(ID, evidence, ASK_AS_ANOTHER)
        }
    }
}

fn unusable_remedy(error: &ServerInfoError, is_root: bool) -> String {
    match error {
        ServerInfoError::ForeignOwner { owner, .. } => {
            format!("ask as that account: sudo -u '#{owner}' codex proxy doctor")
        }
        ServerInfoError::Unreadable { source, .. }
            if !is_root && source.kind() == io::ErrorKind::PermissionDenied =>
        {
            ASK_AS_ANOTHER.to_owned()
        }
        _ => "name the file that a proxy was told to write with --server-info".to_owned(),
    }
}

/// How to find out whose a port is.
pub(super) fn who_listens(port: u16) -> String {
    format!("find out who listens there: sudo ss -ltnp 'sport = :{port}'")
}

/// An error with its causes.
fn in_one_line(error: &dyn Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", in_one_line(cause)),
        None => error.to_string(),
    }
}

impl Facts {
    fn name(&self, uid: u32) -> String {
        self.names.get(&uid).cloned().unwrap_or_else(|| format!("uid {uid}"))
    }
}

#[cfg(test)]
pub(super) mod samples;
#[cfg(test)]
mod tests;
