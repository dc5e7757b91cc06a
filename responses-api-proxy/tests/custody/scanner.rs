//! The witness: looks through all memory of a process for a key, in every form that we know of.
//!
//! **Where.** `/proc/PID/mem`, at every mapping of `/proc/PID/maps`, from its first byte to its last, also
//! those that the process itself may not read: root may. The process stands still meanwhile. Mappings that
//! the kernel does not hand out are returned, and [`Scan::assert_whole`] lets nothing pass but those that
//! hold no process's data and the one that is made to be closed.
//!
//! **What.** The key as it is; in base64, standard and URL-safe, at each of its three alignments; in
//! hexadecimal digits, lower and upper; in HPACK's Huffman code, at each of its eight, and so after `Bearer `
//! or anything else. Of each form any [`SHORTEST`] bytes in a row are a find, however much is missing around
//! them.
//!
//! **How.** A run of 15 bytes or more, wherever it begins, covers a whole word of 8 bytes whose address is a
//! multiple of 8. So it is enough to take each such word of memory once and to ask whether it occurs anywhere
//! in any form. A word that does is no find yet: it is extended to both sides as far as memory and form
//! agree, and what is long enough counts. Finds that overlap are one copy.
//!
//! **What it does not see.** A form that is not listed: encrypted, compressed, or cut into pieces of fewer
//! than 16 bytes.
//!
//! Nothing here prints a byte of a key, so that a failing test can say all that it knows.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use nix::unistd::geteuid;

use crate::huffman;
use crate::process::{Mapping, Stopped, mappings};

mod controls;

/// The fewest bytes of a form that count as a find.
pub(crate) const SHORTEST: usize = 16;

const PAGE_BYTES: usize = 4_096;
const NOTHING: [u8; PAGE_BYTES] = [0; PAGE_BYTES];

/// How much is read at once.
const PIECE_BYTES: u64 = 1 << 20;

/// Why no process can be looked through here.
pub(crate) fn cannot_scan() -> Option<&'static str> {
    let missing = "it reads another process's memory: run the tests as root";
    (!geteuid().is_root()).then_some(missing)
}

/// How a key is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Plain,
    Base64,
    Base64Url,
    HexLower,
    HexUpper,
    Huffman,
}

/// A key in one form: the bytes that it alone decides, whatever stands around it.
struct Written {
    key: usize,
    form: Form,
    bytes: Vec<u8>,
}

/// The forms that are text again.
pub(crate) fn texts(key: &[u8]) -> Vec<(Form, Vec<u8>)> {
    let hex = |digits: &[u8; 16]| -> Vec<u8> {
        key.iter()
            .flat_map(|byte| [byte >> 4, byte & 15])
            .map(|nibble| digits[usize::from(nibble)])
            .collect()
    };
    let mut forms = vec![
        (Form::Plain, key.to_vec()),
        (Form::HexLower, hex(b"0123456789abcdef")),
        (Form::HexUpper, hex(b"0123456789ABCDEF")),
    ];
    // Of three bytes, base64 makes four characters. `others` bytes before the key share the first ones.
    for (others, mixed) in [(0, 0), (1, 2), (2, 3)] {
        let text = [&NOTHING[..others], key].concat();
        let whole = mixed..text.len() * 8 / 6;
        for (form, encoded) in [
            (Form::Base64, STANDARD_NO_PAD.encode(&text)),
            (Form::Base64Url, URL_SAFE_NO_PAD.encode(&text)),
        ] {
            forms.push((form, encoded.as_bytes()[whole.clone()].to_vec()));
        }
    }
    forms
}

fn written(key: &[u8]) -> Vec<(Form, Vec<u8>)> {
    let mut forms = texts(key);
    forms.extend((0..8).map(|shift| (Form::Huffman, huffman::inner_bytes(key, shift))));
    forms
}

/// A copy of a key, or of a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Which of the scanner's keys.
    pub(crate) key: usize,
    pub(crate) form: Form,
    /// Where it begins, in bytes.
    pub(crate) offset: usize,
    /// How long it is as it is written there, in bytes.
    pub(crate) length: usize,
}

