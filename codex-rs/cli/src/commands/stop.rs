//! `codex proxy stop`: tells the proxy to end, shows how far it is, and waits until its process is gone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use codex_config::shell_word;
use codex_proxy_client::{ControlError, Draining, RunFolder, RunningProxy};
use codex_responses_api_proxy::plain::plain;
use serde_json::json;

use super::error::CommandError;
use super::progress::Progress;
use super::screen::{Screen, say};
use super::{End, found, process, until_interrupted};
use crate::args::StopArgs;

/// How long a process may take to end once it has nothing more to say.
const ENDING: Duration = Duration::from_secs(10);

/// How long a proxy may take to end that did not hear us out.
const STOPPED_ALREADY: Duration = Duration::from_secs(2);

pub(crate) async fn stop(args: StopArgs, screen: &mut Screen) -> Result<End, CommandError> {
    let is_named = args.which.server_info.is_some();
    let proxy = found::the_one(args.which.server_info).await?;
    let (pid, port) = (proxy.info.pid, proxy.info.port);
    // From here on it stops, whatever becomes of us.
    match until_interrupted(stop_and_wait(&proxy, args.now)).await {
        Some(ended) => ended?,
        None => {
            let named = is_named.then_some(&*proxy.file);
            let cut =
                what_cuts(pid, named, &proxy.status.files.server_info, &RunFolder::searched());
            say(&format!("the draining goes on: pid {pid}, port {port}; `{cut}` cuts it"));
            return Ok(End::Interrupted);
        }
    }
    let line = if args.json {
        let file = proxy.file.to_string_lossy();
        json!({ "state": "stopped", "pid": pid, "port": port, "file": file }).to_string()
    } else {
        format!("stopped: pid {pid}, port {port}")
    };
    screen.line(&line)?;
    screen.flush()?;
    Ok(End::Done)
}

async fn stop_and_wait(proxy: &RunningProxy, now: bool) -> Result<(), CommandError> {
    match proxy.control().shutdown(now).await {
        Ok(draining) => end_of(proxy, draining).await,
        // Somebody else has stopped it meanwhile.
        Err(ControlError::Broken { .. } | ControlError::NotThere { .. })
            if process::ends_within(proxy.info.pid, STOPPED_ALREADY).await =>
        {
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

async fn end_of(proxy: &RunningProxy, mut draining: Draining) -> Result<(), CommandError> {
    let pid = proxy.info.pid;
    let mut progress = Progress::start();
    while let Some(state) = draining.next().await? {
        progress.tell(&state);
    }
    if process::ends_within(pid, ENDING).await {
        Ok(())
    } else {
        Err(CommandError::StillRuns { pid, seconds: ENDING.as_secs() })
    }
}

/// What to type. A server-info in a run folder stays until the process is gone, so the proxy is still found, also by
/// the name of one that has gone; without it, a second signal it is.
fn what_cuts(pid: u32, named: Option<&Path>, files: &[PathBuf], run_folders: &[PathBuf]) -> String {
    let stays = files.iter().any(|file| run_folders.iter().any(|folder| file.starts_with(folder)));
    match named {
        _ if !stays => format!("kill {pid}"),
        Some(file) => {
            let file = shell_word(&file.to_string_lossy());
            format!("codex proxy stop --now --server-info {}", plain(&file))
        }
        None => "codex proxy stop --now".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_leaves_a_draining_proxy_reads_how_to_cut_it() {
        let folders = ["/run/user/1000/it", "/run/it"].map(PathBuf::from);
        let (named, standing) = ("/tmp/info.json", "/run/it/4321.json");
        for (typed, files, expected) in [
            (None, vec![standing], "codex proxy stop --now"),
            (None, vec![named, standing], "codex proxy stop --now"), // A variable names it.
            (
                Some(named),
                vec![named, standing],
                "codex proxy stop --now --server-info /tmp/info.json",
            ),
            (Some(named), vec![named], "kill 17"),
            (None, vec![named], "kill 17"),
        ] {
            let files: Vec<_> = files.into_iter().map(PathBuf::from).collect();
            assert_eq!(what_cuts(17, typed.map(Path::new), &files, &folders), expected);
        }
    }
}
