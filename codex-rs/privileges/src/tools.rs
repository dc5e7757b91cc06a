//! Programs of the system: found where only root could have put them, run in a bare environment, and never waited for
//! without end.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use codex_path_trust::{Groups, Sticky, Trust, is_closed};
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid as RustixPid, PidfdFlags, pidfd_open};
use thiserror::Error;

use crate::subject::Subject;

/// Where root's own programs are.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
const LIMIT: Duration = Duration::from_secs(10);
/// How long is waited for what a tool has said when it has ended.
const REST: Duration = Duration::from_secs(1);
const OUT_LIMIT_BYTES: usize = 8 * 1024 * 1024;
const WORDS_LIMIT_BYTES: usize = 8 * 1024;

/// Why a program of the system did not answer.
#[derive(Debug, Error)]
pub enum ToolError {
    /// It is not there.
    #[error("{program} is not installed, or not root's alone (looked in {})", FOLDERS.join(", "))]
    Missing {
        /// Its name.
        program: String,
    },
    /// It could not be started.
    #[error("{program} can't be run")]
    Start {
        /// Its name.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// It ended in a way of its own.
    #[error("{program} did not answer: {how}")]
    Disturbed {
        /// Its name.
        program: String,
        /// What it said, or how it ended.
        how: String,
    },
    /// It was ended.
    #[error("{program} has not ended in {} s", LIMIT.as_secs())]
    TimedOut {
        /// Its name.
        program: String,
    },
}

/// What a program has said.
#[derive(Clone, Debug)]
pub(crate) struct Ran {
    /// `None`: a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn is_success(&self) -> bool {
        self.code == Some(0)
    }

    /// Its output.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }

    /// For an error: what it said, or how it ended.
    pub(crate) fn words(&self) -> String {
        let out = self.text();
        let said = |text: &str| {
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            lines.take(3).collect::<Vec<_>>().join("; ")
        };
        match (said(&self.err), said(&out), self.code) {
            (err, ..) if !err.is_empty() => err,
            (_, out, _) if !out.is_empty() => out,
            (.., Some(code)) => format!("it ended with {code}"),
            (.., None) => "a signal ended it".to_owned(),
        }
    }
}

/// Its path, if only root could have put it there.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let trust = Trust { accounts: [0].into(), groups: Groups::None, sticky: Sticky::Nowhere };
    let mut paths = FOLDERS.iter().map(|folder| Path::new(folder).join(program));
    paths.find(|path| path.is_file() && is_closed(path, &trust))
}

/// The same, where it has to be.
pub(crate) fn need(program: &str) -> Result<PathBuf, ToolError> {
    find(program).ok_or_else(|| ToolError::Missing { program: program.to_owned() })
}

/// Runs it with nothing on its standard input, in `/` and in a process group of its own.
pub(crate) fn run<I, A>(program: &Path, args: I) -> Result<Ran, ToolError>
where
    I: IntoIterator<Item = A>,
    A: AsRef<OsStr>,
{
    run_with(program, args, None)
}

/// A variable, and what it says.
pub(crate) type Variable<'v> = (&'v str, &'v OsStr);

