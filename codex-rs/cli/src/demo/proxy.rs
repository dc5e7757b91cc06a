//! The demo's proxy: this program, started as its user would start it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, bail, ensure};
use codex_proxy_client::ServerInfo;
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
            // A proxy on the way to the network is none on the way to this machine.
            .env("NO_PROXY", "*")
            .args(["responses-api-proxy", "--http-shutdown", "--allow-unlocked-key"]) // It is no real key.
            .args(["--upstream-url", upstream])
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
