//! What the proxy's users see, over real sockets: a story a file.
//!
//! Every test runs the real binary against the mock upstream. They wait for events; the time limits
//! in `support` only turn a hang into a failure.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod accounts;
mod both_ends;
mod client_gets_its_answer;
mod clients_come_and_go;
mod control_client;
mod control_socket;
mod dumps;
mod hostile_pages;
mod key_at_the_prompt;
mod key_sources;
mod key_stays_secret;
#[path = "../custody/keys.rs"]
mod keys;
mod leaving_early;
mod log_file;
mod no_secrets_kept;
mod operator_starts_and_stops;
mod providers;
mod real_browser;
mod records;
mod request_table;
mod start_that_fails;
mod support;
mod upstream_fails;
mod upstream_hops;

/// The stand-alone binary and the arguments before the flags.
const PROXY: (&str, &[&str]) = (env!("CARGO_BIN_EXE_codex-responses-api-proxy"), &[]);
