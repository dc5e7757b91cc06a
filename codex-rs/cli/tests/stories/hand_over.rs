//! `codex …` that is not ours: what the public Codex CLI gets, and what its user reads when it can't work.
//!
//! PATH is made of folders of the test's own: `ours` with a link to the program under test, and `theirs` with whatever
//! stands for the public Codex CLI.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use codex_mock_upstream::Scenario;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use socket2::{Domain, Socket, Type};

use crate::support::*;

mod loops;
mod not_installed;
mod pointed;
mod real;
mod terminal;
mod untouched;

/// Far less than Codex's own silence, and more than a busy machine needs.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Writes down all that it got, in its folder, and ends with 7.
const RECORDER: &str = r#"#!/bin/sh
here=${0%/*}
echo $$ >"$here/pid"
printf '%s\0' "$#" "$@" >"$here/arguments"
/bin/cat /proc/$$/environ >"$here/environ"
/bin/cat >"$here/input"
exit 7
"#;

/// Folders for PATH, and a home.
struct Place {
    folder: tempfile::TempDir,
}

/// How a command ended, what it showed and what it said.
type Ended = (Option<i32>, String, String);

impl Place {
    /// Without a public Codex CLI.
    fn empty() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        for name in ["ours", "theirs", "home", "home/.codex"] {
            fs::create_dir(place.at(name)).unwrap();
        }
        symlink(crate::PROXY.0, place.at("ours/codex")).unwrap();
        place
    }

    /// With one that records what it gets.
    fn new() -> Self {
        let place = Self::empty();
        place.script("theirs/codex", RECORDER);
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A program of this text. Another process puts it there: what a test beside this one starts meanwhile would have our
    /// open file, and what is open for writing can't be run (ETXTBSY, execve(2)).
    fn script(&self, name: &str, text: &str) {
        fs::write(self.at("text"), text).unwrap();
        let mut install = Command::new("install");
        install.args(["-m", "755"]).args([self.at("text"), self.at(name)]);
        assert!(install.status().unwrap().success());
    }

    /// Our `codex`, with PATH through these folders and nothing else in its environment but a home.
    fn codex_along(&self, folders: &[&str]) -> Command {
        let folders = folders.iter().map(|name| self.at(name));
        let mut command = Command::new(self.at("ours/codex"));
        command
            .env_clear()
            .env("PATH", std::env::join_paths(folders).unwrap())
            .env("HOME", self.at("home"))
            .stdin(Stdio::null());
        command
    }

    fn codex(&self) -> Command {
        self.codex_along(&["ours", "theirs"])
    }

    /// The user's configuration, pointed at this port.
    fn point(&self, port: u16) {
        let text = format!(
            r#"model_provider = "openai-proxy"

[model_providers.openai-proxy]
name = "Codex key guard"
base_url = "http://127.0.0.1:{port}/v1"
wire_api = "responses"
"#
        );
        fs::write(self.at("home/.codex/config.toml"), text).unwrap();
    }

    /// The arguments that the recorder got.
    fn arguments(&self) -> Vec<Vec<u8>> {
        let written = fs::read(self.at("theirs/arguments")).unwrap();
        let mut words = written.split(|byte| *byte == 0).map(<[u8]>::to_vec);
        let count: usize = text(&words.next().unwrap()).parse().unwrap();
        words.take(count).collect()
    }

    fn argument_texts(&self) -> Vec<String> {
        self.arguments().iter().map(|word| text(word)).collect()
    }

    /// The variables that the recorder got.
    fn variables(&self) -> Vec<String> {
        let written = fs::read(self.at("theirs/environ")).unwrap();
        let mut variables: Vec<String> =
            written.split(|byte| *byte == 0).filter(|it| !it.is_empty()).map(text).collect();
        variables.sort();
        variables
    }

    fn variable(&self, name: &str) -> Option<String> {
        let is_it = |it: &String| it.strip_prefix(name)?.strip_prefix('=').map(str::to_owned);
        self.variables().iter().find_map(is_it)
    }

    fn was_run(&self) -> bool {
        self.at("theirs/arguments").exists()
    }
}

fn ended(command: &mut Command) -> Ended {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code(), text(&stdout), text(&stderr))
}

/// The end of a group's first process, which has to come.
fn end(mut child: Child, input: &[u8]) -> Output {
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(input); // It may not want it.
    }
    let group = Pid::from_raw(child.id().try_into().unwrap());
    let (sender, output) = channel();
    std::thread::spawn(move || sender.send(child.wait_with_output().unwrap()));
    output.recv_timeout(LIMIT).unwrap_or_else(|_| {
        let _ = killpg(group, Signal::SIGKILL);
        panic!("it hangs");
    })
}

/// A port that is kept from others and on which nobody listens.
fn dead_port() -> (Socket, u16) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    (socket, port)
}
