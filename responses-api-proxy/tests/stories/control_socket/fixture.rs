//! A proxy whose control socket other accounts can reach.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use codex_mock_upstream::MockUpstream;
use serde_json::Value;

use crate::control_client::{Lines, get, look_for};
use crate::support::*;

/// A proxy whose control socket lies in a folder that every account may look into.
pub(super) struct Controlled {
    pub(super) proxy: Proxy,
    pub(super) socket: PathBuf,
    _folder: tempfile::TempDir,
}

impl Controlled {
    pub(super) fn start(upstream: &MockUpstream, flags: &[&str]) -> Self {
        Self::start_for(&upstream.responses_url(), open_folder(), flags, &[])
    }

    /// With these variables; those that sudo set for whoever runs the tests are taken away.
    pub(super) fn start_for(
        url: &str,
        folder: tempfile::TempDir,
        flags: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let socket = folder.path().join("control.sock");
        let mut command = without_sudo(program());
        command.args(["--upstream-url", url, "--control-socket", str(&socket)]).args(flags);
        let proxy = Proxy::spawn(command.envs(variables.iter().copied()));
        Self { proxy, socket, _folder: folder }
    }

    pub(super) fn status(&self) -> Value {
        let (status, said) = get(&self.socket, "/v1/status");
        assert_eq!(status, 200, "{said}");
        serde_json::from_str(&said).unwrap()
    }

    /// Asks until the status is like this.
    pub(super) fn status_until(&self, reached: impl Fn(&Value) -> bool) -> Value {
        look_for("that status", || {
            let status = self.status();
            if reached(&status) { Ok(status) } else { Err(status) }
        })
    }

    /// What `GET /v1/records` answers, once.
    pub(super) fn records(&self, query: &str) -> Vec<Value> {
        let (status, said) = get(&self.socket, &format!("/v1/records{query}"));
        assert_eq!(status, 200, "{query}: {said}");
        said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// `GET /v1/records?follow=1` with more of a query, as in `&after=7`.
    pub(super) fn follow(&self, more: &str) -> Lines {
        let lines = Lines::get(&self.socket, &format!("/v1/records?follow=1{more}"));
        assert_eq!(lines.status, 200, "{more}");
        lines
    }

    /// Waits until so many exchanges have ended and their records are there.
    pub(super) fn ended(&self, records: usize) -> Vec<Value> {
        let mut lines = self.follow("");
        (0..records).map(|_| lines.next_record()).collect()
    }

    /// An ordinary exchange from its beginning to its end.
    pub(super) fn exchange(&self, model: &str) {
        let body = format!(r#"{{"model":"{model}","stream":true}}"#);
        let answer = self.proxy.ask("POST /v1/responses", &[], body.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.head);
    }
}

/// A folder into which every account may look.
pub(super) fn open_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

pub(super) fn without_sudo(mut command: Command) -> Command {
    for name in ["SUDO_USER", "SUDO_UID", "SUDO_GID"] {
        command.env_remove(name);
    }
    command
}

pub(super) fn id(record: &Value) -> u64 {
    record["id"].as_u64().unwrap_or_else(|| panic!("no record: {record}"))
}

/// The code of an error, which has the API's shape.
pub(super) fn code(body: &str) -> String {
    let document: Value = serde_json::from_str(body).unwrap();
    assert_eq!(document.as_object().unwrap().len(), 1, "{document}");
    let error = document["error"].as_object().unwrap();
    let names: Vec<&str> = error.keys().map(String::as_str).collect();
    assert_eq!(names, ["code", "message", "param", "type"], "{document}");
    error["code"].as_str().unwrap().to_owned()
}
