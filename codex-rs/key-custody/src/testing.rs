//! What unit tests and properties share: keys, and a stream that takes a part at a time.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;

use nix::unistd;

use crate::{ApiKey, KeyInput, KeyedHeads};

/// A key that came the way that every key comes: through a pipe, which must hold it whole.
pub(crate) fn key(key: &str) -> ApiKey {
    let read = unistd::pipe().map(|(input, output)| {
        assert_eq!(unistd::write(&output, key.as_bytes()), Ok(key.len()));
        drop(output);
        ApiKey::read(KeyInput::of(input.as_fd()))
    });
    match read {
        Ok(Ok(key)) => key,
        other => panic!("no key: {other:?}"),
    }
}

/// What arrives of some pieces by a stream that takes so many bytes at once.
pub(crate) fn arrived(
    heads: &mut KeyedHeads,
    pieces: &[&[u8]],
    at_once: usize,
) -> io::Result<Vec<u8>> {
    let mut offered: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    let mut left = &mut offered[..];
    let mut arrived: Vec<u8> = Vec::new();
    while !left.is_empty() {
        let before = arrived.len();
        let outgoing = heads.outgoing(left)?;
        arrived.extend(outgoing.iter().flat_map(|piece| piece.iter()).take(at_once));
        drop(outgoing);
        let taken = heads.written(left, arrived.len() - before);
        IoSlice::advance_slices(&mut left, taken); // Panics beyond the end.
    }
    Ok(arrived)
}
