//! What an exchange holds until its last byte: its place, and the key that it began with.

use std::sync::Arc;

use codex_key_custody::LentKey;
use tokio::sync::OwnedSemaphorePermit;

/// Shared by the two bodies of an exchange; given back with the last of them.
#[derive(Debug)]
pub(crate) struct Lease {
    /// Should it be replaced meanwhile, it stays in custody until this exchange has ended.
    pub(crate) key: LentKey,
    _place: OwnedSemaphorePermit,
}

impl Lease {
    pub(crate) fn new(key: LentKey, place: OwnedSemaphorePermit) -> Arc<Self> {
        Arc::new(Self { key, _place: place })
    }
}
