//! A process of our own is hardened, and its neighbours try to read it.
//!
//! Without the test harness: `harden` wants to be the first thing a program does, before any thread.

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

type Outcome = Result<(), Box<dyn Error>>;
type Test = (&'static str, fn() -> Outcome);

/// Set in the child, which hardens itself (or, as the control, does not) and waits.
const ROLE: &str = "HARDENED_PROCESS_ROLE";
/// An account that need not exist: a uid is enough to start a process.
const READER_UID: u32 = 61_234;

fn main() -> ExitCode {
    match std::env::var(ROLE).as_deref() {
        Ok("hardened") => return child(true),
        Ok("control") => return child(false),
        Ok("traced") => {
            // From here on the parent traces this process.
            return if nix::sys::ptrace::traceme().is_ok() {
                child(true)
            } else {
                ExitCode::FAILURE
            };
        }
        Ok("reader") => return read_memory(),
        _ => {}
    }
    let tests: &[Test] = &[
        ("a_same_uid_reader_is_refused", a_same_uid_reader_is_refused),
        ("core_files_are_forbidden", core_files_are_forbidden),
        ("linker_variables_are_gone_and_named", linker_variables_are_gone_and_named),
        ("a_process_that_is_traced_refuses_to_go_on", a_process_that_is_traced_refuses_to_go_on),
    ];
    let mut failed = 0;
    for (name, test) in tests {
        match test() {
            Ok(()) => say(&format!("test {name} ... ok")),
            Err(error) => {
                failed += 1;
                say(&format!("test {name} ... FAILED: {error}"));
            }
        }
    }
    // The words of the ordinary harness, for whoever counts.
    let result = if failed == 0 { "ok" } else { "FAILED" };
    say(&format!("test result: {result}. {} passed; {failed} failed", tests.len() - failed));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[expect(clippy::print_stdout, reason = "this program is its own test harness")]
fn say(line: &str) {
    println!("{line}");
}

/// Prints what it sees of itself, then waits for its standard input to close.
fn child(hardened: bool) -> ExitCode {
    let removed = if hardened {
        let evidence = match codex_process_hardening::harden() {
            Ok(evidence) => evidence,
            Err(error) => {
                say(&format!("error {error}"));
                return ExitCode::FAILURE;
            }
        };
        evidence.removed_variables().map(|name| name.to_string_lossy().into_owned()).collect()
    } else {
        Vec::new()
    };
    let left: Vec<String> =
        std::env::vars().map(|(name, _)| name).filter(|name| name.contains("LD_")).collect();
    say(&format!("removed [{}] left [{}]", removed.join(" "), left.join(" ")));
    let _ = std::io::stdin().read(&mut [0]);
    ExitCode::SUCCESS
}

/// The attacker: another process of the same account.
fn read_memory() -> ExitCode {
    let target = std::env::var("TARGET").unwrap_or_default();
    let mut refused = 0;
    for file in ["mem", "maps", "environ"] {
        let opened = File::open(format!("/proc/{target}/{file}"));
        refused += u8::from(
            opened.is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied),
        );
    }
    refused += u8::from(fs::read_dir(format!("/proc/{target}/fd")).is_err());
    ExitCode::from(refused)
}

struct Started {
    child: Child,
    line: String,
}

impl Drop for Started {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// This program, where any account may run it: a build folder may be closed to others.
fn program(folder: &Path) -> Result<PathBuf, Box<dyn Error>> {
    use std::os::unix::fs::PermissionsExt;
    let copy = folder.join("program");
    fs::copy(std::env::current_exe()?, &copy)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
    Ok(copy)
}

/// As root, both sides become an ordinary account: root may read anything.
fn as_ordinary_account(command: &mut Command) -> &mut Command {
    if nix::unistd::geteuid().is_root() { command.uid(READER_UID).gid(READER_UID) } else { command }
}

fn start(program: &Path, role: &str) -> Result<Started, Box<dyn Error>> {
    let mut child = as_ordinary_account(&mut Command::new(program))
        .env(ROLE, role)
        .env("LD_BIND_NOW", "1")
        .env("DYLD_TEST", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    let stdout = child.stdout.take().ok_or("no stdout")?;
    BufReader::new(stdout).read_line(&mut line)?;
    Ok(Started { child, line: line.trim().to_owned() })
}

fn refusals(program: &Path, target: &Started) -> Result<i32, Box<dyn Error>> {
    let status = as_ordinary_account(&mut Command::new(program))
        .env(ROLE, "reader")
        .env("TARGET", target.child.id().to_string())
        .status()?;
    status.code().ok_or_else(|| "the reader was killed".into())
}

fn a_same_uid_reader_is_refused() -> Outcome {
    let folder = tempfile::tempdir()?;
    let program = program(folder.path())?;
    let control = start(&program, "control")?;
    let open = refusals(&program, &control)?;
    if open != 0 {
        return Err(format!("the control should be readable: {open} of 4 reads refused").into());
    }
    let hardened = start(&program, "hardened")?;
    match refusals(&program, &hardened)? {
        4 => Ok(()),
        refused => Err(format!("only {refused} of mem, maps, environ, fd were refused").into()),
    }
}

fn core_files_are_forbidden() -> Outcome {
    let folder = tempfile::tempdir()?;
    let hardened = start(&program(folder.path())?, "hardened")?;
    let limits = fs::read_to_string(format!("/proc/{}/limits", hardened.child.id()))?;
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .ok_or("no such limit")?;
    let words: Vec<&str> = core.split_whitespace().collect();
    if words[4..6] == ["0", "0"] { Ok(()) } else { Err(format!("core limit is {core:?}").into()) }
}

fn linker_variables_are_gone_and_named() -> Outcome {
    let folder = tempfile::tempdir()?;
    let program = program(folder.path())?;
    let control = start(&program, "control")?;
    if !(control.line.contains("LD_BIND_NOW") && control.line.contains("DYLD_TEST")) {
        return Err(format!("the control should see both variables: {}", control.line).into());
    }
    let hardened = start(&program, "hardened")?;
    let (removed, left) =
        hardened.line.split_once(" left ").ok_or_else(|| hardened.line.clone())?;
    if removed.contains("LD_BIND_NOW") && removed.contains("DYLD_TEST") && left == "[]" {
        Ok(())
    } else {
        Err(hardened.line.clone().into())
    }
}

fn a_process_that_is_traced_refuses_to_go_on() -> Outcome {
    let folder = tempfile::tempdir()?;
    let traced = start(&program(folder.path())?, "traced")?;
    let expected = format!("error process {} traces this one", std::process::id());
    if traced.line.starts_with(&expected) { Ok(()) } else { Err(traced.line.clone().into()) }
}
