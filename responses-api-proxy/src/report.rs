//! The one place that prints: what went wrong and what to do, on standard error.
//!
//! Nothing here fails: a closed standard error is the operator's choice, and no reason to stop.

use std::io::Write;
use std::process::ExitCode;

use codex_process_hardening::Hardened;

use crate::StartError;

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
pub(crate) fn hardened(hardened: &Hardened) {
    let (authorities, code): (Vec<_>, Vec<_>) = hardened
        .removed_variables()
        .iter()
        .map(|name| name.to_string_lossy().escape_debug().to_string())
        .partition(|name| name.starts_with("SSL_"));
    if !code.is_empty() {
        line(&format!("warning: taken out of the environment: {}", code.join(", ")));
        line("  what they name may have been loaded into this process: start it without them");
    }
    if !authorities.is_empty() {
        line(&format!("warning: not used: {}", authorities.join(", ")));
        line("  name certificate authorities with --upstream-ca instead");
    }
}

/// Says one thing that the operator should know.
pub(crate) fn line(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
