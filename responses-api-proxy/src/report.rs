//! The one place that prints: what went wrong and what to do, on standard error.
//!
//! Nothing here fails: a closed standard error is the operator's choice, and no reason to stop.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;

use codex_process_hardening::Hardened;
use nix::unistd::geteuid;

use crate::StartError;
use crate::environment::Environment;
use crate::settings::Authorities;

/// Group and others (inode(7)).
const WRITABLE_BY_OTHERS: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// Says why the program ends, with causes and remedy; returns the exit code for it.
pub fn fatal(error: &anyhow::Error) -> ExitCode {
    line(&format!("error: {error}"));
    for cause in error.chain().skip(1) {
        line(&format!("  because: {cause}"));
    }
    match error.chain().find_map(|cause| cause.downcast_ref::<StartError>()) {
        Some(start) => {
            line(&format!("hint: {}", start.hint()));
            start.exit_code()
        }
        None => ExitCode::FAILURE,
    }
}

/// Says which variables were in the environment that should not have been, and what that means.
pub(crate) fn environment(hardened: &Hardened, environment: &Environment) {
    let code: Vec<_> = hardened
        .removed_variables()
        .map(|name| name.to_string_lossy().escape_debug().to_string())
        .filter(|name| !name.starts_with("SSL_"))
        .collect();
    if !code.is_empty() {
        line(&format!("warning: taken out of the environment: {}", code.join(", ")));
        line("  what they name may have been loaded into this process: start it without them");
    }
    if !environment.not_used.is_empty() {
        let as_root = if geteuid().is_root() { " as root" } else { "" };
        line(&format!("warning: not used{as_root}: {}", environment.not_used.join(", ")));
        line("  name authorities with --upstream-ca, a proxy with --upstream-proxy");
    }
}

/// Says which files of authorities somebody but root could change, where it is root that trusts them.
pub(crate) fn authorities(authorities: &[Authorities]) {
    for Authorities { path, named_by } in authorities {
        if geteuid().is_root() && !is_roots_alone(path) {
            let path = path.display();
            line(&format!("warning: others than root can change {path} ({named_by})"));
            line("  who does can have the key sent to himself: give it to root, mode 644");
        }
    }
}

/// Whether nobody but root can change the file, by itself, by a folder or by a link on the way to it.
fn is_roots_alone(path: &Path) -> bool {
    let (Ok(absolute), Ok(real)) = (std::path::absolute(path), fs::canonicalize(path)) else {
        return false;
    };
    absolute.ancestors().chain(real.ancestors()).all(|part| {
        fs::symlink_metadata(part).is_ok_and(|facts| {
            // In a folder with the sticky bit nobody can move what is another's.
            let is_sticky = facts.is_dir() && facts.mode() & STICKY != 0;
            let is_closed = facts.mode() & WRITABLE_BY_OTHERS == 0 || is_sticky;
            facts.uid() == 0 && (facts.is_symlink() || is_closed)
        })
    })
}

/// Says one thing that the operator should know.
pub(crate) fn line(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
