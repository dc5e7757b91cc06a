//! After the key was read, this process's own memory holds it once.
//!
//! Alone in its program, and with a key that is computed byte by byte: a literal, or a pattern to search
//! for, would be a copy itself.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use codex_key_custody::ApiKey;
use nix::unistd::{pipe, write};

const KEY_BYTES: usize = 164;

/// The key's byte at this place: letters in an order that nothing else has.
fn byte(place: usize) -> u8 {
    b'a' + u8::try_from((place * place * 7 + place * 3) % 26).unwrap()
}

#[test]
fn the_buffer_that_the_key_was_read_into_is_wiped() {
    let (input, output) = pipe().unwrap();
    for place in 0..KEY_BYTES {
        write(&output, &[byte(place)]).unwrap();
    }
    drop(output);
    let key = ApiKey::read(input.as_fd(), "").unwrap();

    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let memory = File::open("/proc/self/mem").unwrap();
    let mut copies = 0;
    let mut page = vec![0; 1 << 16];
    for line in maps.lines().filter(|line| line.contains(" rw") && !line.ends_with("[vvar]")) {
        let (begin, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let [mut at, end] = [begin, end].map(|digits| u64::from_str_radix(digits, 16).unwrap());
        while at < end {
            let want = page.len().min(usize::try_from(end - at).unwrap());
            let Ok(count) = memory.read_at(&mut page[..want], at) else { break };
            let is_key = |place: usize| (0..KEY_BYTES).all(|next| page[place + next] == byte(next));
            copies += (0..count.saturating_sub(KEY_BYTES)).filter(|place| is_key(*place)).count();
            page.fill(0); // Or the next round would find this buffer's own copy.
            if count <= KEY_BYTES {
                break;
            }
            at += (count - KEY_BYTES) as u64;
        }
    }
    assert_eq!(copies, 1);
    assert!(key.authorization().is_sensitive());
}
