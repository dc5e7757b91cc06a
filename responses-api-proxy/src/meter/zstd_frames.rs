//! Zstandard (RFC 8878), in memory that is bounded: a window of 8 MiB, which is what RFC 9659 allows, and a block.
//!
//! The decoder behind this takes whole blocks, so one is held back until it is complete. It shows bytes only once
//! its window is full or the frame has ended: a meter learns all, but late.

use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::coding::{Decode, Decoded, Halt};

const WINDOW_LIMIT_BYTES: u64 = 8 << 20;

/// Section 3.1.1.2.4: no block is larger, neither before nor after.
const BLOCK_LIMIT_BYTES: usize = 128 << 10;

const BLOCK_HEADER_BYTES: usize = 3;

/// The kind of block that is one byte, many times.
const REPEATED_BYTE: u32 = 1;

/// A decoder for frames, one after the other.
pub(super) struct ZstdFrames {
    decoder: FrameDecoder,
    /// The beginning of what comes next.
    held: Vec<u8>,
    next: Next,
}

enum Next {
    FrameHeader,
    /// A block, and then a checksum if it is the last one and there is one.
    Block {
        has_checksum: bool,
    },
    /// So many bytes that are nothing to a decoder.
    Skipped(u64),
}

impl ZstdFrames {
    pub(super) fn new() -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(WINDOW_LIMIT_BYTES);
        Self { decoder, held: Vec::new(), next: Next::FrameHeader }
    }

    /// How many bytes are to be held before something can be done; more may turn out to be needed then.
    fn needed_bytes(&self) -> Result<usize, Halt> {
        match self.next {
            Next::FrameHeader => frame_header_bytes(&self.held),
            Next::Block { has_checksum } => block_bytes(&self.held, has_checksum),
            Next::Skipped(_) => Ok(0),
        }
    }

    /// What is held is complete: decodes it.
    fn advance(&mut self, decoded: &mut Decoded<'_>) -> Result<(), Halt> {
        self.next = match self.next {
            Next::FrameHeader => match skipped_bytes(&self.held) {
                Some(bytes) => Next::Skipped(bytes),
                None => {
                    self.decoder.reset(self.held.as_slice()).map_err(|_| Halt::Spoilt)?;
                    Next::Block { has_checksum: self.held[MAGIC_BYTES] & CHECKSUM_FLAG != 0 }
                }
            },
            Next::Block { has_checksum } => {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                let is_last = self.decoder.decode_blocks(self.held.as_slice(), one);
                let is_last = is_last.map_err(|_| Halt::Spoilt)?;
                self.decoder.collect_to_writer(decoded).map_err(|_| Halt::Full)?;
                if is_last { Next::FrameHeader } else { Next::Block { has_checksum } }
            }
            Next::Skipped(_) => Next::FrameHeader,
        };
        self.held.clear();
        Ok(())
    }
}

impl Decode for ZstdFrames {
    fn decode(&mut self, mut piece: &[u8], decoded: &mut Decoded<'_>) -> Result<(), Halt> {
        while !piece.is_empty() {
            if let Next::Skipped(left_bytes) = &mut self.next {
                let skipped = usize::try_from(*left_bytes).unwrap_or(usize::MAX).min(piece.len());
                *left_bytes -= skipped as u64;
                piece = &piece[skipped..];
                if *left_bytes == 0 {
                    self.next = Next::FrameHeader;
                }
                continue;
            }
            let missing_bytes = self.needed_bytes()? - self.held.len();
            let (taken, rest) = piece.split_at(missing_bytes.min(piece.len()));
            self.held.extend_from_slice(taken);
            piece = rest;
            if self.held.len() == self.needed_bytes()? {
                self.advance(decoded)?;
            }
        }
        Ok(())
    }
}

const MAGIC_BYTES: usize = 4;
const MAGIC: u32 = 0xfd2f_b528;

/// Of the byte after the magic number (section 3.1.1.1.1).
const CHECKSUM_FLAG: u8 = 1 << 2;
const SINGLE_SEGMENT_FLAG: u8 = 1 << 5;

/// How long a frame's header is, as far as it can be said by now (sections 3.1.1.1 and 3.1.2).
fn frame_header_bytes(held: &[u8]) -> Result<usize, Halt> {
    let Some((magic, rest)) = held.split_first_chunk() else { return Ok(MAGIC_BYTES) };
    let magic = u32::from_le_bytes(*magic);
    if is_skippable(magic) {
        return Ok(MAGIC_BYTES + 4);
    }
    if magic != MAGIC {
        return Err(Halt::Spoilt);
    }
    let Some(descriptor) = rest.first() else { return Ok(MAGIC_BYTES + 1) };
    let is_single_segment = descriptor & SINGLE_SEGMENT_FLAG != 0;
    let dictionary_bytes = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let content_size_bytes = match descriptor >> 6 {
        0 => usize::from(is_single_segment),
        1 => 2,
        2 => 4,
        _ => 8,
    };
    let window_bytes = usize::from(!is_single_segment);
    Ok(MAGIC_BYTES + 1 + window_bytes + dictionary_bytes + content_size_bytes)
}

/// How much follows the header of a frame that is to be skipped; None for all others.
fn skipped_bytes(header: &[u8]) -> Option<u64> {
    let (magic, rest) = header.split_first_chunk()?;
    let (size, _) = rest.split_first_chunk()?;
    is_skippable(u32::from_le_bytes(*magic)).then(|| u32::from_le_bytes(*size).into())
}

fn is_skippable(magic: u32) -> bool {
    magic & 0xffff_fff0 == 0x184d_2a50
}

/// How long a block is, as far as it can be said by now (section 3.1.1.2).
fn block_bytes(held: &[u8], has_checksum: bool) -> Result<usize, Halt> {
    let &[first, second, third, ..] = held else { return Ok(BLOCK_HEADER_BYTES) };
    let header = u32::from_le_bytes([first, second, third, 0]);
    let (is_last, kind, size) = (header & 1 == 1, (header >> 1) & 3, (header >> 3) as usize);
    if size > BLOCK_LIMIT_BYTES {
        return Err(Halt::Spoilt);
    }
    let content_bytes = if kind == REPEATED_BYTE { 1 } else { size };
    let checksum_bytes = if is_last && has_checksum { 4 } else { 0 };
    Ok(BLOCK_HEADER_BYTES + content_bytes + checksum_bytes)
}
