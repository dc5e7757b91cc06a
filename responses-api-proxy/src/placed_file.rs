//! A file that is ours to take away, as long as it is still the one that we put there.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Dropped, it removes the file, unless another has taken its place.
#[derive(Debug)]
pub(crate) struct PlacedFile {
    pub(crate) path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl PlacedFile {
    /// The file with these facts, which stands at `path`.
    pub(crate) fn new(path: PathBuf, facts: &Metadata) -> Self {
        Self { path, identity: (facts.dev(), facts.ino()) }
    }
}

impl PlacedFile {
    /// It is to stay.
    pub(crate) fn leave(self) {
        std::mem::forget(self);
    }
}

impl Drop for PlacedFile {
    fn drop(&mut self) {
        let still_ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|facts| (facts.dev(), facts.ino()) == self.identity);
        if still_ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}
