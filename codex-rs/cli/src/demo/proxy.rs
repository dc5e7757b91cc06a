//! The demo's proxy: this program, started as its user would start it.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, bail, ensure};
use codex_proxy_client::ServerInfo;
use nix::unistd::geteuid;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

use super::client;

/// A proxy that runs. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Proxy {
    child: Child,
    stderr: Lines<BufReader<ChildStderr>>,
    info: ServerInfo,
    info_file: PathBuf,
}

impl Proxy {
    /// Starts a proxy for `upstream` and waits until it says that it is ready.
    pub(crate) async fn start(
        folder: &Path,
        upstream: &str,
        authority_pem: &str,
        key: &str,
    ) -> anyhow::Result<Self> {
        let authority = folder.join("authority.pem");
        let info_file = folder.join("server-info.json");
        fs::write(&authority, authority_pem).context("while writing the authority")?;
        let program = std::env::current_exe().context("while looking for this program")?;
        let mut child = Command::new(program)
            .args(["responses-api-proxy", "--http-shutdown", "--upstream-url", upstream])
            .arg("--upstream-ca")
            .arg(&authority)
            .arg("--server-info")
            .arg(&info_file)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("while starting the proxy")?;
        let mut stdin = child.stdin.take().context("the proxy has no standard input")?;
        // A proxy that failed does not read it; its own words, below, say why.
        let _ = stdin.write_all(key.as_bytes()).await;
        drop(stdin);

        let stderr = child.stderr.take().context("the proxy has no standard error")?;
        let mut stderr = BufReader::new(stderr).lines();
        let mut said = Vec::new();
        loop {
            match stderr.next_line().await.context("while listening to the proxy")? {
                Some(line) if line.starts_with("ready:") => break,
                Some(line) => said.push(line),
                None => bail!("the proxy did not start: {}", said.join("; ")),
            }
        }
        let info = ServerInfo::read(&info_file)?;
        Ok(Self { child, stderr, info, info_file })
    }

    pub(crate) fn info(&self) -> &ServerInfo {
        &self.info
    }

    /// Looks at the running proxy as another process of this account would.
    pub(crate) fn hardening(&self) -> anyhow::Result<Hardening> {
        let process = PathBuf::from(format!("/proc/{}", self.info.pid));
        if !process.exists() {
            return Ok(Hardening::Unseen);
        }
        let limits =
            fs::read_to_string(process.join("limits")).context("while reading its limits")?;
        let core = limits.lines().find(|line| line.starts_with("Max core file size"));
        let no_core = core
            .is_some_and(|line| line.split_whitespace().skip(4).take(2).all(|limit| limit == "0"));
        ensure!(no_core, "the proxy may write core files: {core:?}");
        if geteuid().is_root() {
            return Ok(Hardening::SeenByRoot);
        }
        match File::open(process.join("mem")) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(Hardening::Closed),
            Err(error) => Err(error).context("while trying to read the proxy's memory"),
            Ok(_) => bail!("the proxy's memory can be read by this account"),
        }
    }

    /// Stops it the way that scripts do, and sees what is left.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        let status = client::shut_down(self.info.port).await?;
        ensure!(status == 200, "GET /shutdown got {status} instead of 200");
        let exit = self.child.wait().await.context("while waiting for the proxy's end")?;
        let mut said = Vec::new();
        while let Some(line) = self.stderr.next_line().await? {
            said.push(line);
        }
        ensure!(exit.success(), "the proxy ended with {exit}: {}", said.join("; "));
        ensure!(!self.info_file.exists(), "the proxy left its server-info file behind");
        Ok(())
    }
}

/// What could be seen of the proxy's protections from outside.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Hardening {
    /// No core files, and its memory is closed to its own account.
    Closed,
    /// No core files; whether its memory is closed can't be tried by root, to whom all is open.
    SeenByRoot,
    /// There is no /proc to look through.
    Unseen,
}

impl Hardening {
    pub(crate) fn facts(self) -> Value {
        match self {
            Self::Closed => json!({ "core_limit": 0, "memory_readable_by_this_account": false }),
            Self::SeenByRoot => json!({ "core_limit": 0, "memory_readable_by_this_account": null }),
            Self::Unseen => json!({ "core_limit": null, "memory_readable_by_this_account": null }),
        }
    }
}

impl fmt::Display for Hardening {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Closed => "no core files (0/0); its memory is closed even to its own account: tried, refused",
            Self::SeenByRoot => {
                "no core files (0/0); run the demo without root to see its memory closed to its own account"
            }
            Self::Unseen => "not shown: this system has no /proc to look through",
        })
    }
}
