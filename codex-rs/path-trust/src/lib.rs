//! Who could change what a path leads to: by itself, by a folder or by a link on the way to it.
//!
//! [`ways_in()`] tells each way, [`is_closed`] whether there is none. There is one walk, and a [`Trust`] says what counts:
//! whose changes are no surprise, which groups may write, and where the sticky bit will do.
//!
//! Nothing is opened, run or changed: owners and modes are read, and what links say. It was so when it was looked at; and
//! where nobody else has a way in, nobody else can make it otherwise.
//!
//! Start reading at [`Trust`].
#![cfg(unix)] // codex-process-hardening says why, in one sentence.
#![forbid(unsafe_code)]

mod lists;
mod trust;
mod walk;
mod ways_in;

pub use lists::Lists;
pub use trust::{Groups, Sticky, Trust};
pub use ways_in::{WayIn, Who, is_closed, ways_in};
