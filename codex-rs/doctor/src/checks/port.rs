//! `port`: who listens where Codex sends its requests, and who could take that port once the proxy has ended.
//!
//! A port that the kernel keeps for root can't be taken by another account. On any other, Codex would talk to whoever
//! comes first: this program's `codex` looks who it is, but only when a run starts, and the public one never does.

use std::sync::Arc;

use codex_config::Effective;
use codex_peer_identity::listener;
use codex_proxy_client::Found;

use super::proxy::who_listens;
use crate::Host;
use crate::check::blocking;
use crate::finding::Finding;

mod rules;

use rules::Rules;

const ID: &str = "port";

/// What is known of the port.
struct Facts {
    port: u16,
    /// Whether Codex is pointed there; else a proxy has it.
    is_pointed: bool,
    /// Who listens there, in words, if anybody does.
    listener: Result<Option<String>, String>,
    /// It is a proxy's, root's or this account's.
    is_trusted: bool,
    rules: Rules,
    /// Whether `codex` is this program and looks.
    is_guarded: bool,
}

pub(crate) async fn look(host: Arc<Host>) -> Vec<Finding> {
    let known: Vec<(u16, bool)> = host.proxies().await.iter().filter_map(known_port).collect();
    let proxys = host.proxy().await.map(|proxy| proxy.info.port);
    let effective = host.effective().await.filter(|effective| effective.is_ours());
    let pointed = effective.and_then(Effective::port);
    let Some(port) = pointed.or(proxys) else { return Vec::new() };
    blocking(move || judge(&gather(&host, &known, port, pointed.is_some()))).await
}

/// A port that a file speaks of, and whether the kernel has vouched for what listens there: the proxy, or another.
fn known_port(found: &Found) -> Option<(u16, bool)> {
    match found {
        Found::Running(proxy) => Some((proxy.info.port, true)),
        Found::Forged { info, .. } => Some((info.port, false)),
        other => other.vouched().map(|info| (info.port, true)),
    }
}

fn gather(host: &Host, known: &[(u16, bool)], port: u16, is_pointed: bool) -> Facts {
    let uid = listener(port).map(|uid| uid.map(|uid| uid.as_raw()));
    let known: Vec<bool> = known.iter().filter(|(it, _)| *it == port).map(|(_, it)| *it).collect();
    Facts {
        port,
        is_pointed,
        is_trusted: is_trusted(&known, uid.as_ref().ok().copied().flatten(), host.uid),
        listener: match uid {
            Ok(uid) => Ok(uid.map(|uid| host.account(uid))),
            Err(error) => Err(error.to_string()),
        },
        rules: Rules::read(&host.proc_folder.join("sys/net/ipv4")),
        is_guarded: host.is_guarded(),
    }
}

/// Whether it is a proxy that listens there, root or this account. `known`: what the files that speak of the port have come
/// to. One that the kernel has vouched for is enough; and one that is forged says that there is something else.
fn is_trusted(known: &[bool], listener: Option<u32>, own: u32) -> bool {
    let is_near = listener.is_some_and(|uid| uid == 0 || uid == own);
    known.contains(&true) || (!known.contains(&false) && is_near)
}

fn judge(facts: &Facts) -> Vec<Finding> {
    let port = facts.port;
    let mut findings = Vec::new();
    match &facts.listener {
        Ok(Some(account)) if !facts.is_trusted => {
            let pointed = if facts.is_pointed { ", where Codex is pointed" } else { "" };
            let evidence = format!("{account} listens on 127.0.0.1:{port}{pointed}, and no proxy");
            let remedy = format!(
                "run no Codex until that is settled: {}; then `codex proxy point` or `codex proxy unpoint`",
                who_listens(port)
            );
            findings.push(Finding::fail(ID, evidence, remedy));
            return findings;
        }
        Err(why) => {
            let evidence = format!("who listens on 127.0.0.1:{port} can't be told: {why}");
            findings.push(Finding::warn(ID, evidence, who_listens(port)));
        }
        Ok(_) => {}
    }
    findings.push(taking(facts));
    findings
}

/// Who could take it.
fn taking(facts: &Facts) -> Finding {
    let (port, rules) = (facts.port, &facts.rules);
    if port < rules.unprivileged_from {
        let from = rules.unprivileged_from;
        return Finding::pass(
            ID,
            format!("nobody but root can take port {port}: it is below {from}"),
        );
    }
    let when = match facts.listener {
        Ok(None) => "now that nobody listens there",
        _ => "once the proxy has ended",
    };
    let mut evidence = format!("any account can take port {port} {when}");
    if let Some((first, last)) = rules.ephemeral.filter(|_| rules.is_ephemeral(port)) {
        let range = format!(", also by chance, since outgoing connections get {first} to {last}");
        evidence.push_str(&range);
    }
    evidence.push_str(match facts.is_guarded {
        true => {
            "; `codex` is this program and looks who listens, but only when a run starts: sessions that run, and Codex's \
             background server, go on sending"
        }
        false => "; nobody looks who listens there then: Codex would talk to whoever came first",
    });
    Finding::warn(ID, evidence, keep_it_for_root(rules.unprivileged_from))
}

