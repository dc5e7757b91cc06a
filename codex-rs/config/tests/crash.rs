//! Whatever stops a change of the configuration, and wherever it does: the file is the old one or the new one.
//!
//! strace(1) stands by the real code. It lists each system call that a change makes, and then, in runs of their own, kills
//! the process as it enters one of them, or lets that one call fail.
//!
//! Without the test harness: strace counts calls by thread, so the child makes all of its own on its first one.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[cfg(target_os = "linux")]
#[path = "crash/scene.rs"]
mod scene;
#[cfg(target_os = "linux")]
#[path = "crash/stopped.rs"]
mod stopped;
#[cfg(target_os = "linux")]
#[path = "crash/traced.rs"]
mod traced;

use std::io::{Write, stderr};
use std::path::PathBuf;
use std::process::ExitCode;

use codex_config::{Change, Deed};

/// Set in the child: what it is to do ([`deed`]), and to which file.
const DEED: &str = "CRASH_DEED";
const FILE: &str = "CRASH_FILE";
/// The child asks for these files, which are nowhere, before and after what is examined.
const BEGINNING: &str = "/crash-test-begins";
const END: &str = "/crash-test-ends";

fn main() -> ExitCode {
    match std::env::var(DEED) {
        Ok(words) => child(&words),
        #[cfg(target_os = "linux")]
        Err(_) => stopped::try_all(),
        #[cfg(not(target_os = "linux"))]
        Err(_) => ExitCode::SUCCESS, // There is no strace.
    }
}

/// Does it as `codex proxy` does.
fn child(words: &str) -> ExitCode {
    let file = PathBuf::from(std::env::var_os(FILE).unwrap());
    let deed = deed(words);
    let _ = std::fs::metadata(BEGINNING);
    let done = Change::plan(&file, &deed).and_then(Change::apply);
    let _ = std::fs::metadata(END);
    match done {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(stderr(), "{error}: {error:?}"); // That too may be made to fail.
            ExitCode::FAILURE
        }
    }
}

fn deed(words: &str) -> Deed {
    match words.split_once(' ') {
        Some(("point", port)) => Deed::Point { base_url: format!("http://127.0.0.1:{port}/v1") },
        None if words == "unpoint" => Deed::Unpoint,
        None if words == "purge" => Deed::Purge,
        _ => panic!("no deed: {words}"),
    }
}

#[cfg(target_os = "linux")]
#[expect(clippy::print_stdout, reason = "this program is its own test harness")]
fn say(line: &str) {
    println!("{line}");
    std::io::stdout().flush().unwrap();
}
