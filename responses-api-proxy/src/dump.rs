//! `--dump-dir`: each exchange as a JSON file, for whoever has to see what went by.
//!
//! An exchange tells its [`Dump`] what goes by and never waits for it; one thread writes. Start reading at
//! `dumper`.

mod body;
mod document;
mod dumper;
mod folder;
mod open_dump;
mod queue;
mod secrets;
mod writer;

#[cfg(any(test, fuzzing))]
pub(crate) use body::DumpBody;
pub(crate) use dumper::{Dumper, start};
pub(crate) use folder::{DumpFolder, DumpFolderError};

pub(crate) use open_dump::Dump;
