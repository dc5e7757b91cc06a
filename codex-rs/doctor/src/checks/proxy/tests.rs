//! What is found, and what is said of it.

use std::path::PathBuf;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::samples::{info, running, silent};
use super::*;
use crate::finding::Grade::{self, Fail, Pass, Warn};

fn facts() -> Facts {
    Facts {
        uid: 1_000,
        names: [(0, "root (uid 0)"), (1_000, "alice (uid 1000)"), (1_001, "bob (uid 1001)")]
            .map(|(uid, name)| (uid, name.to_owned()))
            .into(),
        pointed_port: Some(4_000),
        meant_port: Some(4_000),
        serves: BTreeMap::new(),
        looked_in: "/run/a and /run/b".to_owned(),
        version: "0.1.0",
    }
}

fn words(findings: &[Finding]) -> Vec<(Grade, &str)> {
    assert!(
        findings.iter().all(|it| it.check == ID && (it.remedy.is_some() == (it.grade != Pass)))
    );
    findings.iter().map(|finding| (finding.grade, finding.evidence.as_str())).collect()
}

#[test]
fn a_proxy_that_runs_says_where_for_whom_and_how_it_keeps_the_key() {
    let serves = "pid 17 serves http://127.0.0.1:4000/v1 as root (uid 0)";
    let passes = format!("{serves}, key in memfd_secret");
    let not_for_us = format!("{serves}, for bob (uid 1001) alone and not for alice (uid 1000)");
    let any = "any account on this machine may use http://127.0.0.1:4000/v1, and with it the key that pid 17 has";
    let draining = "pid 17 on port 4000 is draining: it takes no more requests";
    let older = "pid 17 is of version 0.0.9, and this program of 0.1.0";
    let good = running(4_000, |_| {});
    let open = running(4_000, |status| status.policy.users = None);
    let others = || {
        running(4_000, |status| {
            for user in status.policy.users.iter_mut().flatten() {
                user.uid = 1_001;
            }
        })
    };
    let drains = || running(4_000, |status| status.state = State::Draining);
    let old = running(4_000, |status| status.version = "0.0.9".to_owned());
    let elsewhere = || Facts { pointed_port: None, meant_port: Some(5_000), ..facts() };
    for (found, facts, expected) in [
        (good, facts(), vec![(Pass, passes.as_str())]),
        (open, facts(), vec![(Pass, passes.as_str()), (Warn, any)]),
        (others(), facts(), vec![(Fail, not_for_us.as_str())]),
        (others(), elsewhere(), vec![(Warn, not_for_us.as_str())]),
        (drains(), facts(), vec![(Fail, draining)]),
        (drains(), elsewhere(), vec![(Warn, draining)]),
        (old, facts(), vec![(Pass, passes.as_str()), (Warn, older)]),
    ] {
        assert_eq!(words(&judge(&[found], &facts)), expected);
    }
}

#[test]
fn where_none_runs_it_is_said_how_to_start_one_and_what_was_found_instead() {
    let file = PathBuf::from("/run/4000.json");
    let stale = || Found::Stale { file: file.clone(), info: info(4_000), because: "gone".into() };
    let forged = Found::Forged { file: file.clone(), info: info(4_000), because: "uid 5".into() };
    let error = ServerInfoError::ForeignOwner { path: file.clone(), owner: 5 };
    let foreign = Found::Unusable { file: file.clone(), error };
    let none = (Fail, "no proxy runs: looked in /run/a and /run/b");
    let left_over = (Warn, "/run/4000.json is left over: gone");
    let hangs = (Fail, "pid 17 has port 4000 and does not answer: it is silent");
    let not_told = (Warn, "pid 17 has port 4000, and it tells this account nothing: no");
    let is_forged = (Fail, "/run/4000.json is forged, do not trust it: uid 5");
    let is_foreign = (Warn, "/run/4000.json belongs to uid 5, neither to root nor to this account");
    for (found, expected) in [
        (vec![], vec![none]),
        (vec![stale()], vec![none, left_over]),
        (vec![forged], vec![none, is_forged]),
        (vec![foreign], vec![none, is_foreign]),
        (vec![silent(4_000, false)], vec![none, hangs]),
        (vec![silent(4_000, true)], vec![not_told]),
        (vec![silent(4_000, true), stale()], vec![not_told, left_over]),
    ] {
        assert_eq!(words(&judge(&found, &facts())), expected);
    }
    assert_eq!(judge(&[], &facts())[0].remedy.as_deref(), Some(START_ONE));
}

