//! What a machine must have for tests that make users, or folders of the system's, in a mount namespace of their own.

use std::collections::BTreeSet;
use std::env;

use nix::unistd::geteuid;

/// What of that is missing for a test that runs these programs, and how to get it.
pub(crate) fn missing(programs: &[&str]) -> Option<String> {
    if !geteuid().is_root() {
        return Some("it needs a private mount namespace: run the tests as root".to_owned());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let has = |program: &str| env::split_paths(&path).any(|folder| folder.join(program).exists());
    let absent: Vec<&str> = programs.iter().copied().filter(|program| !has(program)).collect();
    if absent.is_empty() {
        return None;
    }
    let packages: BTreeSet<&str> = absent.iter().copied().map(package).collect();
    let packages = Vec::from_iter(packages).join(" ");
    Some(format!("it needs {}: `apt-get install {packages}`", absent.join(", ")))
}

/// Debian's package with this program.
fn package(program: &str) -> &str {
    match program {
        "unshare" | "nsenter" | "setpriv" | "setsid" => "util-linux",
        "script" => "bsdutils",
        "useradd" | "gpasswd" => "passwd",
        "deluser" => "adduser",
        "visudo" | "cvtsudoers" => "sudo",
        itself => itself,
    }
}
