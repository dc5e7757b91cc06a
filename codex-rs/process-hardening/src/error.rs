//! Why this process could not be hardened.

use std::ffi::OsString;

use nix::errno::Errno;
use thiserror::Error;

/// One variant per measure; each is fatal to a program that is to hold a key.
#[derive(Debug, Error)]
pub enum HardeningError {
    /// `prctl(PR_SET_DUMPABLE, 0)`, or `ptrace(PT_DENY_ATTACH)` on macOS, failed.
    #[error("this process could not be made undumpable")]
    Dumpable(#[source] Errno),
    /// The kernel accepted the call and still reports the process as dumpable.
    #[error("this process is still dumpable after it asked not to be")]
    StillDumpable,
    /// Another process attached to this one before it could refuse.
    #[error("process {tracer} traces this one and could read all that it does")]
    Traced {
        /// Its process ID.
        tracer: u32,
    },
    /// `setrlimit(RLIMIT_CORE)` failed or did not hold.
    #[error("core files could not be forbidden (RLIMIT_CORE 0/0)")]
    CoreLimit(#[source] Errno),
    /// A variable is in the environment after it was removed.
    #[error("the variable {name:?} could not be removed from the environment")]
    StillSet {
        /// The variable.
        name: OsString,
    },
    /// Another thread runs already, so the environment can't be changed soundly.
    #[error(
        "{threads} threads run already; the environment can be cleaned only while there is one"
    )]
    NotFirst {
        /// How many threads the process has.
        threads: usize,
    },
}

impl HardeningError {
    /// What the person who started the program can do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Dumpable(_) | Self::StillDumpable => {
                "a seccomp filter or an unusual kernel may forbid prctl(2): start it outside that sandbox"
            }
            Self::Traced { .. } => "start it without a debugger or strace",
            Self::CoreLimit(_) => {
                "a seccomp filter may forbid setrlimit(2): start it outside that sandbox"
            }
            Self::StillSet { .. } => "start it without that variable",
            Self::NotFirst { .. } => {
                "a preloaded library may have started a thread: start it without LD_PRELOAD"
            }
        }
    }
}
