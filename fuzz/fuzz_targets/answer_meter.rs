#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| codex_responses_api_proxy::properties::answer_meter(bytes));
