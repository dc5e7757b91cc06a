//! `codex proxy relinquish-sudo`: an account's sudo given up for good, and proof that it is gone. Elsewhere than on Linux it
//! only says what to type.

#[cfg(target_os = "linux")]
mod confirm;
#[cfg(target_os = "linux")]
mod course;
#[cfg(not(target_os = "linux"))]
#[path = "relinquish/elsewhere.rs"]
mod course;
mod error;
#[cfg(target_os = "linux")]
mod json;
#[cfg(target_os = "linux")]
mod looking;
#[cfg(target_os = "linux")]
mod page;
#[cfg(target_os = "linux")]
mod preview;
#[cfg(target_os = "linux")]
mod signals;
#[cfg(target_os = "linux")]
mod then_exec;
#[cfg(target_os = "linux")]
mod through_sudo;
#[cfg(target_os = "linux")]
mod told;
mod whom;

pub(crate) use course::relinquish_sudo;
pub(crate) use error::RelinquishError;
