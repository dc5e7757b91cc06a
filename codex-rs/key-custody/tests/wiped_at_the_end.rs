//! However a process ends that has a key in custody, the key is wiped first: dropped, by a return from `main`, by a panic.
//!
//! Without the test harness: children of this program end in these ways, and the harness would end with them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[cfg(target_os = "linux")]
#[path = "wiped_at_the_end/watched.rs"]
mod watched;

use std::io::{Write, stdin, stdout};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use codex_key_custody::{ApiKey, KeyInput};
use nix::sys::signal::{Signal, raise};

/// Set in the child: how it is to end.
const ROLE: &str = "WIPED_AT_THE_END_ROLE";

/// The ways to end.
const DROPPED: &str = "dropped";
const MAIN_RETURNS: &str = "main returns";
const MAIN_PANICS: &str = "main panics";
const THREAD_PANICS: &str = "the thread that has it panics";
const REFUSED: &str = "no key";

fn main() -> ExitCode {
    match std::env::var(ROLE) {
        Ok(role) => child(&role),
        #[cfg(target_os = "linux")]
        Err(_) => watched::watch_all(),
        #[cfg(not(target_os = "linux"))]
        Err(_) => ExitCode::SUCCESS, // Nothing else can look at another process in its last moment.
    }
}

/// Takes the key from its standard input, and ends.
fn child(role: &str) -> ExitCode {
    let key = match ApiKey::read(KeyInput::of(stdin().as_fd())) {
        Ok(key) => Arc::new(key),
        Err(error) => {
            assert_eq!(role, REFUSED, "{error}");
            return ExitCode::SUCCESS;
        }
    };
    say(key.page().as_str());
    wait_to_be_seen();
    match role {
        DROPPED => {
            drop(key);
            wait_to_be_seen();
        }
        MAIN_RETURNS => {}
        MAIN_PANICS => panic_with(key),
        THREAD_PANICS => {
            let panicked = thread::spawn(|| panic_with(key)).join();
            assert!(panicked.is_err());
            wait_to_be_seen();
        }
        role => panic!("no role: {role}"),
    }
    ExitCode::SUCCESS
}

fn panic_with(key: Arc<ApiKey>) {
    panic!("as told, with {key:?}");
}

/// Stops here until the parent has looked: it traces this thread, and so is told of a signal that is otherwise ignored.
fn wait_to_be_seen() {
    raise(Signal::SIGURG).unwrap();
}

#[expect(clippy::print_stdout, reason = "this program is its own test harness")]
fn say(line: &str) {
    println!("{line}");
    stdout().flush().unwrap();
}
