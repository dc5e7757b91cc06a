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

impl Found {
    /// What the file says of a proxy that tells this account nothing about itself: the kernel has vouched for its
    /// process and its port.
    pub fn vouched(&self) -> Option<&ServerInfo> {
        match self {
            Self::Silent { info, not_allowed: true, .. } => Some(info),
            _ => None,
        }
    }
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
mod tests;
