//! The doctor on a machine where all is well, on one where little is, and wherever else it may be called.
//!
//! Both machines are mount namespaces with a person of their own, so that what is seen does not depend on who runs the
//! tests: their screens are those of docs/guides/doctor.md.

mod anywhere;
mod bad_host;
mod good_host;
mod guide;
mod machine;
mod terminal;

use std::process::Output;

use serde_json::Value;

use crate::support::*;

/// How it ended, what it showed and what it said.
fn ended(output: Output) -> (Option<i32>, String, String) {
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// What programs get, as `(check, grade, evidence, remedy)`.
fn findings(json: &str) -> Vec<(String, String, String, Option<String>)> {
    let all: Value = serde_json::from_str(json).unwrap();
    let word = |finding: &Value, name: &str| finding[name].as_str().map(str::to_owned);
    let finding = |finding: &Value| {
        let [check, grade, evidence] =
            ["check", "grade", "evidence"].map(|name| word(finding, name).unwrap());
        (check, grade, evidence, word(finding, "remedy"))
    };
    all["findings"].as_array().unwrap().iter().map(finding).collect()
}

/// What two screens must have in common, whatever their width, and however long something took.
fn bare(screen: &str) -> String {
    let is_kept = |letter: &char| !letter.is_whitespace() && !letter.is_ascii_digit();
    screen.chars().filter(is_kept).collect()
}

/// The last line: how many there are of each grade, and what is not well, each once.
fn sum(found: &[(String, String, String, Option<String>)]) -> String {
    let of = |word: &str| {
        let checks = found.iter().filter(|(_, grade, ..)| grade == word);
        let checks: Vec<&str> = checks.map(|(check, ..)| check.as_str()).collect();
        let is_first = |(at, check): &(usize, &&str)| !checks[..*at].contains(*check);
        let named = checks.iter().enumerate().filter(is_first).map(|(_, check)| *check);
        let named = named.collect::<Vec<_>>().join(", ");
        let is_told = word != "pass" && !named.is_empty();
        let named = if is_told { format!(" ({named})") } else { String::new() };
        format!("{} {word}{named}", checks.len())
    };
    format!("{}\n", ["fail", "warn", "pass"].map(of).join(", "))
}

/// What is true of every report, however it was called for.
fn assert_sound(shown: &str, json: &str) {
    let all: Value = serde_json::from_str(json).unwrap();
    let found = findings(json);
    let grade_of = |word: &str| ["pass", "warn", "fail"].iter().position(|grade| *grade == word);
    let worst = found.iter().filter_map(|(_, grade, ..)| grade_of(grade)).max();
    assert_eq!(all["worst"].as_str().and_then(grade_of), worst, "{json}");

    let mut told = String::new();
    for (check, grade, evidence, remedy) in &found {
        assert!(remedy.is_some() == (grade != "pass"), "{check}: {remedy:?}");
        assert!(!evidence.is_empty() && !evidence.ends_with('.'), "{check}: {evidence}");
        told.push_str(&format!("{grade}{check}{evidence}"));
        if let Some(remedy) = remedy {
            told.push_str(&format!("remedy:{remedy}"));
        }
    }
    let sum = sum(&found);
    assert!(shown.ends_with(&format!("\n\n{sum}")), "no {sum:?} in {shown}");
    assert_eq!(bare(shown), bare(&format!("{told}{sum}")), "{shown}");
}
