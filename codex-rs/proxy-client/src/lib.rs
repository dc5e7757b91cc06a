//! What a program needs in order to find a running proxy and to talk to it.
//!
//! A proxy that serves leaves a server-info file, [`ServerInfo`], in its [`RunFolder`] and where it was told to.
//! Anyone may plant a file, and a file outlives a proxy that was killed: so [`find`] believes none. It reads only
//! what root or its own account wrote, asks the kernel who listens on the port and who is behind the control
//! socket, and then the proxy itself; what it finds is a [`Found`].
//!
//! [`ControlSocket`] is HTTP over a Unix socket. Nothing is sent before the kernel has said that it leads to the
//! process it should.
//!
//! Nothing here writes a file, serves, sees a key (a new one passes as a descriptor that nothing here reads), or knows how
//! the proxy works inside.
//!
//! Start reading at [`find`].
#![cfg(unix)] // codex-process-hardening says why, in one sentence.
#![forbid(unsafe_code)]

mod admittance;
mod control;
mod draining;
mod error;
mod found;
mod lines;
#[cfg(test)]
mod pretended;
mod process;
#[cfg(any(test, fuzzing))]
pub mod properties;
mod query;
mod rotation;
mod run_folder;
mod search;
mod server_info;
pub mod status;
mod upstream_check;

pub use admittance::serves_this_account;
pub use control::ControlSocket;
pub use draining::{DrainState, Draining};
pub use error::{ControlError, Process};
pub use found::{Found, RunningProxy};
pub use lines::Lines;
pub use process::is_running;
pub use query::RecordsQuery;
pub use rotation::Rotated;
pub use run_folder::RunFolder;
pub use search::{Search, find, find_within};
pub use server_info::{ServerInfo, ServerInfoError};
pub use status::{InFlight, Status};
pub use upstream_check::{UpstreamCheck, UpstreamProblem};
