//! gzip (RFC 1952) and Brotli (RFC 7932), in memory that is bounded: windows of 32 KiB, and of 16 MiB at most.

use std::io::Write;

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::write::MultiGzDecoder;

use super::coding::{Decode, Decoded, Halt};

/// Brotli's bytes come out in pieces of this size.
const OUTPUT_BYTES: usize = 16_384;

/// A decoder for gzip. One call of its `write` leaves 64 KiB at most in the buffer behind it.
pub(super) fn gzip() -> MultiGzDecoder<Vec<u8>> {
    MultiGzDecoder::new(Vec::new())
}

impl Decode for MultiGzDecoder<Vec<u8>> {
    fn decode(&mut self, mut piece: &[u8], decoded: &mut Decoded<'_>) -> Result<(), Halt> {
        while !piece.is_empty() {
            let taken_bytes = self.write(piece).map_err(|_| Halt::Spoilt)?;
            if taken_bytes == 0 {
                return Err(Halt::Spoilt);
            }
            piece = &piece[taken_bytes..];
            hand_on(self.get_mut(), decoded)?;
        }
        self.flush().map_err(|_| Halt::Spoilt)?;
        hand_on(self.get_mut(), decoded)
    }
}

fn hand_on(output: &mut Vec<u8>, decoded: &mut Decoded<'_>) -> Result<(), Halt> {
    let result = decoded.take(output);
    output.clear();
    result
}

/// A decoder for Brotli.
pub(super) struct Brotli {
    state: BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    output: Vec<u8>,
    total_bytes: usize,
}

impl Brotli {
    pub(super) fn new() -> Self {
        // Strict: windows of up to 16 MiB, and none of the large ones that the standard does not have.
        let [bytes, numbers, codes] = [StandardAlloc::default(); 3];
        let state = BrotliState::new_strict(bytes, numbers, codes);
        Self { state, output: vec![0; OUTPUT_BYTES], total_bytes: 0 }
    }
}

impl Decode for Brotli {
    fn decode(&mut self, piece: &[u8], decoded: &mut Decoded<'_>) -> Result<(), Halt> {
        let (mut input_bytes, mut input_at) = (piece.len(), 0);
        loop {
            let (mut room_bytes, mut output_at) = (self.output.len(), 0);
            let result = BrotliDecompressStream(
                &mut input_bytes,
                &mut input_at,
                piece,
                &mut room_bytes,
                &mut output_at,
                &mut self.output,
                &mut self.total_bytes,
                &mut self.state,
            );
            decoded.take(&self.output[..output_at])?;
            match result {
                BrotliResult::ResultSuccess => return Err(Halt::Over),
                BrotliResult::ResultFailure => return Err(Halt::Spoilt),
                // It asks for input as soon as it has used up its own, even when it could not write all.
                BrotliResult::NeedsMoreInput if room_bytes > 0 => return Ok(()),
                BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => {}
            }
        }
    }
}
