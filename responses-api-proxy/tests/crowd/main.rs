//! A thousand good clients and two hundred bad ones, alone: the other stories want the processor too.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod crowd;
mod misdeeds;
#[path = "../stories/support.rs"]
#[expect(dead_code, reason = "the toolbox of all stories")]
mod support;
mod upstream;

/// The stand-alone binary and the arguments before the flags.
const PROXY: (&str, &[&str]) = (env!("CARGO_BIN_EXE_codex-responses-api-proxy"), &[]);
