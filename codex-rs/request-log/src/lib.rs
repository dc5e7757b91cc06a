//! The record of one exchange: what is kept of a request and its answer, and where it goes.
//!
//! A record says who did what, when and how it ended. It never holds a body, a header's value or a
//! byte of the key, and this crate cannot name the key's type.
//!
//! Each exchange is opened as an [`OpenRecord`] and leaves exactly one [`Record`] with the [`Log`] when
//! that is dropped, however the exchange ended. A [`Recorder`] carries records on, on threads of its own:
//! to the [`Hub`], where they are followed live, to a [`LogFile`] and to standard error. What one of
//! these can't take is counted and said, and slows neither an exchange nor the others. A
//! [`LogReader`] gives back what stands in the file, and a [`Line`] is the form of both.
//!
//! Start reading at [`Record`]; where it goes is told in `recorder`.
#![cfg(unix)] // codex-process-hardening says why, in one sentence.
#![forbid(unsafe_code)]

mod append;
mod client;
mod entry;
mod error;
mod file_sink;
mod filter;
mod flood;
mod hub;
mod lanes;
mod line;
mod lines_backwards;
mod log;
mod log_file;
mod log_reader;
mod open;
mod outcome;
#[cfg(any(test, fuzzing))]
pub mod properties;
mod reason;
mod record;
mod recorder;
mod sink;
mod stderr_sink;
mod time;
mod usage;
mod words;

pub use client::Client;
pub use error::LogFileError;
pub use filter::Filter;
pub use hub::{Follower, Hub, Missed};
pub use line::Line;
pub use log::{Log, Observe};
pub use log_file::LogFile;
pub use log_reader::LogReader;
pub use open::OpenRecord;
pub use outcome::Outcome;
pub use reason::Reason;
pub use record::Record;
pub use recorder::{Recorder, Reopener, Sinks};
pub use stderr_sink::Format;
pub use time::rfc3339;
pub use usage::Usage;
pub use words::UnknownWord;
