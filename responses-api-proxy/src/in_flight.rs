//! The exchanges that are under way, as the control socket shows them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use codex_proxy_client::InFlight;
use codex_request_log::rfc3339;
use tokio::sync::watch;

use crate::request_body::Progress;

/// All that is under way. Clones share one list.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnderWay(Arc<List>);

#[derive(Debug, Default)]
struct List {
    exchanges: Mutex<BTreeMap<u64, Arc<Live>>>,
    count: watch::Sender<u64>,
}

/// What can be seen of an exchange before it has ended.
#[derive(Debug)]
pub(crate) struct Live {
    uid: Option<u32>,
    path: String,
    began: Instant,
    started_at: SystemTime,
    progress: Progress,
    /// 0 before there is one.
    status: AtomicU16,
    bytes_out: AtomicU64,
}

/// An exchange that stands in the list. Dropped, it leaves it.
#[derive(Debug)]
pub(crate) struct Listed {
    id: u64,
    list: UnderWay,
    live: Arc<Live>,
}

impl UnderWay {
    /// An exchange has begun.
    pub(crate) fn list(
        &self,
        id: u64,
        uid: Option<u32>,
        path: String,
        progress: Progress,
    ) -> Listed {
        let live = Arc::new(Live {
            uid,
            path,
            began: Instant::now(),
            started_at: SystemTime::now(),
            progress,
            status: AtomicU16::default(),
            bytes_out: AtomicU64::default(),
        });
        self.change(|exchanges| drop(exchanges.insert(id, Arc::clone(&live))));
        Listed { id, list: self.clone(), live }
    }

    fn exchanges(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Live>>> {
        self.0.exchanges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<u64, Arc<Live>>)) {
        let mut exchanges = self.exchanges();
        change(&mut exchanges);
        self.0.count.send_replace(exchanges.len() as u64);
    }

    /// How many there are, now and after each change.
    pub(crate) fn count(&self) -> watch::Receiver<u64> {
        self.0.count.subscribe()
    }

    /// Those of one account, or all.
    pub(crate) fn shown(&self, uid: Option<u32>) -> Vec<InFlight> {
        let exchanges: Vec<_> = {
            let exchanges = self.exchanges();
            let wanted = exchanges.iter().filter(|(_, live)| uid.is_none() || live.uid == uid);
            wanted.map(|(id, live)| (*id, Arc::clone(live))).collect()
        };
        exchanges.into_iter().map(|(id, live)| live.shown(id)).collect()
    }
}

impl Live {
    fn shown(&self, id: u64) -> InFlight {
        let status = self.status.load(Ordering::Relaxed);
        InFlight {
            id,
            uid: self.uid,
            path: self.path.clone(),
            model: self.progress.facts().model,
            started_at: rfc3339(self.started_at).to_string(),
            elapsed_ms: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            status: (status > 0).then_some(status),
            bytes_in: self.progress.bytes(),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
        }
    }
}

impl Listed {
    pub(crate) fn answered(&self, status: u16) {
        self.live.status.store(status, Ordering::Relaxed);
    }

    pub(crate) fn relayed(&self, bytes: u64) {
        self.live.bytes_out.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.list.change(|exchanges| drop(exchanges.remove(&self.id)));
    }
}
