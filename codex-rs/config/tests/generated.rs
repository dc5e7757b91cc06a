//! Two thousand configurations made of odd pieces at random: each keeps every byte.
//!
//! The same ones each time. A failure names the seed of its document.

#[path = "generated/chance.rs"]
mod chance;
#[path = "generated/document.rs"]
mod document;
#[path = "../src/properties.rs"]
pub mod properties;

use std::panic::catch_unwind;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread;

// For `properties`, which is a module of the crate itself elsewhere.
use codex_config::{PROVIDER, PROVIDER_NAME, edit};

const DOCUMENTS: u64 = 2_000;
const THREADS: usize = 2;

#[test]
fn no_generated_document_loses_a_byte() {
    let (next, pointed) = (AtomicU64::new(1), AtomicUsize::new(0));
    let try_all = || {
        loop {
            let seed = next.fetch_add(1, Relaxed);
            if seed > DOCUMENTS {
                return;
            }
            let text = document::generate(seed);
            let broken = catch_unwind(|| properties::edits_lose_nothing(text.as_bytes())).is_err();
            assert!(!broken, "the document of seed {seed}:\n{text}");
            let is_pointed = edit::point(Some(&text), "http://127.0.0.1:4000/v1").is_ok();
            pointed.fetch_add(usize::from(is_pointed), Relaxed);
        }
    };
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(try_all);
        }
    });
    // Else they prove little.
    let pointed = pointed.into_inner();
    assert!(pointed > 1_500, "only {pointed} of {DOCUMENTS} could be pointed");
}

#[test]
fn a_seed_makes_one_document_and_each_another() {
    let documents: Vec<String> = (1..=100).map(document::generate).collect();
    assert_eq!(documents, (1..=100).map(document::generate).collect::<Vec<_>>());
    for (at, one) in documents.iter().enumerate() {
        assert!(!documents[at + 1..].contains(one) || one.len() < 100, "{one:?}");
    }
}

#[test]
fn they_hold_what_is_hard_to_edit() {
    let documents: Vec<String> = (1..=DOCUMENTS).map(document::generate).collect();
    let count = |has: fn(&String) -> bool| documents.iter().filter(|text| has(text)).count();
    let at_least_a_tenth = [
        ("a byte order mark", count(|text| text.starts_with('\u{feff}'))),
        ("lines that end as in DOS", count(|text| text.contains("\r\n"))),
        ("no newline at the end", count(|text| !text.ends_with('\n'))),
        ("a selector", count(|text| text.contains("azure\""))),
        ("strings of several lines", count(|text| text.contains("\"\"\""))),
        ("arrays of tables", count(|text| text.contains("[["))),
        ("our marks", count(|text| text.contains("#openai-proxy# "))),
        ("providers", count(|text| text.contains("model_providers"))),
    ];
    for (what, count) in at_least_a_tenth {
        assert!(count >= documents.len() / 10, "{what}: {count}");
    }
    // Nothing of ours, in any of them: so all of the property is tried.
    assert!(!documents.iter().any(|text| text.contains(PROVIDER_NAME)));
    assert!(documents.iter().any(|text| text.contains(PROVIDER)));
}
