//! What the users of `codex` see: a story a file, with the real programs wherever there are any.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod architecture;
mod codex_is_metered;
mod codex_meets_failures;
mod codex_process;
mod codex_texts;
mod daemon;
mod demo_shows_the_whole_path;
mod doctor;
mod hand_over;
#[path = "../../../../responses-api-proxy/tests/custody/keys.rs"]
mod keys;
mod multitool;
mod point;
mod pointed_codex;
mod private_namespace;
mod real_codex;
mod recipe_with_sudo;
mod relinquish;
mod start_texts;
#[path = "../../../../responses-api-proxy/tests/stories/support.rs"]
#[allow(dead_code, reason = "shared with the proxy's own stories, which use all of it")]
mod support;
mod verbs;

/// The proxy inside the multitool, and the arguments before its flags.
const PROXY: (&str, &[&str]) = (env!("CARGO_BIN_EXE_codex"), &["responses-api-proxy"]);
