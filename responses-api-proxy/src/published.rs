//! What a running proxy is found by: the server-info file that the operator named, the one in the run folder, and the
//! control socket.

use std::error::Error;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use codex_proxy_client::ServerInfo;
use nix::unistd::geteuid;

use crate::control::{Access, ControlSocket, RunEntry};
use crate::server_info_file::ServerInfoFile;
use crate::settings::Settings;
use crate::{StartError, report};

/// What others find us by.
pub(crate) struct Published {
    /// Where the operator wants it. Gone once nothing more is accepted.
    pub(crate) named: Option<ServerInfoFile>,
    /// In the run folder. Gone at the end, so that a proxy that drains can be seen, and stopped at once.
    pub(crate) standing: Option<ServerInfoFile>,
    pub(crate) socket: Option<ControlSocket>,
    pub(crate) info: ServerInfo,
}

impl Published {
    /// The files that say where we are.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let files = self.named.iter().chain(&self.standing);
        files.map(|file| file.path().to_owned()).collect()
    }

    /// Makes the control socket first, then says where it is.
    pub(crate) fn publish(
        settings: &Settings,
        access: &Access,
        port: u16,
    ) -> Result<Self, StartError> {
        let mut info = server_info(port)?;
        // Who named no socket gets one where it can be had; who did has a right to it.
        let entry = match (RunEntry::prepare(info.port), &settings.control_socket) {
            (Ok(entry), _) => Some(entry),
            (Err(_), Some(_)) => None,
            (Err(error), None) => without_socket(settings, &error),
        };
        let socket = match (&settings.control_socket, &entry) {
            (Some(path), _) => Some(ControlSocket::at(path, access)?),
            (None, Some(entry)) => entry
                .control_socket(access)
                .map_or_else(|error| without_socket(settings, &error), Some),
            (None, None) => None,
        };
        info.control_socket = socket.as_ref().map(|socket| socket.path().to_owned());
        let publish = |path: PathBuf| ServerInfoFile::publish(path, &info);
        let named = match settings.server_info.clone() {
            None => None,
            Some(path) => Some(
                publish(path.clone()).map_err(|source| StartError::ServerInfo { path, source })?,
            ),
        };
        let standing = entry.as_ref().and_then(|entry| {
            standing(publish(entry.server_info())).map_or_else(|error| without_entry(&error), Some)
        });
        Ok(Self { named, standing, socket, info })
    }
}

/// Of root's, everybody may read where the proxy is, whatever the umask says of other files.
fn standing(file: io::Result<ServerInfoFile>) -> io::Result<ServerInfoFile> {
    let file = file?;
    if geteuid().is_root() {
        fs::set_permissions(file.path(), Permissions::from_mode(0o644))?; // In a folder of root's alone.
    }
    Ok(file)
}

/// Says that there will be no control socket, and gives none.
fn without_socket<T>(settings: &Settings, error: &dyn Error) -> Option<T> {
    let names = match settings.server_info {
        Some(_) => "a --control-socket",
        None => "a --control-socket and a --server-info",
    };
    let cause = report::in_one_line(error);
    report::line(&format!(
        "note: `codex proxy status`, `log`, `stop` and `rotate-key` won't find this proxy: {cause}; name {names}"
    ));
    None
}

/// Says that we can't be found without being named, and gives nothing.
fn without_entry<T>(error: &dyn Error) -> Option<T> {
    let cause = report::in_one_line(error);
    report::line(&format!(
        "note: `codex proxy status` finds this proxy by --server-info only: {cause}"
    ));
    None
}

fn server_info(port: u16) -> Result<ServerInfo, StartError> {
    let mut instance = [0; 16];
    getrandom::fill(&mut instance)
        .map_err(|error| StartError::Resources { what: "a random number", source: error.into() })?;
    let uid = geteuid().as_raw();
    Ok(ServerInfo {
        port,
        pid: std::process::id(),
        base_url: format!("http://127.0.0.1:{port}/v1"),
        control_socket: None,
        uid,
        listener_uid: uid,
        instance: format!("{:032x}", u128::from_ne_bytes(instance)),
        started_at: unix_seconds(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

/// Now, in Unix time in seconds.
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