fn keep_it_for_root(unprivileged_from: u16) -> String {
    // With all ports open to everyone there is none to name.
    if unprivileged_from > 1 {
        return format!("start the proxy as root with a --port below {unprivileged_from}");
    }
    let keep = "sudo sysctl net.ipv4.ip_unprivileged_port_start=1024";
    format!("keep the low ports for root ({keep}), and start the proxy as root with one of them")
}

#[cfg(test)]
mod tests {
    use super::super::proxy::samples::{info, running, silent};
    use super::*;
    use crate::finding::Grade::{self, Fail, Pass, Warn};

    fn rules() -> Rules {
        let ephemeral = Some((32_768, 60_999));
        Rules { unprivileged_from: 1_024, ephemeral, reserved: vec![(40_000, 40_001)] }
    }

    fn facts(port: u16) -> Facts {
        Facts {
            port,
            is_pointed: true,
            listener: Ok(Some("root (uid 0)".to_owned())),
            is_trusted: true,
            rules: rules(),
            is_guarded: false,
        }
    }

    fn words(findings: &[Finding]) -> Vec<(Grade, &str)> {
        assert!(findings.iter().all(|it| it.remedy.is_some() == (it.grade != Pass)));
        findings.iter().map(|finding| (finding.grade, finding.evidence.as_str())).collect()
    }

    #[test]
    fn a_port_is_safe_where_it_is_roots_and_nowhere_else() {
        let foreign = || Ok(Some("eve (uid 1001)".to_owned()));
        let guarded = |port| Facts { is_guarded: true, ..facts(port) };
        let free = |port| Facts { listener: Ok(None), is_trusted: false, ..facts(port) };
        let taken = Facts { listener: foreign(), is_trusted: false, ..facts(443) };
        let other = Facts { listener: foreign(), ..facts(443) };
        let would = "nobody looks who listens there then: Codex would talk to whoever came first";
        let looks = "`codex` is this program and looks who listens, but only when a run starts: sessions that run, and Codex's background server, go on sending";
        let ended = "any account can take port 4000 once the proxy has ended";
        let nobody =
            format!("any account can take port 4000 now that nobody listens there; {would}");
        let chance = "any account can take port 32768 once the proxy has ended, also by chance, since outgoing connections get 32768 to 60999";
        let roots = "nobody but root can take port 443: it is below 1024";
        for (facts, expected) in [
            (facts(443), (Pass, roots)),
            (other, (Pass, roots)),
            (facts(4_000), (Warn, &*format!("{ended}; {would}"))),
            (guarded(4_000), (Warn, &*format!("{ended}; {looks}"))),
            (facts(32_768), (Warn, &*format!("{chance}; {would}"))),
            (guarded(32_768), (Warn, &*format!("{chance}; {looks}"))),
            (free(4_000), (Warn, &*nobody)),
            (
                taken,
                (
                    Fail,
                    "eve (uid 1001) listens on 127.0.0.1:443, where Codex is pointed, and no proxy",
                ),
            ),
        ] {
            assert_eq!(words(&judge(&facts)), [expected]);
        }
    }

    #[test]
    fn where_the_kernel_does_not_say_who_listens_that_is_said() {
        let facts = Facts { listener: Err("only Linux tells".to_owned()), ..facts(443) };
        let untold = "who listens on 127.0.0.1:443 can't be told: only Linux tells";
        let roots = "nobody but root can take port 443: it is below 1024";
        assert_eq!(words(&judge(&facts)), [(Warn, untold), (Pass, roots)]);
    }

    #[test]
    fn no_port_is_recommended_where_none_is_roots() {
        let none = Rules { unprivileged_from: 0, ..rules() };
        let remedy = |rules| taking(&Facts { rules, ..facts(4_000) }).remedy.unwrap();
        assert_eq!(remedy(rules()), "start the proxy as root with a --port below 1024");
        assert!(remedy(none).starts_with("keep the low ports for root"));
    }

    #[test]
    fn who_listens_is_trusted_for_what_is_known_of_the_port() {
        for (known, listener, expected) in [
            (&[true][..], Some(5), true),
            (&[true], None, true),
            (&[false, true], Some(5), true),
            (&[false], Some(0), false),
            (&[false], Some(1_000), false),
            (&[], Some(0), true),
            (&[], Some(1_000), true),
            (&[], Some(1_001), false),
            (&[], None, false),
        ] {
            assert_eq!(is_trusted(known, listener, 1_000), expected, "{known:?} {listener:?}");
        }
    }

    #[test]
    fn only_what_is_said_of_this_port_counts() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::for_tests(folder.path());
        // Bound by this account, which nobody has vouched for.
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let other = port ^ 1;
        for (known, expected) in [
            (vec![(port, true), (other, false)], true),
            (vec![(port, false), (other, true)], false),
        ] {
            assert_eq!(gather(&host, &known, port, true).is_trusted, expected, "{known:?}");
        }
    }

    #[test]
    fn a_proxy_that_the_kernel_has_vouched_for_has_its_port_by_right() {
        let because = "uid 5 listens there".to_owned();
        let forged = Found::Forged { file: "/run/it".into(), info: info(4_000), because };
        assert_eq!(known_port(&running(4_000, |_| {})), Some((4_000, true)));
        assert_eq!(known_port(&silent(4_000, true)), Some((4_000, true)));
        assert_eq!(known_port(&silent(4_000, false)), None);
        assert_eq!(known_port(&forged), Some((4_000, false)));
    }
}
