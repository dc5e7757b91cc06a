//! What a server-info file leads to, and the checks that tell.

use std::path::{Path, PathBuf};
use std::time::Duration;

use codex_peer_identity::{IdentityError, listener};
use tokio::time::timeout;

use crate::status::State;
use crate::{ControlError, ControlSocket, ServerInfo, ServerInfoError, Status};

/// How long a proxy may take to tell its status.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a server-info file leads to.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there are never more than a handful")]
pub enum Found {
    /// A proxy that runs and is what the file says.
    Running(RunningProxy),
    /// Left over: that proxy has ended.
    Stale {
        /// The file.
        file: PathBuf,
        /// What it says.
        info: ServerInfo,
        /// How that is known.
        because: String,
    },
    /// It does not tell the truth: something else has its port or its control socket.
    Forged {
        /// The file.
        file: PathBuf,
        /// What it says.
        info: ServerInfo,
        /// How that is known.
        because: String,
    },
    /// It can't be read, or is not to be believed.
    Unusable {
        /// The file.
        file: PathBuf,
        /// Why.
        error: ServerInfoError,
    },
    /// The process and the port are as it says, but it does not tell this account about itself.
    Silent {
        /// The file.
        file: PathBuf,
        /// What it says.
        info: ServerInfo,
        /// How far it came.
        because: String,
        /// Whether it is this account that may not know.
        not_allowed: bool,
    },
}

/// A proxy that runs.
#[derive(Clone, Debug)]
pub struct RunningProxy {
    /// The file that led to it.
    pub file: PathBuf,
    /// What that says.
    pub info: ServerInfo,
    /// What the proxy said when it was found.
    pub status: Status,
}

impl RunningProxy {
    /// Its control socket.
    pub fn control(&self) -> ControlSocket {
        let path = self.info.control_socket.as_ref().unwrap_or(&self.status.files.control_socket);
        ControlSocket::new(path.clone(), self.info.pid, self.info.uid)
    }
}

/// Why a file does not lead to a proxy that can be talked to.
enum Doubt {
    Stale(String),
    Forged(String),
    Silent(String),
    /// To this account alone, or to some.
    Closed(String),
}

/// Follows a file, within [`PATIENCE`].
pub(crate) async fn follow(file: &Path) -> Found {
    let file = file.to_owned();
    let (info, owner) = match ServerInfo::read_with_owner(&file) {
        Ok(read) => read,
        Err(error) => return Found::Unusable { file, error },
    };
    match check(&info, owner).await {
        Ok(status) => Found::Running(RunningProxy { file, info, status }),
        Err(Doubt::Stale(because)) => Found::Stale { file, info, because },
        Err(Doubt::Forged(because)) => Found::Forged { file, info, because },
        Err(Doubt::Silent(because)) => Found::Silent { file, info, because, not_allowed: false },
        Err(Doubt::Closed(because)) => Found::Silent { file, info, because, not_allowed: true },
    }
}

async fn check(info: &ServerInfo, owner: u32) -> Result<Status, Doubt> {
    if !info.has_its_process() {
        return Err(without_process(info));
    }
    let is_listening = check_listener(info, owner)?;
    let control = match &info.control_socket {
        Some(path) if path.is_absolute() => ControlSocket::new(path.clone(), info.pid, info.uid),
        Some(path) => {
            let because = format!("its control socket is no absolute path: {}", path.display());
            return Err(Doubt::Silent(because));
        }
        None => return Err(Doubt::Silent("it has no control socket".to_owned())),
    };
    let nobody_listens =
        || Doubt::Stale(format!("nobody listens on 127.0.0.1:{port}", port = info.port));
    let status = match timeout(PATIENCE, control.status()).await {
        Ok(Ok(status)) => status,
        Ok(Err(_)) | Err(_) if !is_listening => return Err(nobody_listens()),
        Ok(Err(error)) => return Err(doubt(error)),
        Err(_) => {
            let because = format!("its control socket has been silent for {PATIENCE:?}");
            return Err(Doubt::Silent(because));
        }
    };
    if status.instance != info.instance {
        let because = format!("process {} is another proxy's by now", info.pid);
        return Err(Doubt::Stale(because));
    }
    // A proxy that is coming to its end has closed its port already.
    if !is_listening && status.state != State::Draining {
        return Err(nobody_listens());
    }
    if (status.pid, status.port) != (info.pid, info.port) {
        let (pid, port) = (status.pid, status.port);
        return Err(Doubt::Forged(format!("that proxy is process {pid} on port {port}")));
    }
    Ok(status)
}

/// A proxy that has ended. If somebody else listens on its port, clients that still use it speak to them.
fn without_process(info: &ServerInfo) -> Doubt {
    let gone = format!("there is no process {} any more", info.pid);
    match listener(info.port) {
        Ok(Some(uid)) if uid.as_raw() != info.listener_uid => Doubt::Forged(format!(
            "{gone}, and uid {} listens on 127.0.0.1:{}",
            uid.as_raw(),
            info.port
        )),
        Ok(Some(_)) => {
            Doubt::Stale(format!("{gone}; another program of the same account listens on its port"))
        }
        _ => Doubt::Stale(gone),
    }
}

/// Whether somebody listens on the port. That must be who the file says, and who wrote the file.
fn check_listener(info: &ServerInfo, owner: u32) -> Result<bool, Doubt> {
    let ServerInfo { port, listener_uid, .. } = *info;
    let found = match listener(port) {
        Ok(Some(uid)) => uid.as_raw(),
        Ok(None) => return Ok(false),
        // Where nobody can be asked, the control socket alone has to tell.
        Err(IdentityError::Unavailable) => return Ok(true),
        Err(error) => {
            let because = format!("who listens on 127.0.0.1:{port} can't be told: {error}");
            return Err(Doubt::Silent(because));
        }
    };
    if found != listener_uid {
        let because = format!("uid {found} listens on 127.0.0.1:{port}, not uid {listener_uid}");
        return Err(Doubt::Forged(because));
    }
    if listener_uid != owner {
        let because = format!("uid {owner} wrote it, but uid {listener_uid} listens there");
        return Err(Doubt::Forged(because));
    }
    Ok(true)
}

fn doubt(error: ControlError) -> Doubt {
    match error {
        ControlError::NotOurs { .. } => Doubt::Forged(error.to_string()),
        ControlError::NotAllowed(message) => {
            Doubt::Closed(format!("it tells this account nothing: {message}"))
        }
        ControlError::Broken { ref source, .. } => Doubt::Silent(format!("{error}: {source}")),
        ControlError::NotThere { .. }
        | ControlError::Crowded
        | ControlError::Busy(_)
        | ControlError::BadKey(_)
        | ControlError::Refused { .. }
        | ControlError::Timeout { .. } => Doubt::Silent(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
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
}
