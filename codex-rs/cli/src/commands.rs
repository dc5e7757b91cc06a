//! The verbs beside serving: those that find a running proxy and show it, stop it or give it a new key; those that make
//! a user's Codex use it, or undo that; and the one that looks at all of it.
//!
//! Facts come from `codex-proxy-client` and `codex-request-log`, `screen` alone writes to standard output
//! and standard error, and what stands between the two is text made of values.

mod as_user;
mod completion;
mod diff;
mod doctor;
mod doctor_text;
mod error;
mod figures;
mod found;
pub(crate) mod host;
mod in_flight;
mod key_text;
mod last_lines;
mod log;
mod log_source;
mod log_view;
mod overview;
mod point;
mod pointing_text;
mod process;
mod progress;
mod record_table;
mod relinquish;
mod rotate_key;
mod running;
mod screen;
mod settled;
mod sheet;
mod status;
mod status_text;
mod stop;
mod table;
mod target;
mod unpoint;
mod verify;
mod waiting;

use clap_complete::Shell;
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{
    DoctorArgs, LogArgs, PointArgs, RelinquishSudoArgs, RotateKeyArgs, StatusArgs, StopArgs,
    UnpointArgs,
};
use error::CommandError;
pub(crate) use error::START_ONE;
use screen::Screen;

/// How a verb ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It has done what it was to do.
    Done,
    /// What was asked is not so.
    No,
    /// It is done, but not all that was wanted is so: a way to root is open.
    PathOpen,
    /// A program that ran for us has ended with this exit code.
    Code(u8),
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

pub(crate) fn doctor(args: DoctorArgs) -> anyhow::Result<End> {
    run(async |screen| doctor::doctor(args, screen).await)
}

pub(crate) fn point(args: PointArgs) -> anyhow::Result<End> {
    run(async |screen| point::point(args, screen).await)
}

pub(crate) fn unpoint(args: UnpointArgs) -> anyhow::Result<End> {
    run(async |screen| unpoint::unpoint(args, screen))
}

pub(crate) fn relinquish_sudo(args: RelinquishSudoArgs) -> anyhow::Result<End> {
    run(async |screen| relinquish::relinquish_sudo(args, screen).await)
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
    let ended = runtime.block_on(verb(&mut screen));
    // Dropped, it would wait for threads that read: from a network that hangs, for example.
    runtime.shutdown_background();
    match ended {
        // Whoever reads it (`| head`) has what they wanted.
        Err(error) if error.reader_left() => Ok(End::Done),
        ended => Ok(ended?),
    }
}

/// Does this until ^C; `None` when that came first.
async fn until_interrupted<T>(act: impl Future<Output = T>) -> Option<T> {
    // From here on ^C no longer ends this process, which may be about to start another.
    let interrupts = signal(SignalKind::interrupt());
    let interrupted = async {
        match interrupts {
            Ok(mut interrupts) => interrupts.recv().await,
            Err(_) => None,
        }
    };
    tokio::select! {
        done = act => Some(done),
        Some(()) = interrupted => None,
    }
}
