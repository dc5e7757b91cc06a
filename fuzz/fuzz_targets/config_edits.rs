#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| codex_config::properties::edits_lose_nothing(bytes));
