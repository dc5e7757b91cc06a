#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| codex_proxy_client::properties::records_query(bytes));
