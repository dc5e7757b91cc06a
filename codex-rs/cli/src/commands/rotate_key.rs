//! `codex proxy rotate-key`: gives the running proxy a new key, which it reads itself from what standard input leads to.
//!
//! At a terminal somebody has to ask, and a proxy must not: so this does, and hands the key on through a pipe. It never
//! holds a byte of it but in a [`codex_key_custody`] page.

use std::io::{self, IsTerminal, pipe};
use std::os::fd::{AsFd, OwnedFd};

use codex_key_custody::{ApiKey, CustodyError, KeyInput};
use codex_proxy_client::{Rotated, RunningProxy};
use codex_responses_api_proxy::plain::{plain, plain_json};
use serde_json::json;

use super::error::CommandError;
use super::screen::{Screen, say};
use super::{End, found, until_interrupted};
use crate::args::RotateKeyArgs;

/// What a person at a terminal is asked.
const PROMPT: &str = "New API key (it will not be shown): ";

pub(crate) async fn rotate_key(
    args: RotateKeyArgs,
    screen: &mut Screen,
) -> Result<End, CommandError> {
    let proxy = found::the_one(args.which.server_info).await?;
    let key = match new_key() {
        Err(CommandError::TypedKey { error: CustodyError::Interrupted }) => {
            say("interrupted: the old key stays in use");
            return Ok(End::Interrupted);
        }
        key => key?,
    };
    let Some(rotated) = until_interrupted(proxy.control().rotate_key(key)).await else {
        // It may have had the key already.
        say(
            "interrupted before the proxy had answered: `codex proxy status` tells which key it uses",
        );
        return Ok(End::Interrupted);
    };
    let rotated = rotated?;
    let told = if args.json {
        plain_json(&as_json(&rotated, &proxy)).into_owned()
    } else {
        plain(&sentence(&rotated, proxy.info.pid, &proxy.info.base_url)).into_owned()
    };
    match screen.line(&told).and_then(|()| screen.flush()) {
        Err(CommandError::Output(error)) => Err(CommandError::ReplacedUntold(error)),
        told => told.map(|()| End::Done),
    }
}

/// What the proxy is to read the key from.
fn new_key() -> Result<OwnedFd, CommandError> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return stdin.as_fd().try_clone_to_owned().map_err(CommandError::Handing);
    }
    // It blocks, and nothing else waits meanwhile. Nor is there another thread that a signal could end the process
    // through while the terminal is hidden.
    let key = ApiKey::read(KeyInput { prompt: PROMPT, ..KeyInput::of(stdin.as_fd()) })
        .map_err(|error| CommandError::TypedKey { error })?;
    let (reader, writer) = pipe().map_err(CommandError::Handing)?;
    // A pipe holds what can be typed (pipe(7), "Pipe capacity"), so nobody has to read yet.
    key.hand_over(writer.as_fd()).map_err(|errno| CommandError::Handing(errno.into()))?;
    Ok(reader.into())
}

fn as_json(rotated: &Rotated, proxy: &RunningProxy) -> String {
    json!({
        "state": "replaced",
        "pid": proxy.info.pid,
        "port": proxy.info.port,
        "file": proxy.file.to_string_lossy(),
        "key": rotated.key,
        "running": rotated.running,
    })
    .to_string()
}

fn sentence(rotated: &Rotated, pid: u32, base_url: &str) -> String {
    let running = match rotated.running {
        0 => String::new(),
        1 => "; 1 running exchange ends with the old one".to_owned(),
        count => format!("; {count} running exchanges end with the old one"),
    };
    format!("the key was replaced: {}, pid {pid}, {base_url}{running}", rotated.key.page)
}

#[cfg(test)]
mod tests {
    use codex_proxy_client::status::Key;

    use super::*;

    #[test]
    fn what_was_done_is_one_sentence() {
        let base_url = "http://127.0.0.1:4321/v1";
        let replaced = "the key was replaced: memfd_secret, pid 17, http://127.0.0.1:4321/v1";
        for (running, expected) in [
            (0, ""),
            (1, "; 1 running exchange ends with the old one"),
            (2, "; 2 running exchanges end with the old one"),
        ] {
            let key = Key { page: "memfd_secret".to_owned(), ..Key::default() };
            let rotated = Rotated { key, running };
            assert_eq!(sentence(&rotated, 17, base_url), format!("{replaced}{expected}"));
        }
    }
}
