//! Variables with which the caller of a program steers what it loads or trusts.
//!
//! `LD_*` (ld.so(8)) and `DYLD_*` (dyld(1)) choose code; `SSL_CERT_FILE` and `SSL_CERT_DIR` choose
//! certificate authorities, in place of the system's.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::HardeningError;

pub(crate) fn remove_steering_variables() -> Result<Vec<(OsString, OsString)>, HardeningError> {
    let found: Vec<(OsString, OsString)> =
        std::env::vars_os().filter(|(name, _)| steers(name)).collect();
    if !found.is_empty() {
        remove::remove_all(&found)?;
    }
    Ok(found)
}

/// Whether a variable of this name lets the caller choose code or authorities.
fn steers(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name.starts_with(b"LD_")
        || name.starts_with(b"DYLD_")
        || matches!(name, b"SSL_CERT_FILE" | b"SSL_CERT_DIR")
}

#[expect(unsafe_code, reason = "std::env::remove_var is unsafe since edition 2024")]
mod remove {
    use std::ffi::OsString;

    use crate::HardeningError;

    /// Removes the variables, once it has seen that no other thread could be reading them.
    pub(super) fn remove_all(variables: &[(OsString, OsString)]) -> Result<(), HardeningError> {
        // Where there is no /proc this rests on the caller's place in `main`.
        let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
        if threads > 1 {
            return Err(HardeningError::NotFirst { threads });
        }
        for (name, _) in variables {
            // SAFETY: this is the only thread (checked above), so nobody reads the environment
            // while it changes.
            unsafe { std::env::remove_var(name) };
        }
        match variables.iter().find(|(name, _)| std::env::var_os(name).is_some()) {
            None => Ok(()),
            Some((name, _)) => Err(HardeningError::StillSet { name: name.clone() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_choose_code_or_authorities_go_and_no_others() {
        for (name, goes) in [
            ("LD_PRELOAD", true),
            ("LD_LIBRARY_PATH", true),
            ("LD_AUDIT", true),
            ("DYLD_INSERT_LIBRARIES", true),
            ("SSL_CERT_FILE", true),
            ("SSL_CERT_DIR", true),
            ("LDFLAGS", false),
            ("PATH", false),
            ("OLD_LD_PRELOAD", false),
            ("SSL_CERT_FILES", false),
        ] {
            assert_eq!(steers(OsStr::new(name)), goes, "{name}");
        }
    }
}