fn run_with<I, A>(program: &Path, args: I, variable: Option<Variable<'_>>) -> Result<Ran, ToolError>
where
    I: IntoIterator<Item = A>,
    A: AsRef<OsStr>,
{
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let start = |source| ToolError::Start { program: name.clone(), source };
    // setsid(1) makes its group itself, and would have to fork if it had one.
    let makes_its_group = name == "setsid";
    let mut command = Command::new(program);
    command
        .args(args)
        .env_clear()
        .env("PATH", FOLDERS.join(":"))
        .env("LC_ALL", "C")
        .envs(variable)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if !makes_its_group {
        command.process_group(0); // ^C at a terminal is for us: a tool is never ended half-way.
    }
    let mut child = command.spawn().map_err(start)?;
    let out = child.stdout.take().map(|pipe| Reading::of(pipe, OUT_LIMIT_BYTES));
    let err = child.stderr.take().map(|pipe| Reading::of(pipe, WORDS_LIMIT_BYTES));
    let ended = wait(&mut child).map_err(start)?;
    // What it left running holds its output open, and is not waited for either.
    let _ = killpg(group_of(&child), Signal::SIGKILL);
    let _ = child.kill();
    let status = child.wait().map_err(start)?;
    if !ended {
        return Err(ToolError::TimedOut { program: name });
    }
    let bytes = |reading: Option<Reading>| reading.map(Reading::end).unwrap_or_default();
    let (out, err) = (bytes(out), String::from_utf8_lossy(&bytes(err)).into_owned());
    Ok(Ran { code: status.code(), out, err })
}

/// Runs it as the account, with these groups, its real group being `rgid`, and away from every terminal.
///
/// With groups that the account does not have, only a setuid program may be run: any other the account could take over
/// by ptrace(2), and with it the groups.
pub(crate) fn run_as<I, A>(
    subject: &Subject,
    (gids, rgid): (&BTreeSet<u32>, u32),
    program: &Path,
    args: I,
    variable: Option<Variable<'_>>,
) -> Result<Ran, ToolError>
where
    I: IntoIterator<Item = A>,
    A: AsRef<OsStr>,
{
    let (setsid, setpriv) = (need("setsid")?, need("setpriv")?);
    let mut all = vec!["--".into(), setpriv.into_os_string()];
    all.extend(credentials(subject.account.uid, rgid, gids));
    all.push("--".into());
    all.push(program.as_os_str().to_owned());
    all.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
    run_with(&setsid, all, variable)
}

/// As setpriv(1) takes them.
fn credentials(uid: u32, rgid: u32, gids: &BTreeSet<u32>) -> Vec<OsString> {
    let list: Vec<String> = gids.iter().map(u32::to_string).collect();
    let groups = if list.is_empty() {
        vec!["--clear-groups".to_owned()]
    } else {
        vec!["--groups".to_owned(), list.join(",")]
    };
    let ids = ["--reuid".to_owned(), uid.to_string(), "--regid".to_owned(), rgid.to_string()];
    ids.into_iter().chain(groups).map(OsString::from).collect()
}

/// What comes out of a pipe. Others may hold it open: whoever runs as the account of a tool can.
struct Reading {
    bytes: Arc<Mutex<Vec<u8>>>,
    ended: Receiver<()>,
}

impl Reading {
    fn of(pipe: impl Read + Send + 'static, limit_bytes: usize) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let (end, ended) = channel();
        let read = bytes.clone();
        thread::spawn(move || {
            let (mut pipe, mut piece) = (pipe, [0; 16 * 1024]);
            // To the end, so that the tool can go on.
            while let Ok(count @ 1..) = pipe.read(&mut piece) {
                let Ok(mut bytes) = read.lock() else { break };
                let room = limit_bytes.saturating_sub(bytes.len());
                bytes.extend_from_slice(&piece[..count.min(room)]);
            }
            let _ = end.send(()); // Nobody may wait any more.
        });
        Self { bytes, ended }
    }

    /// When the tool has ended: what it has said.
    fn end(self) -> Vec<u8> {
        let _ = self.ended.recv_timeout(REST);
        self.bytes.lock().map(|mut bytes| std::mem::take(&mut *bytes)).unwrap_or_default()
    }
}

/// Whether it ended in time. It is not reaped yet: its number stays its own.
fn wait(child: &mut Child) -> io::Result<bool> {
    let pid = i32::try_from(child.id()).ok().and_then(RustixPid::from_raw);
    let pid = pid.ok_or(Errno::ESRCH)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let deadline = Instant::now() + LIMIT;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(|_| Errno::EINVAL)?;
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&left)) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn group_of(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Result<Ran, ToolError> {
        run(&find("sh").unwrap(), ["-c", script])
    }

    #[test]
    fn a_program_is_found_where_root_alone_could_put_it() {
        assert!(find("sh").is_some_and(|path| path.is_absolute()));
        assert_eq!(find("no-such-program"), None);
        assert!(matches!(need("no-such-program"), Err(ToolError::Missing { .. })));
    }

    #[test]
    fn it_is_run_with_nothing_of_our_environment_and_what_it_says_is_kept() {
        let ran = shell("env; pwd; cat; echo no >&2; exit 3").unwrap();
        let mut lines: Vec<String> = ran.text().lines().map(str::to_owned).collect();
        lines.retain(|line| !line.starts_with("PWD=") && !line.starts_with("_="));
        lines.retain(|line| !line.starts_with("SHLVL=") && !line.starts_with("OLDPWD"));
        lines.sort();
        assert_eq!(lines, ["/", "LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]);
        assert_eq!((ran.code, ran.words()), (Some(3), "no".to_owned()));
        assert_eq!(shell("exit 4").unwrap().words(), "it ended with 4");
        assert_eq!(shell("kill -9 $$").unwrap().words(), "a signal ended it");
    }

    #[test]
    fn what_it_leaves_running_holds_nobody_up() {
        let begun = Instant::now();
        let ran = shell("sleep 100 & echo done").unwrap();
        assert_eq!(ran.text(), "done\n");
        assert!(begun.elapsed() < LIMIT);
    }

    #[test]
    fn more_than_the_limit_is_left_out_and_does_not_stop_it() {
        let ran = shell("head -c 9000000 /dev/zero; head -c 100000 /dev/zero >&2; exit 5").unwrap();
        assert_eq!((ran.code, ran.out.len()), (Some(5), 8 * 1024 * 1024));
        assert_eq!(ran.err.len(), 8 * 1024);
    }
}
