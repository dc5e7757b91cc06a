//! `--daemon`: a proxy that goes on when whoever started it has gone.
//!
//! The process that was called starts this program anew, hands its standard input on unread, and waits until the new
//! one is ready or has failed. So the key is read by the process that will hold it and by no other, and no process
//! is ever forked that has it. Until it is ready the new one belongs to its terminal as any program does: ^C ends
//! both. Then it leaves: own session (setsid(2)), folder `/`, nothing of the terminal open.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};

use codex_process_hardening::{Hardened, keep_descriptors};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, setsid};

use crate::{StartError, key_source};

/// Says that the process is the one that stays.
const SERVING: &str = "--daemon-serving";
/// What it says on its standard output once it is ready.
const READY: &[u8] = b"ready\n";
/// Variables that hardening has removed and the new process decides about for itself.
const HANDED_ON: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// Starts this program anew and waits until it is ready or has ended; it has said why, then.
pub(crate) fn start(hardened: &Hardened, key_file: Option<&Path>) -> Result<ExitCode, StartError> {
    let mut child = spawn(hardened, key_file).map_err(StartError::Daemon)?;
    let mut said = Vec::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_end(&mut said).map_err(StartError::Daemon)?;
    }
    if said == READY {
        return Ok(ExitCode::SUCCESS);
    }
    let status = child.wait().map_err(StartError::Daemon)?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.filter(|code| *code > 0).map_or(ExitCode::FAILURE, ExitCode::from))
}

fn spawn(hardened: &Hardened, key_file: Option<&Path>) -> io::Result<Child> {
    // Somebody may wait for the end of a pipe that was handed down to us; but `--key-file <(…)` is one that is wanted.
    keep_descriptors(key_file.and_then(key_source::handed_down))?;
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    let handed_on = HANDED_ON.iter().filter_map(|name| Some((name, hardened.removed_value(name)?)));
    Command::new(this_program()?)
        .arg0(name)
        .args(arguments)
        .arg(SERVING)
        .envs(handed_on)
        .stdin(Stdio::inherit())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
}

/// The very file that runs, whatever stands at its path by now.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn this_program() -> io::Result<std::path::PathBuf> {
    Ok("/proc/self/exe".into())
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn this_program() -> io::Result<std::path::PathBuf> {
    std::env::current_exe()
}

/// Leaves the terminal and tells who waits. What is said from now on goes to `words_to`.
///
/// # Errors
///
/// Nobody waits any more, or the kernel refuses: the proxy is not to stay then.
pub(crate) fn leave(words_to: BorrowedFd<'_>) -> io::Result<()> {
    let nowhere = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    outlive()?;
    setsid()?;
    std::env::set_current_dir("/")?;
    dup2_stdin(&nowhere)?;
    // What is said from now on must not reach a terminal that may be closed. Should it be for nothing, our own
    // words have nowhere to go; but then nobody waits for them any more.
    point_stderr(words_to)?;
    let mut stdout = io::stdout();
    stdout.write_all(READY)?;
    stdout.flush()?;
    Ok(dup2_stdout(&nowhere)?)
}

/// From here on, who started this process may end.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn outlive() -> io::Result<()> {
    Ok(nix::sys::prctl::set_pdeathsig(None)?)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn outlive() -> io::Result<()> {
    Ok(())
}

/// Until it leaves, this process ends with who started it; and it has the name that it was called by, which `ps` and
/// `pgrep` show.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn begin() {
    use std::ffi::CString;
    use std::os::unix::ffi::OsStrExt;

    use nix::sys::signal::Signal;

    let called = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&called).file_name().unwrap_or_default();
    if let Ok(name) = CString::new(name.as_bytes()) {
        let _ = nix::sys::prctl::set_name(&name); // Only a name.
    }
    let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGTERM); // What is asked at a terminal ends with it.
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn begin() {}

/// Standard error leads there from now on.
pub(crate) fn point_stderr(to: BorrowedFd<'_>) -> io::Result<()> {
    Ok(dup2_stderr(to)?)
}
