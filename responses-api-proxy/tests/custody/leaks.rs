//! Finds a key, or a part of one, in what somebody got to see.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use crate::keys::random_key;
use crate::scanner::{Form, texts};

/// A run of so many bytes of a key is a leak.
const RUN_BYTES: usize = 8;
/// So many characters are of such a run alone: in base64 wherever it begins in a group of three bytes.
const BASE64_CHARACTERS: usize = RUN_BYTES * 8 / 6;
const HEX_DIGITS: usize = RUN_BYTES * 2;

/// Every run of a key's bytes, as it is, in base64 and in hexadecimal digits.
pub(crate) struct Leaks {
    /// By their first two bytes, which few places in a text have.
    runs: HashMap<[u8; 2], Vec<Vec<u8>>>,
    begins: Vec<bool>,
}

impl Leaks {
    pub(crate) fn of(key: &str) -> Self {
        let mut leaks = Self { runs: HashMap::new(), begins: vec![false; 1 << 16] };
        for (form, text) in texts(key.as_bytes()) {
            leaks.add(text.windows(match form {
                Form::Plain => RUN_BYTES,
                Form::Base64 | Form::Base64Url => BASE64_CHARACTERS,
                _ => HEX_DIGITS,
            }));
        }
        leaks
    }

    fn add<'key>(&mut self, runs: impl Iterator<Item = &'key [u8]>) {
        for run in runs {
            let begin = [run[0], run[1]];
            self.begins[usize::from(u16::from_be_bytes(begin))] = true;
            self.runs.entry(begin).or_default().push(run.to_vec());
        }
    }

    /// Where the first one is.
    pub(crate) fn find(&self, bytes: &[u8]) -> Option<usize> {
        bytes.windows(2).enumerate().find_map(|(at, begin)| {
            let begin = [begin[0], begin[1]];
            let may_be = self.begins[usize::from(u16::from_be_bytes(begin))];
            let is_one = |run: &Vec<u8>| bytes[at..].starts_with(run);
            (may_be && self.runs[&begin].iter().any(is_one)).then_some(at)
        })
    }
}

#[test]
fn a_part_of_a_key_is_found_however_it_is_written() {
    let key = random_key(48);
    let leaks = Leaks::of(&key);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02X}")).collect::<String>();
    for start in 0..key.len() - RUN_BYTES {
        let run = &key[start..start + RUN_BYTES];
        for before in ["", "?", "??", "???"] {
            let around = format!("{before}{run}?");
            assert_eq!(leaks.find(around.as_bytes()), Some(before.len()));
            assert!(leaks.find(STANDARD_NO_PAD.encode(&around).as_bytes()).is_some(), "{around}");
            assert!(leaks.find(URL_SAFE_NO_PAD.encode(&around).as_bytes()).is_some(), "{around}");
            assert!(leaks.find(hex(around.as_bytes()).as_bytes()).is_some(), "{around}");
        }
        let less = format!("?{}?", &run[..RUN_BYTES - 1]);
        assert_eq!(leaks.find(less.as_bytes()), None);
    }
}
