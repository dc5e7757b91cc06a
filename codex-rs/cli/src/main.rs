//! `codex`: the multitool of the key guard.
//!
//! It chooses what runs and nothing else: the proxy is `codex-responses-api-proxy`, here and in the
//! binary of that name, and each verb beside it has a module of its own.
#![forbid(unsafe_code)]

mod args;
mod commands;
#[cfg(feature = "demo")]
mod demo;
mod hand_over;

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use args::{Args, Program, Verb};
use clap::Parser;
use codex_process_hardening::Hardened;
use codex_responses_api_proxy::{StartError, report, serve};
use commands::End;
use hand_over::ShowOurs;

/// What is freed is wiped: TLS's keys, prompts and answers have stood there. (The API key never does.) Blocks that C code
/// frees are its own affair.
#[global_allocator]
static ALLOCATOR: zeroizing_alloc::ZeroAlloc<std::alloc::System> =
    zeroizing_alloc::ZeroAlloc(std::alloc::System);

/// What a shell says of a program that ^C has ended: 128 and the number of SIGINT.
const INTERRUPTED: u8 = 130;

/// Sudo was given up, but another way to root is open.
const PATH_OPEN: u8 = 3;

fn main() -> ExitCode {
    let typed: Vec<OsString> = env::args_os().skip(1).collect();
    // Before this process is hardened: the public Codex gets the environment and the limits as they are.
    if let Some(theirs) = hand_over::theirs(&typed) {
        match hand_over::run(&theirs) {
            Ok(ShowOurs) => {}
            Err(error) => {
                let hint = error.hint();
                return report::fatal_with(&error.into(), Some(&hint));
            }
        }
    }
    // First, while this is the only thread: no core dump, no ptrace, no LD_* variables.
    let hardened =
        codex_process_hardening::harden().map_err(|error| StartError::from(error).into());
    match hardened.and_then(|hardened| run(Args::parse(), &hardened)) {
        Ok(code) => code,
        Err(error) => report::fatal_with(&error, commands::hint(&error).as_deref()),
    }
}

fn run(args: Args, hardened: &Hardened) -> anyhow::Result<ExitCode> {
    let Program::Proxy(proxy) = args.program;
    match proxy.verb {
        None => Ok(serve(proxy.serve, hardened)?),
        #[cfg(feature = "demo")]
        Some(Verb::Demo { json }) => demo::run(json, hardened).map(|()| ExitCode::SUCCESS),
        Some(Verb::Status(args)) => commands::status(args).map(code),
        Some(Verb::Log(args)) => commands::log(args).map(code),
        Some(Verb::Stop(args)) => commands::stop(args).map(code),
        Some(Verb::RotateKey(args)) => commands::rotate_key(args).map(code),
        Some(Verb::Point(args)) => commands::point(args).map(code),
        Some(Verb::Unpoint(args)) => commands::unpoint(args).map(code),
        Some(Verb::Doctor(args)) => commands::doctor(args).map(code),
        Some(Verb::RelinquishSudo(args)) => commands::relinquish_sudo(args).map(code),
        Some(Verb::Completion { shell }) => commands::completion(shell).map(code),
    }
}

fn code(end: End) -> ExitCode {
    match end {
        End::Done => ExitCode::SUCCESS,
        End::No => ExitCode::FAILURE,
        End::PathOpen => ExitCode::from(PATH_OPEN),
        End::Code(code) => ExitCode::from(code),
        End::Interrupted => ExitCode::from(INTERRUPTED),
    }
}
