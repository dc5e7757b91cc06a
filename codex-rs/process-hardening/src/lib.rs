//! The first line of every `main`: what this process can still protect about itself.
//!
//! A process that will hold a key must not be readable by its neighbours. [`harden`] makes it
//! undumpable (which also refuses `ptrace` and `/proc/PID/{mem,maps,environ,fd}` to processes of the
//! same account), forbids core files, and drops the environment variables with which a caller
//! steers the dynamic linker.
//!
//! It never prints, never exits and starts no thread; the caller reports what [`Hardened`] says.
//! Start reading at [`harden`]; each measure has a module of its own.

#[cfg(not(unix))]
compile_error!(
    "the key guard for Codex runs on Linux and other Unix systems only: Windows has no equivalent of the protections it promises"
);

mod core_limit;
mod dumpable;
mod env;
mod error;

use std::ffi::OsString;

pub use error::HardeningError;

/// Evidence that this process has been hardened. Only [`harden`] makes one.
#[derive(Debug)]
#[must_use = "say which variables were removed: they may have acted already"]
pub struct Hardened {
    removed_variables: Vec<OsString>,
}

impl Hardened {
    /// The names of the variables that were in the environment and are not any more.
    ///
    /// Worth a warning: the dynamic linker had read `LD_PRELOAD` before `main` began, so a library
    /// that it names is in this process already.
    pub fn removed_variables(&self) -> &[OsString] {
        &self.removed_variables
    }
}

/// Hardens this process: not dumpable, no core file, no linker variables.
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
