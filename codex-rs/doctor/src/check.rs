//! One thing that is looked at.

use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::Arc;

use tokio::task::spawn_blocking;

use crate::finding::Finding;
use crate::host::Host;

/// A check under way.
pub(crate) type Looking = Pin<Box<dyn Future<Output = Vec<Finding>> + Send>>;

/// One thing that is looked at.
///
/// It writes nothing and asks nobody for a key. It may find several things, or none where there is nothing to look at.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// Its name, which stays the same. Findings have it, or one of a thing that is looked at along with it.
    pub id: &'static str,
    pub(crate) run: fn(Arc<Host>) -> Looking,
}

/// Does what makes its thread wait (files, lookups of accounts) where that holds up nobody. A panic in it goes on here.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The program is ending, and with it whoever waits.
            Err(_) => std::future::pending().await,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_blocks_is_done_elsewhere_and_its_panics_arrive() {
        let here = std::thread::current().id();
        assert_ne!(blocking(|| std::thread::current().id()).await, here);
        let panicking = tokio::spawn(blocking(|| -> u8 { panic!("as the test wants it") })).await;
        assert!(panicking.unwrap_err().is_panic());
    }
}
