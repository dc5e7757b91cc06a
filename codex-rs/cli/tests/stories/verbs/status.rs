//! What runs, what it has done, and what is not to be believed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use codex_mock_upstream::Scenario;
use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use serde_json::{Value, json};

use super::{ALL_EVENTS, Watched, ended, run_verb, verb};
use crate::support::*;

/// An account that no machine has.
const STRANGER: u32 = 61_236;

#[tokio::test(flavor = "multi_thread")]
async fn status_tells_what_runs_and_what_it_has_done() {
    let upstream = upstream(Scenario::Turn).await;
    let watched = Watched::start(&upstream);
    watched.turn("gpt-5");
    watched.refusal();
    let all = watched.have_ended(2);
    let found = &all["proxies"][0];
    assert_eq!((&found["state"], &found["because"]), (&json!("running"), &Value::Null));
    assert_eq!(found["file"], watched.info());
    assert_eq!(found["info"]["pid"], watched.proxy.pid());
    let counters = &found["status"]["counters"];
    assert_eq!((&counters["completed"], &counters["refused"]), (&json!(1), &json!(1)));
    assert_eq!(
        (&counters["input_tokens"], &counters["output_tokens"]),
        (&json!(1_200), &json!(42))
    );
    assert_eq!(counters["refusals"], json!({ "route_not_allowed": 1 }));

    let (code, shown, said) = watched.run(&["status"]);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    let (port, pid) = (watched.proxy.port, watched.proxy.pid());
    for part in [
        format!("http://127.0.0.1:{port}/v1 pid {pid} is serving\n"),
        format!("  url               {}\n", upstream.responses_url()),
        "  requests          2: 1 completed, 1 refused, ".to_owned(),
        " 0 cut, 0 in flight\n".to_owned(),
        format!("uid {}", geteuid()),
        "  timeouts          connect 10 s, answer's head 10 min, drain 30 s\n".to_owned(),
        "  tokens            1200 in (of these 1024 cached), 42 out (of these 7 reasoning)\n"
            .to_owned(),
        "  refusals          1 route_not_allowed\n".to_owned(),
        "  core files        none (0/0)\n".to_owned(),
        "\nIn flight: none\n".to_owned(),
    ] {
        assert!(shown.contains(&part), "no {part:?} in {shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn status_shows_what_is_under_way() {
    let upstream = upstream(Scenario::Gated).await;
    let watched = Watched::start(&upstream);
    let mut client = watched.proxy.connect();
    client.post();
    watched.status_when(|status| status["in_flight"].as_array().is_some_and(|all| all.len() == 1));
    let (_, shown, _) = watched.run(&["status"]);
    assert!(shown.contains(" 0 cut, 1 in flight\n"), "{shown}");
    assert!(shown.contains("\nIn flight: 1\n") && shown.contains("/v1/responses\n"), "{shown}");
    upstream.release(ALL_EVENTS);
    assert_eq!(client.answer().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_can_name_the_proxy() {
    let upstream = upstream(Scenario::Turn).await;
    let watched = Watched::start(&upstream);
    let output = verb(&["status"]).env("CODEX_PROXY_SERVER_INFO", watched.info()).output().unwrap();
    let (code, shown, said) = ended(output);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    assert!(shown.contains(&format!(" pid {} is serving\n", watched.proxy.pid())), "{shown}");
}

#[test]
fn where_the_named_file_is_not_every_verb_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("none.json");
    let (code, shown, said) = run_verb(&["status", "--server-info", str(&file)]);
    assert_eq!((code, said.as_str()), (Some(1), ""));
    assert!(shown.starts_with(&format!("there is no file {}\n", str(&file))), "{shown}");

    let (code, shown, _) = run_verb(&["status", "--json", "--server-info", str(&file)]);
    assert_eq!(code, Some(1));
    let all: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(
        (&all["proxies"][0]["state"], &all["proxies"][0]["file"]),
        (&json!("none"), &json!(str(&file)))
    );

    for name in ["log", "stop", "rotate-key"] {
        let (code, shown, said) = run_verb(&[name, "--server-info", str(&file)]);
        assert_eq!((code, shown.as_str()), (Some(1), ""));
        assert!(said.starts_with(&format!("error: there is no file {}\n", str(&file))), "{said}");
        assert!(said.contains("\nhint: with neither --server-info nor "), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_proxy_leaves_is_recognised() {
    let upstream = upstream(Scenario::Turn).await;
    let mut watched = Watched::start(&upstream);
    watched.proxy.signal(Signal::SIGKILL);
    watched.proxy.wait();
    let (code, shown, _) = watched.run(&["status"]);
    assert_eq!(code, Some(1));
    assert!(shown.starts_with(&format!("{} is left over: ", watched.info())), "{shown}");
    assert!(shown.ends_with("; the next start replaces it\n"), "{shown}");
    let (code, shown, _) = watched.run(&["status", "--json"]);
    let all: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((code, &all["proxies"][0]["state"]), (Some(1), &json!("stale")));
    assert_eq!(all["proxies"][0]["info"]["port"], watched.proxy.port);
    let (code, _, said) = watched.run(&["stop"]);
    assert_eq!(code, Some(1));
    assert!(said.contains(" is left over: "), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_lies_or_is_somebody_elses_is_not_believed() {
    let upstream = upstream(Scenario::Turn).await;
    let watched = Watched::start(&upstream);
    let at = |name: &str| watched.folder.path().join(name);
    let state_of = |file: &Path| {
        let (code, shown, _) = run_verb(&["status", "--json", "--server-info", str(file)]);
        assert_eq!(code, Some(1), "{shown}");
        let all: Value = serde_json::from_str(&shown).unwrap();
        all["proxies"][0]["state"].as_str().unwrap().to_owned()
    };

    // It says that this very process is the proxy.
    let mut info: Value =
        serde_json::from_str(&fs::read_to_string(watched.info()).unwrap()).unwrap();
    info["pid"] = json!(std::process::id());
    fs::write(at("forged.json"), format!("{info}\n")).unwrap();
    assert_eq!(state_of(&at("forged.json")), "forged");
    let (_, shown, _) = run_verb(&["status", "--server-info", str(&at("forged.json"))]);
    assert!(shown.contains("do not trust it"), "{shown}");
    let (code, _, said) = run_verb(&["stop", "--server-info", str(&at("forged.json"))]);
    assert_eq!(code, Some(1), "{said}");

    symlink(watched.info(), at("link.json")).unwrap();
    assert_eq!(state_of(&at("link.json")), "unusable");
    if geteuid().is_root() {
        fs::copy(watched.info(), at("foreign.json")).unwrap();
        chown(at("foreign.json"), Some(STRANGER), None).unwrap();
        assert_eq!(state_of(&at("foreign.json")), "unusable");
    }
    watched.status_when(|_| true); // It runs as if nothing had been.
}

#[tokio::test(flavor = "multi_thread")]
async fn another_account_learns_nothing_and_stops_nothing() {
    let missing = "it asks as another account: run the tests as root";
    if !can_run((!geteuid().is_root()).then_some(missing)) {
        return;
    }
    let upstream = upstream(Scenario::Turn).await;
    let watched = Watched::start(&upstream);
    let program = watched.folder.path().join("codex");
    copy_program(&program);
    for path in [watched.folder.path(), &program] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(watched.info(), fs::Permissions::from_mode(0o644)).unwrap();
    let as_stranger = |name: &str| {
        let mut command = clean(Command::new(&program));
        command.args(["proxy", name, "--server-info", &watched.info()]);
        ended(command.uid(STRANGER).gid(STRANGER).current_dir("/").output().unwrap())
    };
    let (code, shown, _) = as_stranger("status");
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("does not answer") && shown.contains("sudo"), "{shown}");
    for name in ["log", "stop", "rotate-key"] {
        let (code, shown, said) = as_stranger(name);
        assert_eq!((code, shown.as_str()), (Some(1), ""), "{said}");
        assert!(said.starts_with("error: no proxy tells this account about itself:\n"), "{said}");
        assert!(said.contains("\nhint: ask as root with sudo, or as "), "{said}");
    }
    watched.status_when(|status| status["state"] == "serving");
}
