//! The first line of every `main`: what this process can still protect about itself.
//!
//! A process that will hold a key must not be readable by its neighbours. [`harden()`] makes it
//! undumpable (which also refuses `ptrace` and `/proc/PID/{mem,maps,environ,fd}` to processes of the
//! same account), forbids core files, and drops the environment variables with which a caller
//! steers the dynamic linker or chooses certificate authorities.
//!
//! [`Facts`] is what the kernel says of it all later; [`keep_descriptors()`] is for those that start another program.
//!
//! It never prints, never exits and starts no thread; the caller reports what [`Hardened`] says.
//! Start reading at [`harden()`]; each measure has a module of its own.

#[cfg(not(unix))]
compile_error!(
    "the key guard for Codex runs on Linux and other Unix systems only: Windows has no equivalent of the protections it promises"
);

#[cfg(unix)]
mod core_limit;
#[cfg(unix)]
mod descriptors;
#[cfg(unix)]
mod dumpable;
#[cfg(unix)]
mod env;
#[cfg(unix)]
mod error;
#[cfg(unix)]
mod facts;
#[cfg(unix)]
mod harden;

#[cfg(unix)]
pub use descriptors::keep_descriptors;
#[cfg(unix)]
pub use error::HardeningError;
#[cfg(unix)]
pub use facts::Facts;
#[cfg(unix)]
pub use harden::{Hardened, harden};
