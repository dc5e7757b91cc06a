//! The verbs that find a running proxy and show it, stop it or give it a new key. None of them changes anything else.
//!
//! Facts come from `codex-proxy-client` and `codex-request-log`, `screen` alone writes to standard output
//! and standard error, and what stands between the two is text made of values.

mod completion;
mod error;
mod figures;
mod found;
mod host;
mod in_flight;
mod key_text;
mod log;
mod log_source;
mod log_view;
mod overview;
mod plain;
mod process;
mod progress;
mod record_table;
mod rotate_key;
mod screen;
mod sheet;
mod status;
mod status_text;
mod stop;
mod table;

use clap_complete::Shell;
use tokio::runtime;

use crate::args::{LogArgs, RotateKeyArgs, StatusArgs, StopArgs};
use error::CommandError;
use screen::Screen;

/// How a verb ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It has done what it was to do.
    Done,
    /// What was asked is not so.
    No,
    /// ^C.
    Interrupted,
}

pub(crate) fn status(args: StatusArgs) -> anyhow::Result<End> {
    run(async |screen| status::status(args, screen).await)
}

pub(crate) fn log(args: LogArgs) -> anyhow::Result<End> {
    run(async |screen| log::log(args, screen).await)
}

pub(crate) fn stop(args: StopArgs) -> anyhow::Result<End> {
    run(async |screen| stop::stop(args, screen).await)
}

pub(crate) fn rotate_key(args: RotateKeyArgs) -> anyhow::Result<End> {
    run(async |screen| rotate_key::rotate_key(args, screen).await)
}

pub(crate) fn completion(shell: Shell) -> anyhow::Result<End> {
    run(async |screen| completion::completion(shell, screen))
}

/// What the person at the keyboard can do about it.
pub(crate) fn hint(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| cause.downcast_ref::<CommandError>())?.hint()
}

fn run(verb: impl AsyncFnOnce(&mut Screen) -> Result<End, CommandError>) -> anyhow::Result<End> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let mut screen = Screen::open();
    match runtime.block_on(verb(&mut screen)) {
        // Whoever reads it (`| head`) has what they wanted.
        Err(error) if error.reader_left() => Ok(End::Done),
        ended => Ok(ended?),
    }
}

/// Does this until ^C; `None` when that came first.
async fn until_interrupted<T>(act: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        done = act => Some(done),
        Ok(()) = tokio::signal::ctrl_c() => None,
    }
}
