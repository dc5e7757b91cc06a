//! docs/guides/doctor.md shows what the doctor shows, and has a row for each check.

use std::collections::BTreeSet;
use std::fs;

use super::{bad_host, good_host};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guides/doctor.md");
const END: &str = "<!-- to here -->\n";
/// The width of the guide's screens.
const WIDTH: usize = 100;

/// A screen as the guide shows it.
pub(super) struct Screen(String);

impl Screen {
    /// From one with lines as long as they are: numbers of the guide's own are of another length, so it is wrapped here.
    pub(super) fn wrapped(screen: &str) -> Self {
        let name = |line: &str| line.split_whitespace().nth(1).map_or(0, str::len);
        let heads = screen.lines().take_while(|line| !line.is_empty());
        let names = heads.filter(|line| !line.starts_with(' ')).map(name);
        let indent = "pass  ".len() + names.max().unwrap_or(0) + "  ".len();
        let is_sum = |line: &str| line.starts_with(|letter: char| letter.is_ascii_digit());
        let wrapped = screen.lines().flat_map(|line| match is_sum(line) {
            true => wrapped_sum(line),
            false => wrapped(line, indent),
        });
        Self(wrapped.map(|line| format!("{line}\n")).collect())
    }
}

/// A number is not parted from its grade.
fn wrapped_sum(line: &str) -> Vec<String> {
    let grades =
        ["fail", "warn", "pass"].map(|grade| (format!(" {grade}"), format!("\u{a0}{grade}")));
    let whole = grades.iter().fold(line.to_owned(), |line, (from, to)| line.replace(from, to));
    wrapped(&whole, 0).into_iter().map(|line| line.replace('\u{a0}', " ")).collect()
}

fn wrapped(line: &str, indent: usize) -> Vec<String> {
    let Some((head, words)) = line.split_at_checked(indent) else { return vec![line.to_owned()] };
    let (mut lines, mut current) = (Vec::new(), head.to_owned());
    let mut is_empty = true;
    for word in words.split(' ') {
        let gap = if is_empty { "" } else { " " };
        if !is_empty && (current.chars().count() + 1 + word.chars().count()) > WIDTH {
            lines.push(std::mem::replace(&mut current, format!("{:indent$}{word}", "")));
        } else {
            current.push_str(gap);
            current.push_str(word);
        }
        is_empty = false;
    }
    lines.push(current);
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guide_shows_both_machines() {
    let (Some(good), Some(bad)) = (good_host::screen().await, bad_host::screen().await) else {
        return;
    };
    let page = fs::read_to_string(PAGE).unwrap();
    let mut made = page.clone();
    for (name, screen) in [("good", good), ("bad", bad)] {
        let begin = format!("<!-- Made from doctor/{name}_host.rs: from here -->\n");
        let (before, rest) = made.split_once(&begin).unwrap();
        let (_, after) = rest.split_once(END).unwrap();
        let block = format!("```text\n$ codex proxy doctor\n{}```\n", screen.0);
        made = format!("{before}{begin}{block}{END}{after}");
    }
    if std::env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1") {
        fs::write(PAGE, made).unwrap();
        return;
    }
    let other = page.lines().zip(made.lines()).find(|(is, should)| is != should);
    assert!(
        page == made,
        "docs/guides/doctor.md shows another screen, first in {other:#?}; \
         make it anew: UPDATE_DOCS=1 cargo test --package codex-cli the_guide_shows_both_machines"
    );
}

#[test]
fn the_guide_has_a_row_for_each_check_and_for_no_other() {
    let page = fs::read_to_string(PAGE).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let rows: Vec<&str> = rows.collect();
    let unique: BTreeSet<&str> = rows.iter().copied().collect();
    assert_eq!(unique.len(), rows.len(), "twice in the guide: {rows:?}");
    let checks = codex_doctor::checks();
    // The same files tell both the provider and the layers.
    let checks: BTreeSet<&str> = checks.iter().map(|check| check.id).chain(["layers"]).collect();
    assert_eq!(unique, checks);
}

#[test]
fn a_long_line_goes_on_below_its_words() {
    let long = format!("{:17}{} end", "pass  port", "word ".repeat(20).trim_end());
    let screen = Screen::wrapped(&format!("{long}\nwarn  sudo_file  x\n\n1 warn, 1 pass\n")).0;
    let lines: Vec<&str> = screen.lines().collect();
    assert_eq!(lines.len(), 5, "{screen}");
    assert!(lines[0].len() <= WIDTH && lines[1].starts_with(&format!("{:17}word", "")), "{screen}");
    assert_eq!(lines[2..], ["warn  sudo_file  x", "", "1 warn, 1 pass"]);
    let names = "a_long_name, ".repeat(7);
    let sum = format!("12 fail ({names}files), 13 pass");
    assert!(sum.len() > WIDTH);
    let screen = Screen::wrapped(&format!("pass  port  x\n\n{sum}\n")).0;
    let lines: Vec<&str> = screen.lines().skip(2).collect();
    assert_eq!(lines.join(" "), sum);
    assert!(lines.iter().all(|line| line.len() <= WIDTH && !line.starts_with(' ')), "{screen}");
}
