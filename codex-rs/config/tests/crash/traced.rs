//! The child with strace(1) beside it.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, ExitStatus, Stdio};

use crate::scene::{Scene, Story};
use crate::{BEGINNING, DEED, END, FILE};

/// A system call of the child's: which one, and which of those.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) name: String,
    pub(crate) number: usize,
}

/// Whether there is one that may trace.
pub(crate) fn is_possible() -> bool {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=getppid", "true"]);
    strace.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Lets the child do its deed, and lists the calls that it makes for it.
pub(crate) fn calls(scene: &Scene, story: &Story) -> Vec<Call> {
    let status = run(scene, story, &[]);
    assert!(status.success(), "{}: {status}", story.name);
    let trace = fs::read_to_string(scene.trace()).unwrap();
    let (mut made, mut calls, mut is_within) = (BTreeMap::new(), Vec::new(), false);
    for line in trace.lines() {
        let Some(name) = name(line) else { continue };
        let number = made.entry(name).or_insert(0_usize);
        *number += 1;
        if line.contains(END) {
            return calls;
        } else if is_within {
            calls.push(Call { name: name.to_owned(), number: *number });
        }
        is_within |= line.contains(BEGINNING);
    }
    panic!("{}: it never came to its end:\n{trace}", story.name);
}

/// The call of a line, which begins with the process.
fn name(line: &str) -> Option<&str> {
    let call = line.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == ' ');
    let (name, _) = call.split_once('(')?;
    let is_word =
        |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    (!name.is_empty() && is_word(name)).then_some(name)
}

/// The same, while this is done to one call: `signal=…`, or `error=…`. With `on`, to all such calls from that one on.
pub(crate) fn run_with(
    scene: &Scene,
    story: &Story,
    call: &Call,
    harm: &str,
    on: &str,
) -> ExitStatus {
    let Call { name, number } = call;
    let trace = format!("trace={name}");
    let inject = format!("inject={name}:{harm}:when={number}{on}");
    // Without --seccomp-bpf: strace 6.1 then sends no signal.
    run(scene, story, &["-e", &trace, "-e", &inject])
}

fn run(scene: &Scene, story: &Story, flags: &[&str]) -> ExitStatus {
    Command::new("strace")
        .args(["-f", "-qq", "-o"])
        .arg(scene.trace())
        .args(flags)
        .arg(std::env::current_exe().unwrap())
        .env(DEED, story.deed)
        .env(FILE, scene.file())
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap()
}
