//! What stands between this user and a working, safe set-up: Codex that goes through the proxy, and a key that nobody reads.
//!
//! [`examine()`] looks at a [`Host`] with all [`checks()`] side by side and returns a [`Report`] of [`Finding`]s, each with
//! its evidence and, unless all is well, what to do.
//!
//! It is safe for anyone to run: nothing is written, nothing but regular files is opened, no key is spent, and none is
//! shown: where one lies, only the place is told, and what looks like one in any words is [`masked`]. Root runs nobody
//! else's program for it. It claims no more than it has seen.
//!
//! Start reading at [`examine()`]; what is looked at stands in [`checks()`], a file for each in `checks/`.
#![cfg(unix)] // codex-process-hardening says why, in one sentence.
#![forbid(unsafe_code)]

mod check;
mod checks;
mod examine;
mod finding;
mod host;
mod listing;
mod looks_like_key;
mod report;
mod ways_in;

pub use check::Check;
pub use checks::checks;
pub use examine::{Progress, examine};
pub use finding::{Finding, Grade};
pub use host::Host;
pub use looks_like_key::{masked, masked_setting};
pub use report::Report;
