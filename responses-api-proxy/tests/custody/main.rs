//! The promise of this project, tried from outside: not even root reads the key out of a running proxy.
//!
//! A program of its own, because it looks through whole processes while hundreds of requests run. Its witness
//! is [`scanner`], which shows first that it finds a key where there is one.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod attacks;
#[path = "../stories/control_client.rs"]
#[expect(dead_code, reason = "the toolbox of all stories")]
mod control_client;
mod denied;
mod echo;
mod fallback;
mod hop;
mod huffman;
mod keys;
mod leaks;
mod memory;
mod process;
mod rotation;
mod scanner;
#[path = "../stories/support.rs"]
#[expect(dead_code, reason = "the toolbox of all stories")]
mod support;
mod the_end;
mod watched;

/// The stand-alone binary and the arguments before the flags.
const PROXY: (&str, &[&str]) = (env!("CARGO_BIN_EXE_codex-responses-api-proxy"), &[]);
