//! The measures in their order, and the evidence that they were taken.

use std::ffi::{OsStr, OsString};

use crate::{HardeningError, core_limit, dumpable, env};

/// Evidence that this process has been hardened. Only [`harden`] makes one.
#[derive(Debug)]
#[must_use = "say which variables were removed: they may have acted already"]
pub struct Hardened {
    removed_variables: Vec<(OsString, OsString)>,
}

impl Hardened {
    /// The names of the variables that were in the environment and are not any more.
    ///
    /// Worth a warning: the dynamic linker had read `LD_PRELOAD` before `main` began, so a library
    /// that it names may be in this process already.
    pub fn removed_variables(&self) -> impl Iterator<Item = &OsStr> {
        self.removed_variables.iter().map(|(name, _)| name.as_os_str())
    }

    /// The value that a removed variable had: for a caller who decides himself whom to trust.
    pub fn removed_value(&self, name: &str) -> Option<&OsStr> {
        let found = self.removed_variables.iter().find(|(removed, _)| removed == name);
        found.map(|(_, value)| value.as_os_str())
    }
}

/// Hardens this process: not dumpable, not traced, no core file, no variable that steers it.
///
/// Call it first in `main`. It reads each setting back, so `Ok` means that the kernel agrees.
///
/// # Errors
///
/// One variant per measure that failed. The caller must not go on to read a key: treat it as fatal.
pub fn harden() -> Result<Hardened, HardeningError> {
    dumpable::forbid()?;
    core_limit::set_to_zero()?;
    let removed_variables = env::remove_steering_variables()?;
    Ok(Hardened { removed_variables })
}
