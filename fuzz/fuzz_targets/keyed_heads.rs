#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| codex_key_custody::properties::keyed_heads(bytes));
