//! `codex-responses-api-proxy`: the proxy as a program of its own.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use codex_responses_api_proxy::{ServeArgs, StartError, report, serve};

/// What is freed is wiped: TLS's keys, prompts and answers have stood there. (The API key never does.) Blocks that C code
/// frees are its own affair.
#[global_allocator]
static ALLOCATOR: zeroizing_alloc::ZeroAlloc<std::alloc::System> =
    zeroizing_alloc::ZeroAlloc(std::alloc::System);

/// Lets programs on this machine use an OpenAI API key that they can't read
///
/// Reads the key from standard input, accepts exactly POST /v1/responses on 127.0.0.1, and forwards it
/// with the key to the upstream.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = codex_responses_api_proxy::AFTER_HELP
)]
struct Args {
    #[command(flatten)]
    serve: ServeArgs,
}

fn main() -> ExitCode {
    // First, while this is the only thread: no core dump, no ptrace, no LD_* variables.
    let hardened = codex_process_hardening::harden().map_err(StartError::from);
    match hardened.and_then(|hardened| serve(Args::parse().serve, &hardened)) {
        Ok(code) => code,
        Err(error) => report::fatal(&error.into()),
    }
}
