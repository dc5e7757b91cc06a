//! Records, as a table and as JSON, of a proxy and of a file, and those that come.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use codex_mock_upstream::Scenario;
use nix::pty::{Winsize, openpty};
use nix::sys::signal::Signal;
use nix::unistd::geteuid;

use super::{Watched, Working, ended, json_lines, run_verb, verb};
use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn log_shows_who_for_which_model_how_much_and_how_it_ended() {
    let upstream = upstream(Scenario::Turn).await;
    let watched = Watched::start(&upstream);
    assert_eq!(watched.run(&["log"]), (Some(0), String::new(), "no record yet\n".to_owned()));
    watched.turn("gpt-5");
    watched.turn("gpt-5-mini");
    watched.refusal();
    watched.have_ended(3);

    let (code, shown, said) = watched.run(&["log"]);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[0].starts_with("TIME UTC  #ID  WHO"), "{shown}");
    let rows: Vec<&&str> = lines[1..].iter().filter(|line| line.contains("  ")).collect();
    for (row, parts) in rows.iter().zip([
        ["completed 200", "gpt-5 ", "1.2k"],
        ["completed 200", "gpt-5-mini", "42"],
        ["refused 403", "route_not_allowed", "ms"],
    ]) {
        assert!(parts.iter().all(|part| row.contains(part)), "{parts:?}: {shown}");
    }
    assert_eq!(rows.len(), 3, "{shown}");

    let none = watched.run(&["log", "--user", "61236"]);
    assert_eq!(none, (Some(0), String::new(), "no record fits\n".to_owned()));
    let uid = geteuid().to_string();
    for (flags, expected) in [
        (&[][..], &["completed", "completed", "refused"][..]),
        (&["-n", "1"][..], &["refused"][..]),
        (&["--outcome", "refused"][..], &["refused"][..]),
        (&["--model", "gpt-5-mini"][..], &["completed"][..]),
        (&["--user", uid.as_str()][..], &["completed", "completed", "refused"][..]),
        (&["--user", "61236"][..], &[][..]),
        (&["--since", "1h"][..], &["completed", "completed", "refused"][..]),
        (&["--since", "2100-01-01T00:00:00Z"][..], &[][..]),
        (&["--since", "2100-01-01"][..], &[][..]),
        (&["--since", "1h", "--outcome", "completed", "-n", "1"][..], &["completed"][..]),
    ] {
        let (code, shown, _) = watched.run(&[&["log", "--json"][..], flags].concat());
        assert_eq!(code, Some(0));
        let records = json_lines(&shown);
        let outcomes: Vec<&str> =
            records.iter().map(|record| record["outcome"].as_str().unwrap()).collect();
        assert_eq!(outcomes, expected, "{flags:?}: {shown}");
    }
    let (_, shown, _) = watched.run(&["log", "--json", "--model", "gpt-5"]);
    let record = &json_lines(&shown)[0];
    assert_eq!(record["usage"]["cached_tokens"], 1_024);
    assert_eq!(record["peer"]["uid"], geteuid().as_raw());

    let (code, _, said) = watched.run(&["log", "--user", "no-such-account"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("there is no such account") && said.contains("hint: "), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_followed_shows_what_comes_until_the_proxy_ends() {
    let upstream = upstream(Scenario::Turn).await;
    let mut watched = Watched::start(&upstream);
    let follow = Working::start(watched.verb(&["log", "-f"]), true);
    follow.line("TIME UTC");
    watched.refusal();
    let row = follow.line("refused 403");
    assert!(row.contains("route_not_allowed"), "{row}");
    watched.proxy.signal(Signal::SIGTERM);
    assert!(watched.proxy.wait().success());
    let (ended, rest) = follow.end();
    assert_eq!(ended.code(), Some(0), "{rest}");
    assert!(rest.contains("the proxy has ended: pid "), "{rest}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_leaves_quietly_with_an_interrupt() {
    let upstream = upstream(Scenario::Turn).await;
    let watched = Watched::start(&upstream);
    let follow = Working::start(watched.verb(&["log", "-f"]), true);
    follow.line("TIME UTC");
    follow.interrupt();
    let (ended, rest) = follow.end();
    assert_eq!((ended.code(), rest.as_str()), (Some(130), ""));
    watched.status_when(|status| status["state"] == "serving");
}

/// Whoever pipes the log into `head` gets what they asked for, no complaint, and their prompt back.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_leaves_early_is_no_failure() {
    let upstream = upstream(Scenario::Turn).await;
    let watched = Watched::start(&upstream);
    watched.refusal();
    watched.have_ended(1);
    for flags in ["", "--json", "-f", "-f --json"] {
        let script = format!(
            "set -o pipefail; '{}' proxy log {flags} --server-info '{}' | head -n 1",
            crate::PROXY.0,
            watched.info()
        );
        let mut command = clean(Command::new("bash"));
        let (code, shown, said) =
            ended(command.args(["-c", &script]).stdin(Stdio::null()).output().unwrap());
        assert_eq!((code, said.as_str()), (Some(0), ""), "{flags}: {shown}");
        assert_eq!(shown.lines().count(), 1, "{flags}: {shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_fits_the_width() {
    let upstream = upstream(Scenario::Turn).await;
    let watched = Watched::start(&upstream);
    watched.turn("a-model-with-a-name-that-is-much-too-long-for-any-narrow-terminal");
    watched.refusal();
    watched.have_ended(2);
    for width in [40, 80] {
        for name in ["log", "status"] {
            let output = watched.verb(&[name]).env("COLUMNS", width.to_string()).output().unwrap();
            let shown = text(&output.stdout);
            assert!(shown.lines().count() > 2, "{shown}");
            let longest = shown.lines().map(|line| line.chars().count()).max();
            assert!(longest <= Some(width), "{name} in {width}: {shown}");
            let has_model = shown.contains("  MODEL  ") && shown.contains("  a-model-with");
            assert!(name == "status" || width < 80 || has_model, "{shown}");
        }
    }
}

/// What a verb shows at a terminal of 100 columns.
fn at_a_terminal(mut command: Command, variables: &[(&str, &str)]) -> String {
    let size = Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = openpty(Some(&size), None).unwrap();
    command.env("TERM", "xterm").env_remove("CI").envs(variables.iter().copied());
    let mut child = command.stdout(Stdio::from(pty.slave)).spawn().unwrap();
    drop(command); // And with it our end of the terminal.
    let mut shown = Vec::new();
    let _ = File::from(pty.master).read_to_end(&mut shown); // Ends with EIO.
    assert!(child.wait().unwrap().success());
    text(&shown)
}

#[tokio::test(flavor = "multi_thread")]
async fn colour_is_for_terminals_and_only_where_it_is_welcome() {
    let upstream = upstream(Scenario::Turn).await;
    let watched = Watched::start(&upstream);
    watched.refusal();
    watched.have_ended(1);
    let log = || watched.verb(&["log"]);
    let shown = at_a_terminal(log(), &[]);
    assert!(shown.contains("\u{1b}[33mrefused 403\u{1b}[0m"), "{shown:?}");
    for variables in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let shown = at_a_terminal(log(), &[variables]);
        assert!(shown.contains("refused 403") && !shown.contains('\u{1b}'), "{shown:?}");
    }
    assert!(!watched.run(&["log"]).1.contains('\u{1b}'));
}

/// A model's name is the client's to choose.
#[tokio::test(flavor = "multi_thread")]
async fn no_client_writes_to_the_operators_terminal() {
    let upstream = upstream(Scenario::Turn).await;
    let watched = Watched::start(&upstream);
    watched.turn("evil\u{1b}[2J\u{9b}31m\r\nmodel");
    watched.have_ended(1);
    for arguments in [&["log"][..], &["log", "--json"], &["status"], &["status", "--json"]] {
        let (_, shown, _) = watched.run(arguments);
        let line_ends = |letter: char| letter.is_control() && letter != '\n';
        assert!(!shown.contains(line_ends), "{arguments:?}: {shown:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_records_is_shown_and_followed() {
    let upstream = upstream(Scenario::Turn).await;
    let watched = Watched::start(&upstream);
    watched.turn("gpt-5");
    watched.refusal();
    watched.have_ended(2);
    let records = watched.run(&["log", "--json"]).1;
    let file = watched.folder.path().join("log.jsonl");
    let gap = r#"{"gap":{"records":3,"because":"the disk was full"}}"#;
    fs::write(&file, format!("{records}{gap}\n{}", &records[..40])).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();

    let (code, shown, said) = run_verb(&["log", "--file", str(&file)]);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    assert!(shown.contains("completed 200") && shown.contains("refused 403"), "{shown}");
    assert!(shown.ends_with("-- 3 records are missing: the disk was full\n"), "{shown}");
    let flags = ["log", "--json", "--outcome", "refused", "--file", str(&file)];
    let (_, shown, _) = run_verb(&flags);
    let refused = json_lines(&shown).iter().filter(|line| line["outcome"] == "refused").count();
    assert_eq!(refused, 1, "{shown}");
    assert!(!shown.contains("completed"), "{shown}");

    let follow = Working::start(verb(&["log", "-f", "--json", "--file", str(&file)]), true);
    follow.line("route_not_allowed");
    let mut more = fs::OpenOptions::new().append(true).open(&file).unwrap();
    let late = records.lines().last().unwrap().replace("route_not_allowed", "foreign_host");
    writeln!(more, "\n{late}").unwrap(); // After the torn line's end, as a proxy does it.
    follow.line("foreign_host");
    follow.interrupt();
    assert_eq!(follow.end().0.code(), Some(130));

    let missing = watched.folder.path().join("none.jsonl");
    let (code, _, said) = run_verb(&["log", "--file", str(&missing)]);
    assert_eq!(code, Some(1));
    assert!(said.starts_with("error: ") && said.contains("this account may read"), "{said}");
}
