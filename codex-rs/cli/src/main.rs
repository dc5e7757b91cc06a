//! `codex`: the multitool of the key guard.
//!
//! It chooses what runs and nothing else: the proxy is `codex-responses-api-proxy`, here and in the
//! binary of that name, and each verb beside it has a module of its own.
#![forbid(unsafe_code)]

mod args;
#[cfg(feature = "demo")]
mod demo;

use std::process::ExitCode;

use args::{Args, Program};
use clap::Parser;
use codex_process_hardening::Hardened;
use codex_responses_api_proxy::{StartError, report, serve};

fn main() -> ExitCode {
    // First, while this is the only thread: no core dump, no ptrace, no LD_* variables.
    let hardened =
        codex_process_hardening::harden().map_err(|error| StartError::from(error).into());
    match hardened.and_then(|hardened| run(Args::parse(), &hardened)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report::fatal(&error),
    }
}

fn run(args: Args, hardened: &Hardened) -> anyhow::Result<()> {
    let Program::Proxy(proxy) = args.program;
    match proxy.verb {
        None => Ok(serve(proxy.serve, hardened)?),
        #[cfg(feature = "demo")]
        Some(args::Verb::Demo { json }) => demo::run(json, hardened),
    }
}
