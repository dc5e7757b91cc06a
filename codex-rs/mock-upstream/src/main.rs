//! `codex-mock-upstream`: the mock as a program, for benches and for trying things by hand.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use codex_mock_upstream::{Certificate, MockUpstream, Options, Scenario};

/// A Responses API on 127.0.0.1, to test and bench against
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// The port; without it, one that is free
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    port: u16,
    /// Speak TLS and write the authority to trust, in PEM, to this file
    #[arg(long, value_name = "FILE")]
    tls_authority: Option<PathBuf>,
    /// The certificate to show
    #[arg(long, value_name = "KIND", value_enum, default_value_t, requires = "tls_authority")]
    certificate: Certificate,
    /// Answer 401 to any bearer but the key in this file
    #[arg(long, value_name = "FILE")]
    expected_key: Option<PathBuf>,
    /// How to answer
    #[arg(long, value_name = "SCENARIO", default_value = "turn", help = format!("How to answer: {}", Scenario::WORDS))]
    scenario: Scenario,
}

#[tokio::main]
#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a tool: its output is its interface"
)]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(mock) => {
            println!("{}", mock.responses_url());
            let _ = tokio::signal::ctrl_c().await;
            eprintln!("{:?}", mock.counts());
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<MockUpstream, String> {
    let expected_key = match &args.expected_key {
        None => None,
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| format!("{} could not be read: {error}", path.display()))?;
            Some(text.trim_end().to_owned())
        }
    };
    let options = Options {
        port: args.port,
        tls: args.tls_authority.is_some(),
        certificate: args.certificate,
        expected_key,
        scenario: args.scenario,
    };
    let mock = MockUpstream::start(options).await.map_err(|error| chain(&error))?;
    if let (Some(path), Some(pem)) = (&args.tls_authority, mock.authority_pem()) {
        std::fs::write(path, pem)
            .map_err(|error| format!("{} could not be written: {error}", path.display()))?;
    }
    Ok(mock)
}

/// An error and its causes.
fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", chain(cause)),
        None => error.to_string(),
    }
}