#[test]
fn a_proxy_that_tells_this_account_nothing_is_judged_by_whether_it_serves_it() {
    let served = |is_served, port| Facts {
        serves: [(4_000, is_served)].into(),
        pointed_port: Some(port),
        ..facts()
    };
    let serves = "pid 17 on port 4000 serves this account, but tells it nothing about itself";
    let refuses = "pid 17 does not serve this account, on port 4000";
    let untold = "pid 17 has port 4000, and it tells this account nothing: no";
    let as_root = Facts { uid: 0, ..served(true, 4_000) };
    let hangs = "pid 17 has port 4000 and does not answer: it tells this account nothing: no";
    for (facts, expected) in [
        (served(true, 4_000), (Pass, serves)),
        (served(true, 5_000), (Pass, serves)),
        (served(false, 4_000), (Fail, refuses)),
        (served(false, 5_000), (Warn, refuses)),
        (facts(), (Warn, untold)),
        (as_root, (Fail, hangs)),
    ] {
        assert_eq!(words(&judge(&[silent(4_000, true)], &facts)), [expected]);
    }
    let refused = judge(&[silent(4_000, true)], &served(false, 4_000));
    let remedy = "have it started anew with --allow-user 1000 besides";
    assert_eq!(refused[0].remedy.as_deref(), Some(remedy));
}

#[tokio::test]
async fn what_tells_this_account_nothing_is_asked_whether_it_serves_it_and_root_need_not_ask() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let found = [silent(port, true), silent(1, false), running(2, |_| {})];
    assert!(asked_for_service(&found, 0).await.is_empty());
    let refuse = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(stream.read(&mut [0; 1_024]).await.unwrap() > 0);
        let refusal = "HTTP/1.1 403 Forbidden\r\nx-codex-proxy-error: client_not_allowed\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(refusal.as_bytes()).await.unwrap();
    };
    let (serves, ()) = tokio::join!(asked_for_service(&found, 1_000), refuse);
    assert_eq!(serves, BTreeMap::from([(port, false)]));
}

#[test]
fn a_named_file_that_is_not_there_says_nothing_of_proxies() {
    let named = |kind: io::ErrorKind| {
        let (path, source) = (PathBuf::from("/nope"), io::Error::from(kind));
        let error = ServerInfoError::Unreadable { path: path.clone(), source };
        judge(&[Found::Unusable { file: path, error }], &facts())
    };
    let gone = named(io::ErrorKind::NotFound);
    assert_eq!(words(&gone), [(Fail, "there is no file /nope")]);
    assert_eq!(gone[0].remedy.as_deref(), Some(LOOK_EVERYWHERE));
    let denied = "/nope could not be read: permission denied";
    assert_eq!(words(&named(io::ErrorKind::PermissionDenied))[1], (Warn, denied));
}

#[test]
fn each_file_that_can_not_be_used_has_its_remedy() {
    let path = PathBuf::from("/run/4000.json");
    let foreign = ServerInfoError::ForeignOwner { path: path.clone(), owner: 5 };
    let source = || io::Error::from(io::ErrorKind::PermissionDenied);
    let closed = || ServerInfoError::Unreadable { path: path.clone(), source: source() };
    for (error, is_root, expected) in [
        (foreign, true, "sudo -u '#5' codex proxy doctor"),
        (closed(), false, "with sudo"),
        (closed(), true, "--server-info"),
        (ServerInfoError::NotAFile { path: path.clone() }, false, "--server-info"),
    ] {
        let remedy = unusable_remedy(&error, is_root);
        assert!(remedy.contains(expected), "{remedy}");
    }
    assert_eq!(in_one_line(&closed()), "/run/4000.json could not be read: permission denied");
}

#[tokio::test]
async fn on_a_machine_without_a_proxy_that_is_what_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let findings = look(Arc::new(Host::for_tests(folder.path()))).await;
    let [finding] = &findings[..] else { panic!("{findings:?}") };
    assert!(finding.grade == Fail && finding.evidence.starts_with("no proxy runs: looked in /"));
}
