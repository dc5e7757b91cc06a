//! The record of one exchange: what is kept of a request and its answer.
//!
//! A record says who did what, when and how it ended. It never holds a body, a header's value or a
//! byte of the key, and this crate cannot name the key's type.
//!
//! Each exchange is opened as an [`OpenRecord`] and leaves exactly one [`Record`] when that is
//! dropped, however the exchange ended. A [`Writer`] prints records on a thread of its own, so that
//! a slow reader of the log never slows an exchange.
//!
//! Start reading at [`Record`].
#![forbid(unsafe_code)]

mod open;
mod reason;
mod record;
mod write;

pub use open::OpenRecord;
pub use reason::Reason;
pub use record::{Outcome, Record};
pub use write::{Log, Writer};
