//! docs/guides/relinquish-sudo.md shows what the program shows.

use std::fs;
use std::process::Stdio;

use super::machine::{Machine, OTHER, PERSON, SUDO};
use crate::support::*;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guides/relinquish-sudo.md");
const END: &str = "<!-- to here -->\n";

#[test]
fn the_guide_shows_the_plan_and_the_end() {
    let Some(machine) = Machine::here() else { return };
    // What polkit's own rules say differs from system to system.
    machine.lay("for it in /usr/share/polkit-1 /var/lib/polkit-1; do [ ! -d $it ] || mount -t tmpfs -o mode=755 tmpfs $it; done");
    machine.lay("join sudo");
    machine.ask(&["ticket"]);
    let mut tmux = machine.as_person(&[SUDO], "sleep");
    let mut tmux = tmux.arg("600").stdout(Stdio::null()).spawn().unwrap();
    let flags = ["--user", PERSON, "--yes-relinquish", PERSON, "--end-processes"];
    let mut command = machine.as_root("setsid");
    command.args(["--wait", "codex", "proxy", "relinquish-sudo"]).args(flags).env("COLUMNS", "100");
    let output = command.output().unwrap();
    tmux.wait().unwrap();
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{shown}{}", text(&output.stderr));
    let shown = as_the_guide_has_it(&shown, machine.account);
    let (plan, end) = shown.split_once("\nGiving up the sudo of").unwrap();
    let end = format!("Giving up the sudo of{end}");

    let page = fs::read_to_string(PAGE).unwrap();
    let mut made = page.clone();
    for (name, screen) in [("plan", plan), ("end", &end)] {
        let begin = format!("<!-- Made from relinquish/guide.rs, the {name}: from here -->\n");
        let (before, rest) = made.split_once(&begin).unwrap();
        let (_, after) = rest.split_once(END).unwrap();
        made = format!("{before}{begin}```text\n{}\n```\n{END}{after}", screen.trim_end());
    }
    if std::env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1") {
        fs::write(PAGE, made).unwrap();
        return;
    }
    let other = page.lines().zip(made.lines()).find(|(is, should)| is != should);
    assert!(
        page == made,
        "docs/guides/relinquish-sudo.md shows another screen, first in {other:#?}; \
         make it anew: UPDATE_DOCS=1 cargo test --package codex-cli the_guide_shows_the_plan_and_the_end"
    );
}

/// With names that people have (as long as the machine's), and without what differs from run to run and system to system.
fn as_the_guide_has_it(shown: &str, account: u32) -> String {
    assert_eq!((PERSON.len(), OTHER.len()), ("alice".len(), "bob_admin".len()));
    let mut shown = shown.replace(PERSON, "alice").replace(OTHER, "bob_admin");
    shown = shown.replace(&account.to_string(), "10001");
    for (before, after, figure) in [
        ("Looked for ", "s,", "2.0 "),
        ("pid ", "", "4711"),
        ("  - ", " tries to", "64"),
        ("  - ", " tries with", "16"),
        ("proved: ", " tries to", "64"),
        ("all failed; ", " controls", "16"),
        ("can't tell ", ";", "0"),
    ] {
        shown = with_figure(&shown, before, after, figure);
    }
    without_section(&shown, "Can't be told from here")
}

/// Another figure wherever one stands between these two.
fn with_figure(shown: &str, before: &str, after: &str, figure: &str) -> String {
    let mut made = String::new();
    let mut rest = shown;
    while let Some(at) = rest.find(before) {
        let (head, tail) = rest.split_at(at + before.len());
        made.push_str(head);
        let is_figure = |letter: char| {
            letter.is_ascii_digit() || letter == '.' || letter == ' ' || letter == 'm'
        };
        let end = if after.is_empty() {
            tail.find(|letter: char| !letter.is_ascii_digit())
        } else {
            tail.find(after)
        };
        rest = match end {
            Some(end) if end > 0 && tail[..end].chars().all(is_figure) => {
                made.push_str(figure);
                &tail[end..]
            }
            _ => tail,
        };
    }
    made + rest
}

/// A section goes from its heading to the empty line before the next one.
fn without_section(shown: &str, heading: &str) -> String {
    let sections = shown.split("\n\n").filter(|section| !section.starts_with(heading));
    sections.collect::<Vec<_>>().join("\n\n")
}
