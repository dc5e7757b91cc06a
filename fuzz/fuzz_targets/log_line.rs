#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| codex_request_log::properties::log_line(bytes));
