//! A program started as the account with nothing but what a fresh login gives: no group that was given up, no way to gain
//! rights through setuid files, no capabilities.
//!
//! A process keeps the groups that it has, so that whatever was started before stays what it was; only root can start
//! something clean. Source: credentials(7), setpriv(1), the kernel's `no_new_privs`.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use crate::account::Account;
use crate::processes::{Stat, threads};
use crate::tools::{self, ToolError};

/// Variables that say how the terminal and the language are, and nothing else.
const KEPT: [&str; 7] = ["TERM", "COLORTERM", "LANG", "LC_ALL", "LC_CTYPE", "NO_COLOR", "TZ"];
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The command that becomes that program. It takes this process's place when it is executed, so no root process is left.
///
/// # Errors
///
/// setpriv(1) is missing.
pub fn fresh_command(account: &Account, program: &[OsString]) -> Result<Command, ToolError> {
    let mut command = Command::new(tools::need("setpriv")?);
    command
        .arg(format!("--reuid={}", account.uid))
        .arg(format!("--regid={}", account.gid))
        .args(["--init-groups", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all", "--"])
        .args(program)
        .env_clear()
        .envs(env::vars_os().filter(|(name, _)| KEPT.iter().any(|kept| name == kept)))
        .env("PATH", PATH)
        .env("HOME", &account.home)
        .env("SHELL", &account.shell)
        .env("USER", &account.name)
        .env("LOGNAME", &account.name);
    Ok(command)
}

/// Whether this process's terminal is read by somebody else than the account: root's own shell, another administrator's.
/// Whatever runs on a terminal can type into it (TIOCSTI, tty_ioctl(4)) and read what is typed there.
///
/// A terminal that sudo has made for its command alone (`use_pty`) is nobody else's.
pub fn terminal_is_anothers(account: &Account) -> bool {
    let Some(stat) = Stat::of(std::process::id()) else { return true };
    if stat.terminal == 0 {
        return false;
    }
    let is_the_accounts = threads(stat.session)
        .iter()
        .any(|thread| thread.uids.iter().all(|uid| *uid == account.uid));
    let sudo = tools::find("sudo").and_then(|sudo| fs::metadata(sudo).ok());
    let leader = fs::metadata(format!("/proc/{}/exe", stat.session)).ok();
    let is_sudos = sudo
        .zip(leader)
        .is_some_and(|(sudo, leader)| (sudo.dev(), sudo.ino()) == (leader.dev(), leader.ino()));
    !is_the_accounts && !is_sudos
}
