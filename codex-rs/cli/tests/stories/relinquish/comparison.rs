//! What people do today, through the same shapes beside ours: docs/reference/giving-up-sudo-compared.md has the table.

use std::fs;

use super::machine::*;
use super::shapes::{self, Outcome, SHAPES, Shape, Then};

const PAGE: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/giving-up-sudo-compared.md");
const BEGIN: &str = "<!-- Made from relinquish/comparison.rs: from here -->\n";
const END: &str = "<!-- to here -->\n";

/// The functions of the machine's script that do what people do.
const TODAY: [&str; 2] = ["classic", "line_stripping"];

/// What the judge finds after each of [`TODAY`].
type Row = [String; TODAY.len()];

fn row(machine: &Machine, shape: &'static Shape) -> Row {
    let groups = machine.ask(&["held"]);
    let held: Vec<u32> = groups.split_whitespace().map(|gid| gid.parse().unwrap()).collect();
    let mut is_laid = true;
    TODAY.map(|approach| {
        if !is_laid {
            machine.reset();
            machine.lay(shape.lay);
        }
        is_laid = false;
        machine.ask(&[approach]);
        cell(machine, &held)
    })
}

/// What is left, in words. What the account held before, its running processes hold still.
fn cell(machine: &Machine, held: &[u32]) -> String {
    let left = match machine.judge_first(held) {
        None => "closed",
        Some(way) if way.starts_with("open fresh ") => "**open**",
        Some(_) => "**open** to what runs already",
    };
    let is_valid = machine.as_root("visudo").arg("-c").output().unwrap().status.success();
    let broken = if is_valid { "" } else { ", **sudoers broken**" };
    format!("{left}{broken}")
}

fn ours(outcome: &Outcome) -> &'static str {
    match (outcome.shape.then, outcome.ended.code, outcome.open_after.is_empty()) {
        (Then::Gone | Then::GoneByRule, Some(0), true) => "closed",
        (Then::Refused, Some(1), false) => "refused, all as before",
        _ => "**wrong**",
    }
}

fn table(today: &[Row], outcomes: &[Outcome]) -> String {
    let mut lines = vec![
        "| The rule | Leaving the group | Stripping lines | `relinquish-sudo` |".to_owned(),
        "|---|---|---|---|".to_owned(),
    ];
    let mut closed = [0; TODAY.len() + 1];
    for (row, outcome) in today.iter().zip(outcomes) {
        let name = outcome.shape.name;
        let cells = [row[0].as_str(), row[1].as_str(), ours(outcome)];
        for (count, cell) in closed.iter_mut().zip(cells) {
            *count += usize::from(cell == "closed");
        }
        lines.push(format!("| {name} | {} |", cells.join(" | ")));
    }
    let closed = closed.map(|count| format!("{count} of {}", SHAPES.len()));
    lines.push(format!("| **closed, and nothing broken** | {} |", closed.join(" | ")));
    lines.join("\n") + "\n"
}

#[test]
fn the_page_shows_what_is_left_by_what_people_do_today() {
    // One after the other: no more machines at a time than two.
    let Some(outcomes) = shapes::outcomes() else { return };
    let Some(today) = shapes::on_machines(row) else { return };
    let page = fs::read_to_string(PAGE).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let made = format!("{before}{BEGIN}{}{END}{after}", table(&today, outcomes));
    assert!(!made.contains("**wrong**"), "ours does not do what it should: {made}");
    if std::env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1") {
        fs::write(PAGE, made).unwrap();
        return;
    }
    let other = page.lines().zip(made.lines()).find(|(is, should)| is != should);
    assert!(
        page == made,
        "docs/reference/giving-up-sudo-compared.md shows another table, first in {other:#?}; \
         make it anew: UPDATE_DOCS=1 cargo test --package codex-cli the_page_shows_what_is_left"
    );
}
