#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| codex_peer_identity::properties::peer_answer(bytes));