impl Found {
    fn end(&self) -> usize {
        self.offset + self.length
    }
}

/// Looks for some keys, all at once.
pub(crate) struct Scanner {
    forms: Vec<Written>,
    /// Every 8 bytes in a row of every form: in which forms they occur, and where in them.
    words: HashMap<u64, Vec<(usize, usize)>>,
    /// A bit for each of those words. Nearly all memory is told apart by it, without a look into the table.
    filter: Vec<u64>,
    /// What is read again at the edges of a piece: nothing that is looked for is longer.
    overlap_bytes: u64,
}

impl Scanner {
    /// A scanner for these keys of at least [`SHORTEST`] bytes.
    pub(crate) fn of(keys: &[&str]) -> Self {
        let mut forms: Vec<Written> = Vec::new();
        for (key, text) in keys.iter().enumerate() {
            assert!(
                text.len() >= SHORTEST,
                "a key of {} bytes is too short to be told",
                text.len()
            );
            for (form, bytes) in written(text.as_bytes()) {
                // A key without `+` or `/`, say, looks the same in both kinds of base64.
                let is_new = !forms.iter().any(|known| known.key == key && known.bytes == bytes);
                if is_new && bytes.len() >= SHORTEST {
                    forms.push(Written { key, form, bytes });
                }
            }
        }
        let mut words: HashMap<u64, Vec<(usize, usize)>> = HashMap::new();
        let mut filter = vec![0; FILTER_WORDS];
        for (form, written) in forms.iter().enumerate() {
            for (place, word) in written.bytes.windows(8).enumerate() {
                let word = u64::from_le_bytes(word.try_into().unwrap());
                let (slot, bit) = filter_bit(word);
                filter[slot] |= bit;
                words.entry(word).or_default().push((form, place));
            }
        }
        let longest = forms.iter().map(|written| written.bytes.len()).max().unwrap_or(0);
        let overlap_bytes = longest.next_multiple_of(PAGE_BYTES) as u64;
        Self { forms, words, filter, overlap_bytes }
    }

    /// Looks through all memory of a process, which stands still meanwhile.
    pub(crate) fn scan(&self, pid: u32) -> Scan {
        let _stopped = Stopped::stop(pid);
        self.scan_standing(pid)
    }

    /// The same of a process that stands still already.
    pub(crate) fn scan_standing(&self, pid: u32) -> Scan {
        let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
        let mut scan = Scan { found: Vec::new(), read: Vec::new(), closed: Vec::new() };
        for mapping in mappings(pid) {
            match self.scan_mapping(&memory, &mapping) {
                Ok(found) => {
                    scan.found.extend(found.into_iter().map(|found| (mapping.clone(), found)));
                    scan.read.push(mapping);
                }
                Err(_) => scan.closed.push(mapping),
            }
        }
        scan
    }

    /// Offsets are those in the mapping. Fails if any byte of it can't be read.
    fn scan_mapping(&self, memory: &File, mapping: &Mapping) -> std::io::Result<Vec<Found>> {
        let (start, end) = (mapping.addresses.start, mapping.addresses.end);
        let (mut found, mut piece) = (Vec::new(), Vec::new());
        let mut next = start;
        while next < end {
            let from = next.saturating_sub(self.overlap_bytes).max(start);
            next = next.saturating_add(PIECE_BYTES);
            let to = next.saturating_add(self.overlap_bytes).min(end);
            piece.resize(usize::try_from(to - from).unwrap(), 0);
            memory.read_exact_at(&mut piece, from)?;
            let before = usize::try_from(from - start).unwrap();
            let here = self.search(&piece).into_iter();
            found.extend(here.map(|found| Found { offset: before + found.offset, ..found }));
        }
        Ok(merged(found))
    }

