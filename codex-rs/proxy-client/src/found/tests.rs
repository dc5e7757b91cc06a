use std::process::{self, Child, Command, Stdio};

use nix::unistd::geteuid;

use super::*;
use crate::pretended::{Pretended, Say, status};

/// A pretended proxy that runs, and says what it should.
fn running() -> Pretended {
    Pretended::new(|info, _| {
        let (instance, pid, port) = (info.instance.clone(), info.pid, info.port);
        Say::Status(Box::new(Status { instance, pid, port, ..status() }))
    })
}

/// Another living process, which ends with this.
struct Other(Child);

impl Other {
    /// It waits for its standard input to end.
    fn start() -> Self {
        let child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
        Self(child.unwrap())
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a file of the pretended proxy leads to that was changed so.
async fn changed(proxy: &Pretended, change: impl FnOnce(&mut ServerInfo)) -> Found {
    let mut info = proxy.info.clone();
    change(&mut info);
    follow(&proxy.write(&info)).await
}

#[tokio::test]
async fn a_proxy_that_runs_is_found_and_can_be_asked() {
    let proxy = running();
    let found = changed(&proxy, |_| {}).await;
    let Found::Running(running) = found else { panic!("{found:?}") };
    assert_eq!((&running.info, running.status.port), (&proxy.info, proxy.info.port));
    assert_eq!(running.control().status().await.unwrap(), running.status);
    // A newer proxy's file may not name the socket: its status does.
    let info = ServerInfo { control_socket: None, ..running.info.clone() };
    let path = running.status.files.control_socket.clone();
    let by_status = ControlSocket::new(path, info.pid, info.uid);
    assert_eq!(RunningProxy { info, ..running }.control(), by_status);
}

#[tokio::test]
async fn a_file_of_a_process_that_is_gone_is_stale() {
    let mut child = Command::new("true").spawn().unwrap();
    let gone = child.id();
    child.wait().unwrap();
    let proxy = running();
    for pid in [gone, 0, u32::MAX] {
        let found = changed(&proxy, |info| info.pid = pid).await;
        let Found::Stale { because, .. } = &found else { panic!("{found:?}") };
        assert!(because.contains(&pid.to_string()), "{because}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_port_that_somebody_else_has_taken_after_the_proxys_end_is_a_forgery() {
    let mut proxy = running();
    let gone = |info: &mut ServerInfo| info.pid = 0;
    let found = changed(&proxy, gone).await;
    let Found::Stale { because, .. } = &found else { panic!("{found:?}") };
    assert!(because.ends_with("another program of the same account listens on its port"));
    let taken = |info: &mut ServerInfo| (info.pid, info.listener_uid) = (0, info.uid + 1);
    let found = changed(&proxy, taken).await;
    let Found::Forged { because, .. } = &found else { panic!("{found:?}") };
    let (uid, port) = (proxy.info.uid, proxy.info.port);
    let expected =
        format!("there is no process 0 any more, and uid {uid} listens on 127.0.0.1:{port}");
    assert_eq!(because, &expected);
    proxy.close();
    let found = changed(&proxy, taken).await;
    assert!(matches!(found, Found::Stale { .. }), "nobody listens: {found:?}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_file_whose_port_nobody_has_is_stale() {
    let mut proxy = running();
    proxy.close();
    let found = changed(&proxy, |_| {}).await;
    let Found::Stale { because, .. } = &found else { panic!("{found:?}") };
    assert!(because.contains("nobody listens on 127.0.0.1:"), "{because}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_proxy_that_drains_has_no_port_any_more_and_runs() {
    let mut proxy = Pretended::new(|info, _| {
        let (instance, pid, port) = (info.instance.clone(), info.pid, info.port);
        let state = State::Draining;
        Say::Status(Box::new(Status { instance, pid, port, state, ..status() }))
    });
    proxy.close();
    let found = changed(&proxy, |_| {}).await;
    assert!(matches!(found, Found::Running(_)), "{found:?}");
}

#[tokio::test]
async fn a_file_of_an_earlier_start_with_the_same_numbers_is_stale() {
    let other = Pretended::new(|_, _| Say::Status(Box::new(status())));
    let found = changed(&other, |info| info.instance = "another".to_owned()).await;
    assert!(matches!(found, Found::Stale { .. }), "{found:?}");
    let found = changed(&other, |info| info.instance = status().instance).await;
    assert!(matches!(found, Found::Forged { .. }), "another pid or port: {found:?}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_file_that_names_another_listener_is_forged() {
    let proxy = running();
    let found = changed(&proxy, |info| info.listener_uid += 1).await;
    let Found::Forged { because, .. } = &found else { panic!("{found:?}") };
    assert!(because.contains("listens on"), "{because}");
    // Whoever listens must have written it.
    let (info, us) = (proxy.info.clone(), geteuid().as_raw());
    assert!(check_listener(&info, us).is_ok());
    assert!(matches!(check_listener(&info, us + 1), Err(Doubt::Forged(_))));
}

#[tokio::test]
async fn a_file_that_names_somebody_elses_process_is_forged() {
    let (proxy, other) = (running(), Other::start());
    let found = changed(&proxy, |info| info.pid = other.0.id()).await;
    let Found::Forged { because, .. } = &found else { panic!("{found:?}") };
    assert!(because.contains(&format!("pid {}", process::id())), "who it is: {because}");
    assert!(because.contains(&format!("pid {}", other.0.id())), "who it is not: {because}");
    let found = changed(&proxy, |info| info.uid += 1).await;
    assert!(matches!(found, Found::Forged { .. }), "{found:?}");
}

#[tokio::test]
async fn a_proxy_that_does_not_tell_is_silent() {
    let proxy = running();
    for (path, word) in [
        (None, "no control socket"),
        (Some("run/4321.sock"), "no absolute path"),
        (Some("/dev/null/none.sock"), "none.sock"),
        (Some("/nobody/is/here.sock"), "nobody answers"),
    ] {
        let found = changed(&proxy, |info| info.control_socket = path.map(PathBuf::from)).await;
        let Found::Silent { because, .. } = &found else { panic!("{found:?}") };
        assert!(because.contains(word), "{because}");
    }
    for (status, word, is_closed) in [
        (403, "it tells this account nothing: no", true),
        (404, "404", false),
        (503, "too many connections to it already; try again", false),
    ] {
        let refusing = Pretended::new(move |_, _| Say::No(status, "no"));
        let found = changed(&refusing, |_| {}).await;
        let Found::Silent { because, not_allowed, .. } = &found else { panic!("{found:?}") };
        assert!(because.contains(word), "{because}");
        assert_eq!(*not_allowed, is_closed, "{because}");
    }
}

#[tokio::test]
async fn a_file_that_is_none_is_unusable() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("1.json");
    let found = follow(&file).await;
    assert!(matches!(found, Found::Unusable { .. }), "{found:?}");
    std::fs::write(&file, "{}").unwrap();
    let Found::Unusable { error, .. } = follow(&file).await else { panic!() };
    assert!(matches!(error, ServerInfoError::Malformed { .. }), "{error:?}");
}

/// Time does not pass but by waiting.
#[tokio::test(start_paused = true)]
async fn a_proxy_that_never_answers_is_not_waited_for() {
    let proxy = running();
    let path = proxy.folder().join("stuck.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let begin = tokio::time::Instant::now();
    let found = changed(&proxy, |info| info.control_socket = Some(path)).await;
    let Found::Silent { because, .. } = &found else { panic!("{found:?}") };
    assert!(because.contains("silent for 2s"), "{because}");
    assert_eq!(begin.elapsed().as_secs(), 2);
}
