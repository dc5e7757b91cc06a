//! What decides otherwise, and what would lead Codex's requests elsewhere, is named.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::process::Command;

use codex_mock_upstream::Scenario;
use nix::unistd::geteuid;
use serde_json::{Value, json};

use super::machine::Machine;
use super::{AZURE, Desk, ended, verb, without_notes};
use crate::support::*;

/// An account that no machine has.
const ORDINARY: u32 = 61_243;

#[tokio::test(flavor = "multi_thread")]
async fn the_layer_that_overrides_is_named_and_the_exit_code_is_1() {
    if !Machine::can_be_made() {
        return;
    }
    let upstream = upstream(Scenario::Turn).await;
    let machine = Machine::make();
    let proxy = machine.proxy(&upstream);
    let home = machine.folder();
    let config = home.join(".codex/config.toml");
    let managed = machine.path("/etc/codex/managed_config.toml");
    fs::create_dir(managed.parent().unwrap()).unwrap();
    fs::write(&managed, "model_provider = \"azure\"\n").unwrap();

    let (code, shown, said) = machine.run(verb(&home, &["point"]));
    assert_eq!((code, said.as_str()), (Some(1), ""), "{shown}");
    let (port, pid) = (proxy.port, proxy.pid());
    let headline =
        format!("written: {} points at http://127.0.0.1:{port}/v1 (pid {pid})", config.display());
    assert_eq!(
        without_notes(&shown),
        [
            headline.as_str(),
            "warning: /etc/codex/managed_config.toml decides otherwise: Codex will use \"azure\"",
            "It has no effect: change that first, or ask whoever decides there.",
        ]
    );
    assert!(fs::read_to_string(&config).unwrap().contains("model_provider = \"openai-proxy\""));
    let (code, shown, _) = machine.run(verb(&home, &["point", "--json"]));
    let seen: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((code, &seen["has_effect"]), (Some(1), &json!(false)));
    assert_eq!(seen["effective"]["decided_by"], "/etc/codex/managed_config.toml");

    // The system's own file is weaker than the user's.
    fs::rename(&managed, managed.with_file_name("config.toml")).unwrap();
    let (code, shown, said) = machine.run(verb(&home, &["point"]));
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    assert!(!shown.contains("warning: "), "{shown}");
    let (code, shown, _) = machine.run(verb(&home, &["unpoint"]));
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("now: Codex uses \"azure\", as /etc/codex/config.toml says"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_proxy_that_would_get_the_requests_is_named_with_its_remedy() {
    let upstream = upstream(Scenario::Turn).await;
    let desk = Desk::with(&upstream, AZURE);
    let elsewhere = "http://127.0.0.1:9";
    let output = desk.point(&[]).env("HTTP_PROXY", elsewhere).output().unwrap();
    let (code, shown, said) = ended(output);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    let warning =
        "warning: HTTP_PROXY sends what is meant for 127.0.0.1 elsewhere: export NO_PROXY=";
    assert!(shown.lines().any(|line| line.starts_with(warning)), "{shown}");
    let mut exempted = desk.point(&[]);
    exempted.env("HTTP_PROXY", elsewhere).env("NO_PROXY", "localhost,127.0.0.1");
    let (_, shown, _) = ended(exempted.output().unwrap());
    assert!(!shown.contains("warning: "), "{shown}");

    let env_file = desk.codex_home().join(".env");
    fs::write(&env_file, format!("HTTP_PROXY={elsewhere}\n")).unwrap();
    let (code, shown, said) = desk.pointed(&[]);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    let warning = format!(
        "warning: HTTP_PROXY in {} sends what is meant for 127.0.0.1 elsewhere: export NO_PROXY={} (`codex` does so by itself)",
        env_file.display(),
        codex_config::exempting_loopback(None)
    );
    assert!(shown.lines().any(|line| line == warning), "{shown}");

    // What it says of NO_PROXY takes the place of what the environment says.
    fs::write(&env_file, format!("HTTP_PROXY={elsewhere}\nNO_PROXY=.corp\n")).unwrap();
    let (_, shown, _) = desk.pointed(&[]);
    let remedy = format!(": put NO_PROXY=.corp,127.0.0.1 into {}", env_file.display());
    assert!(shown.lines().any(|line| line.ends_with(&remedy)), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_layer_that_codex_does_not_take_it_has_no_effect() {
    let upstream = upstream(Scenario::Turn).await;
    let desk = Desk::with(&upstream, "profile = \"mine\"\n");
    let (code, shown, said) = desk.pointed(&[]);
    assert_eq!((code, said.as_str()), (Some(1), ""), "{shown}");
    assert!(shown.starts_with("written: ") && shown.contains("\nwarning: "), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_the_proxy_does_not_serve_is_told_so() {
    let upstream = upstream(Scenario::Turn).await;
    let folder = tempfile::tempdir().unwrap();
    let (info, socket) = (folder.path().join("info.json"), folder.path().join("control.sock"));
    let flags = ["--server-info", str(&info), "--control-socket", str(&socket)];
    let proxy = Proxy::start(&upstream, &[&flags[..], &["--allow-user", "61240"]].concat());
    let arguments = ["point", "--server-info", str(&info)];
    let (code, shown, said) = ended(verb(folder.path(), &arguments).output().unwrap());
    assert_eq!((code, said.as_str()), (Some(1), ""), "{shown}");
    assert!(shown.starts_with("written: "), "{shown}");
    assert!(shown.contains("\nwarning: this proxy does not serve "), "{shown}");
    proxy.stop();
}

/// Root's proxy tells other accounts nothing about itself, but refuses this one as it would refuse its Codex.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_a_silent_proxy_refuses_is_told_so_too() {
    let missing = "it needs a proxy of another account: run the tests as root";
    if !can_run((!geteuid().is_root()).then_some(missing)) {
        return;
    }
    let upstream = upstream(Scenario::Turn).await;
    let folder = tempfile::tempdir().unwrap();
    let program = program_for_all(folder.path());
    let home = folder.path().join("home");
    fs::create_dir(&home).unwrap();
    chown(&home, Some(ORDINARY), Some(ORDINARY)).unwrap();
    for allowed in [ORDINARY, ORDINARY + 1] {
        let info = folder.path().join(format!("{allowed}.json"));
        let flags = ["--server-info", str(&info), "--allow-user", &allowed.to_string()];
        let proxy = Proxy::start(&upstream, &flags);
        let mut command = Command::new(&program);
        command.args(["proxy", "point", "--server-info", str(&info)]).env_clear();
        command.env("HOME", &home).current_dir("/").uid(ORDINARY).gid(ORDINARY);
        let (code, shown, said) = ended(command.output().unwrap());
        let config = home.join(".codex/config.toml");
        let (config, port, pid) = (config.display(), proxy.port, proxy.pid());
        let url = format!("http://127.0.0.1:{port}/v1 (pid {pid})");
        let (expected, lines) = if allowed == ORDINARY {
            let pointed = format!("pointed: {config} now makes Codex use {url}");
            (Some(0), vec![pointed, "next: codex".to_owned()])
        } else {
            let warning = format!(
                "warning: this proxy does not serve uid {ORDINARY}: have it started with --allow-user {ORDINARY} as well"
            );
            let end = "It has no effect: change that first, or ask whoever decides there.";
            let written = format!("written: {config} points at {url}");
            (Some(1), vec![written, warning, end.to_owned()])
        };
        assert_eq!((code, said.as_str()), (expected, ""), "{shown}");
        assert_eq!(without_notes(&shown), lines);
        proxy.stop();
    }
    assert_eq!(upstream.counts().requests, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_with_blanks_is_one_word_for_a_shell() {
    let upstream = upstream(Scenario::Turn).await;
    let desk = Desk::with(&upstream, AZURE);
    let mut command = desk.point(&[]);
    command.env("HTTP_PROXY", "http://127.0.0.1:9").env("NO_PROXY", "localhost, .corp");
    let (_, shown, _) = ended(command.output().unwrap());
    assert!(shown.contains(": export NO_PROXY='localhost, .corp,127.0.0.1' ("), "{shown}");
}