    /// Looks through bytes of any kind.
    pub(crate) fn search(&self, bytes: &[u8]) -> Vec<Found> {
        let mut found = Vec::new();
        for (number, page) in bytes.chunks(PAGE_BYTES).enumerate() {
            if page == &NOTHING[..page.len()] {
                continue; // Most of a process's memory is untouched.
            }
            for (place, word) in page.as_chunks::<8>().0.iter().enumerate() {
                let word = u64::from_le_bytes(*word);
                let (slot, bit) = filter_bit(word);
                if self.filter[slot] & bit != 0
                    && let Some(places) = self.words.get(&word)
                {
                    let at = number * PAGE_BYTES + place * 8;
                    found
                        .extend(places.iter().filter_map(|place| self.extended(bytes, at, *place)));
                }
            }
        }
        merged(found)
    }

    /// How far memory and form agree around a word that they have in common; nothing if not far enough.
    fn extended(&self, bytes: &[u8], at: usize, (form, place): (usize, usize)) -> Option<Found> {
        let Written { key, form, bytes: written } = &self.forms[form];
        let before = bytes[..at].iter().rev().zip(written[..place].iter().rev());
        let after = bytes[at..].iter().zip(&written[place..]);
        let before = before.take_while(|(found, written)| found == written).count();
        let after = after.take_while(|(found, written)| found == written).count();
        let length = before + after;
        let found = Found { key: *key, form: *form, offset: at - before, length };
        (length >= SHORTEST).then_some(found)
    }
}

/// 128 KiB: with two long keys, about one word in two hundred gets through without being one.
const FILTER_WORDS: usize = 1 << 14;

/// Where a word has its bit. (The multiplier is 2^64 divided by the golden ratio, which spreads any words
/// well: Knuth, volume 3, 6.4.)
fn filter_bit(word: u64) -> (usize, u64) {
    let bit = word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - 20);
    ((bit / 64) as usize, 1 << (bit % 64))
}

/// Finds of one key that overlap are one copy, in the form that has most of it.
fn merged(mut found: Vec<Found>) -> Vec<Found> {
    found.sort_by_key(|found| (found.key, found.offset));
    let mut copies: Vec<Found> = Vec::new();
    for next in found {
        match copies.last_mut() {
            Some(last) if last.key == next.key && next.offset < last.end() => {
                if next.length > last.length {
                    last.form = next.form;
                }
                last.length = last.end().max(next.end()) - last.offset;
            }
            _ => copies.push(next),
        }
    }
    copies
}

/// What was found in a process.
#[derive(Debug)]
pub(crate) struct Scan {
    /// The copies, and the mappings that they stand in.
    pub(crate) found: Vec<(Mapping, Found)>,
    /// What was looked through.
    pub(crate) read: Vec<Mapping>,
    /// What the kernel did not hand out.
    pub(crate) closed: Vec<Mapping>,
}

impl Scan {
    /// The copies of one of the scanner's keys.
    pub(crate) fn copies_of(&self, key: usize) -> Vec<&(Mapping, Found)> {
        self.found.iter().filter(|(_, found)| found.key == key).collect()
    }

    /// Checks that nothing was left out that could hold a readable copy: what is closed is the kernel's own
    /// clock pages and entry points, memory that memfd_secret(2) made, or, where the kernel is set up that
    /// strictly, what the process itself may not read.
    pub(crate) fn assert_whole(&self) {
        for mapping in &self.closed {
            let name = mapping.name.as_str();
            let is_kernels = name == "[vsyscall]" || name.starts_with("[vvar");
            let is_readable = mapping.permissions.starts_with('r');
            let may_be_closed = is_kernels || name == SECRET_MEMORY || !is_readable;
            assert!(may_be_closed, "{mapping} can't be read");
        }
        for name in ["[heap]", "[stack]"] {
            let was_read = self.read.iter().any(|mapping| mapping.name == name);
            assert!(was_read, "{name} is not among what was read: {:?}", self.read);
        }
    }
}

/// What maps calls memory of memfd_secret(2).
pub(crate) const SECRET_MEMORY: &str = "/secretmem (deleted)";

impl fmt::Display for Scan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} copies", self.found.len())?;
        for (mapping, Found { key, form, offset, length }) in &self.found {
            write!(
                formatter,
                "\n  key {key}, {form:?}: {length} bytes at {offset:#x} of {mapping}"
            )?;
        }
        Ok(())
    }
}
