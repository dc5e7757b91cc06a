//! `mlock(2)`: keeps the key's pages out of swap.
#![expect(unsafe_code, reason = "nix's mlock is an unsafe function")]

use std::ptr::NonNull;

use nix::sys::mman;

/// Pins the pages that `bytes` lies in. They stay pinned until the process ends.
pub(crate) fn lock(bytes: &mut [u8]) -> nix::Result<()> {
    let length = bytes.len();
    let start = NonNull::from(bytes).cast();
    // SAFETY: `start` and `length` name one live slice that was borrowed exclusively, and mlock(2)
    // neither reads, writes nor frees the pages that it pins.
    unsafe { mman::mlock(start, length) }
}
