//! An operator looks at a running proxy, follows its records and stops it.
//!
//! Each test names its proxy with `--server-info`, because the run folder is every proxy's of this account. Only
//! those about the search have a run folder to themselves, in a mount namespace of their own.

mod log;
mod rotate_key;
mod search;
mod status;
mod stop;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use codex_mock_upstream::MockUpstream;
use codex_proxy_client::RunFolder;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::support::*;

/// More than all events of a turn.
const ALL_EVENTS: usize = 100;

/// `codex proxy` with a verb, and nothing of this machine's that would change what it shows.
fn verb(arguments: &[&str]) -> Command {
    let mut command = clean(Command::new(crate::PROXY.0));
    command.arg("proxy").args(arguments).stdin(Stdio::null());
    for name in ["CODEX_PROXY_SERVER_INFO", "COLUMNS", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
        command.env_remove(name);
    }
    command
}

/// How a verb ended, what it showed and what it said.
fn run_verb(arguments: &[&str]) -> (Option<i32>, String, String) {
    ended(verb(arguments).output().unwrap())
}

fn ended(output: Output) -> (Option<i32>, String, String) {
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn json_lines(shown: &str) -> Vec<Value> {
    shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A proxy whose server-info and control socket lie in a folder of its own.
struct Watched {
    proxy: Proxy,
    folder: tempfile::TempDir,
}

impl Watched {
    fn start(upstream: &MockUpstream) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (info, socket) = (folder.path().join("info.json"), folder.path().join("control.sock"));
        let flags = ["--server-info", str(&info), "--control-socket", str(&socket)];
        Self { proxy: Proxy::start(upstream, &flags), folder }
    }

    fn info(&self) -> String {
        str(&self.folder.path().join("info.json")).to_owned()
    }

    /// A verb about this proxy.
    fn verb(&self, arguments: &[&str]) -> Command {
        let mut command = verb(arguments);
        command.args(["--server-info", &self.info()]);
        command
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        ended(self.verb(arguments).output().unwrap())
    }

    /// What it says of itself once this is so.
    fn status_when(&self, is_so: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let (code, shown, said) = self.run(&["status", "--json"]);
            assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
            let all: Value = serde_json::from_str(&shown).unwrap();
            if is_so(&all["proxies"][0]["status"]) {
                return all;
            }
            assert!(began.elapsed() < LIMIT, "it never came to that: {all:#}");
        }
    }

    /// Waits until so many exchanges have ended.
    fn have_ended(&self, requests: u64) -> Value {
        self.status_when(|status| status["counters"]["requests"] == requests)
    }

    fn turn(&self, model: &str) {
        let body = json!({ "model": model, "stream": true }).to_string();
        let answer = self.proxy.ask("POST /v1/responses", &[], body.as_bytes());
        assert_eq!(answer.status, 200);
    }

    fn refusal(&self) {
        assert_eq!(self.proxy.ask("GET /v1/models", &[], b"").status, 403);
    }
}

/// A proxy that is killed, as this one will be now, leaves its file in the run folder.
impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(folder) = RunFolder::own() {
            let _ = fs::remove_file(RunFolder::server_info(&folder, self.proxy.port));
        }
    }
}

/// A verb at work, whose lines are read as they come. Dropped, it is killed.
struct Working {
    child: Child,
    lines: Receiver<String>,
}

impl Working {
    /// Whose standard output, or else standard error, is read.
    fn start(mut command: Command, reads_output: bool) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let pipe: Box<dyn Read + Send> = if reads_output {
            Box::new(child.stdout.take().unwrap())
        } else {
            Box::new(child.stderr.take().unwrap())
        };
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines }
    }

    /// Waits for a line with this in it.
    fn line(&self, part: &str) -> String {
        let mut others = Vec::new();
        loop {
            match self.lines.recv_timeout(LIMIT) {
                Ok(line) if line.contains(part) => return line,
                Ok(line) => others.push(line),
                Err(_) => panic!("no line with {part:?} came, but {others:#?}"),
            }
        }
    }

    fn interrupt(&self) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    }

    /// Waits for its end; returns how it came, and what else was shown and said.
    fn end(mut self) -> (ExitStatus, String) {
        let mut rest: Vec<String> = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(LIMIT) {
            rest.push(line);
        }
        for pipe in [
            self.child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read>),
            self.child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read>),
        ] {
            let mut more = String::new();
            if let Some(mut pipe) = pipe {
                pipe.read_to_string(&mut more).unwrap();
                rest.push(more);
            }
        }
        (self.child.wait().unwrap(), rest.join("\n"))
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn every_shell_gets_its_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, shown, said) = run_verb(&["completion", shell]);
        assert_eq!((code, said.as_str()), (Some(0), ""), "{shell}");
        assert!(shown.contains("responses-api-proxy") && shown.contains("follow"), "{shell}");
    }
    let (_, script, _) = run_verb(&["completion", "bash"]);
    let mut bash = Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn().unwrap();
    bash.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(bash.wait().unwrap().success());
}

#[test]
fn completions_are_for_the_name_that_the_program_is_called_by() {
    let called = verb(&["completion", "bash"]).arg0("/usr/local/bin/key-guard").output().unwrap();
    let (code, shown, said) = ended(called);
    assert_eq!((code, said.as_str()), (Some(0), ""));
    assert!(shown.contains(" key-guard\n") && !shown.contains(" codex\n"), "{shown}");
    assert!(!shown.contains("daemon-serving"), "{shown}");
}

#[test]
fn help_shows_examples_and_wrong_usage_ends_with_2() {
    for (name, example) in [
        ("status", "codex proxy status --json | jq"),
        ("log", "codex proxy log --since 1h --outcome refused --json | jq"),
        ("rotate-key", "printenv NEW_KEY | codex proxy rotate-key"),
        ("stop", "codex proxy stop --now"),
        ("completion", "codex proxy completion bash"),
    ] {
        let (code, shown, _) = run_verb(&[name, "--help"]);
        assert_eq!(code, Some(0));
        assert!(shown.contains(example), "{shown}");
    }
    for arguments in [
        &["log", "--outcome", "lost"][..],
        &["log", "--since", "soon"],
        &["log", "--since", "-1h"],
        &["log", "--file", "a", "--server-info", "b"],
        &["log", "-n", "-1"],
        &["completion", "tcsh"],
        &["--port", "1", "status"],
    ] {
        assert_eq!(run_verb(arguments).0, Some(2), "{arguments:?}");
    }
}
