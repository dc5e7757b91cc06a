//! Variables with which the caller of a program steers what it loads or trusts.
//!
//! `LD_*` (ld.so(8)) and `DYLD_*` (dyld(1)) choose code; `SSL_CERT_FILE` and `SSL_CERT_DIR` choose
//! certificate authorities, which a root process takes from nobody but root.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use nix::unistd::geteuid;

use crate::HardeningError;

pub(crate) fn remove_steering_variables() -> Result<Vec<OsString>, HardeningError> {
    let as_root = geteuid().is_root();
    let found: Vec<OsString> =
        std::env::vars_os().map(|(name, _)| name).filter(|name| steers(name, as_root)).collect();
    if !found.is_empty() {
        remove::remove_all(&found)?;
    }
    Ok(found)
}

/// Whether a variable of this name lets the caller choose code, or, for root, authorities.
fn steers(name: &OsStr, as_root: bool) -> bool {
    let name = name.as_bytes();
    let chooses_code = name.starts_with(b"LD_") || name.starts_with(b"DYLD_");
    let chooses_authorities = matches!(name, b"SSL_CERT_FILE" | b"SSL_CERT_DIR");
    chooses_code || (as_root && chooses_authorities)
}

#[expect(unsafe_code, reason = "std::env::remove_var is unsafe since edition 2024")]
mod remove {
    use std::ffi::OsString;

    use crate::HardeningError;

    /// Removes the variables, once it has seen that no other thread could be reading them.
    pub(super) fn remove_all(names: &[OsString]) -> Result<(), HardeningError> {
        // Where there is no /proc this rests on the caller's place in `main`.
        let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
        if threads > 1 {
            return Err(HardeningError::NotFirst { threads });
        }
        for name in names {
            // SAFETY: this is the only thread (checked above), so nobody reads the environment
            // while it changes.
            unsafe { std::env::remove_var(name) };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linker_variables_go_for_everyone_and_authorities_only_for_root() {
        for (name, as_user, as_root) in [
            ("LD_PRELOAD", true, true),
            ("LD_LIBRARY_PATH", true, true),
            ("LD_AUDIT", true, true),
            ("DYLD_INSERT_LIBRARIES", true, true),
            ("SSL_CERT_FILE", false, true),
            ("SSL_CERT_DIR", false, true),
            ("LDFLAGS", false, false),
            ("PATH", false, false),
            ("OLD_LD_PRELOAD", false, false),
        ] {
            assert_eq!(steers(OsStr::new(name), false), as_user, "{name} as a user");
            assert_eq!(steers(OsStr::new(name), true), as_root, "{name} as root");
        }
    }
}
