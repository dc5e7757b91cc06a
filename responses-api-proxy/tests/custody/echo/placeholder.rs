//! What stands for the key in the proxy's memory, read as only root can.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use memchr::memmem;

use crate::process::{Stopped, mappings};
use crate::support::text;

/// So much is read at once, and so much of it a second time with what follows.
const STEP_BYTES: u64 = 1 << 20;
const OVERLAP_BYTES: u64 = 8 << 10;
/// The most frequent ones.
const MOST: usize = 4;

/// How long what stands for a key is, whatever the key.
pub(super) const PLACEHOLDER_BYTES: usize = 43;

/// What most likely stands for the key.
pub(super) fn candidates(pid: u32, key: &str) -> Vec<String> {
    let mut found: Vec<(String, usize)> = all(pid, key).into_iter().collect();
    found.sort_by_key(|(_, times)| std::cmp::Reverse(*times));
    found.into_iter().take(MOST).map(|(candidate, _)| candidate).collect()
}

/// What follows the words that stand before a key, is made of a placeholder's characters, and is not the key;
/// and how often it is there. The process stands still meanwhile.
pub(super) fn all(pid: u32, key: &str) -> HashMap<String, usize> {
    let _stopped = Stopped::stop(pid);
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut found: HashMap<String, usize> = HashMap::new();
    for mapping in mappings(pid) {
        if !mapping.permissions.starts_with('r') {
            continue;
        }
        let mut at = mapping.addresses.start;
        while at < mapping.addresses.end {
            let wanted = (mapping.addresses.end - at).min(STEP_BYTES + OVERLAP_BYTES);
            let mut bytes = vec![0; usize::try_from(wanted).unwrap()];
            // What can't be read, not even by root, is the kernel's, a secret page, or gone meanwhile.
            let count = memory.read_at(&mut bytes, at).unwrap_or(0);
            for placeholder in placeholders(&bytes[..count]) {
                *found.entry(placeholder).or_default() += 1;
            }
            at += STEP_BYTES;
        }
    }
    found.retain(|candidate, _| !key.starts_with(candidate.as_str()));
    found
}

/// In a head a line end follows. A field's value that is still to be written ends with its memory, and anything
/// may follow.
fn placeholders(bytes: &[u8]) -> impl Iterator<Item = String> {
    ["Bearer ", "api-key: "].into_iter().flat_map(move |before| {
        memmem::find_iter(bytes, before).filter_map(move |place| {
            let value = &bytes[place + before.len()..];
            let length = value.iter().take_while(|byte| is_of_a_placeholder(**byte)).count();
            (length >= PLACEHOLDER_BYTES).then(|| text(&value[..PLACEHOLDER_BYTES]))
        })
    })
}

fn is_of_a_placeholder(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}
