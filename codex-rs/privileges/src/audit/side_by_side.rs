//! Jobs side by side, each within its time: none waits for another, and none can hold up or spoil the others.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How often progress is told while nothing ends.
const TELLING: Duration = Duration::from_millis(100);

/// How far an audit is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// How many checks are done.
    pub done: usize,
    /// How many there are.
    pub of: usize,
    /// Those that are not done, in their order.
    pub waiting_for: Vec<&'static str>,
    /// How many files have been looked at.
    pub files_seen: u64,
}

/// One thing to do, in a thread of its own.
pub(crate) struct Job<T> {
    pub(crate) name: &'static str,
    pub(crate) act: Box<dyn FnOnce() -> T + Send>,
}

/// What became of a job.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ending<T> {
    Done(T),
    /// It panicked.
    Broken,
    /// It is still at it.
    TooLate,
}

/// Does all of it, and returns in the order of the jobs. A job that takes longer than the limit is left to itself.
pub(crate) fn side_by_side<T: Send + 'static>(
    jobs: Vec<Job<T>>,
    limit: Duration,
    files_seen: &Arc<AtomicU64>,
    progress: &mut dyn FnMut(&Progress),
) -> Vec<(&'static str, Ending<T>)> {
    let names: Vec<&'static str> = jobs.iter().map(|job| job.name).collect();
    let mut endings: Vec<Option<Ending<T>>> = jobs.iter().map(|_| None).collect();
    let (told, ended) = channel();
    for (number, job) in jobs.into_iter().enumerate() {
        let told = told.clone();
        let act = move || {
            let ending =
                catch_unwind(AssertUnwindSafe(job.act)).map_or(Ending::Broken, Ending::Done);
            let _ = told.send((number, ending)); // Too late for it, perhaps.
        };
        if thread::Builder::new().name(job.name.to_owned()).spawn(act).is_err() {
            endings[number] = Some(Ending::Broken);
        }
    }
    drop(told);
    let deadline = Instant::now() + limit;
    while endings.iter().any(Option::is_none) {
        progress(&state(&names, &endings, files_seen));
        let left = deadline.saturating_duration_since(Instant::now());
        match ended.recv_timeout(left.min(TELLING)) {
            Ok((number, ending)) => endings[number] = Some(ending),
            Err(RecvTimeoutError::Timeout) if !left.is_zero() => {}
            Err(_) => break,
        }
    }
    progress(&state(&names, &endings, files_seen));
    let endings = endings.into_iter().map(|ending| ending.unwrap_or(Ending::TooLate));
    names.into_iter().zip(endings).collect()
}

fn state<T>(names: &[&'static str], endings: &[Option<T>], files_seen: &AtomicU64) -> Progress {
    let each = names.iter().zip(endings);
    let waiting_for = each.filter(|(_, ending)| ending.is_none()).map(|(name, _)| *name);
    let waiting_for: Vec<&'static str> = waiting_for.collect();
    let (of, files_seen) = (names.len(), files_seen.load(Ordering::Relaxed));
    Progress { done: of - waiting_for.len(), of, waiting_for, files_seen }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::Receiver;

    use super::*;

    fn job(name: &'static str, act: impl FnOnce() -> u32 + Send + 'static) -> Job<u32> {
        Job { name, act: Box::new(act) }
    }

    /// Each waits for what is sent to it, or for the end of who could send.
    fn waiting(name: &'static str, from: Receiver<u32>) -> Job<u32> {
        job(name, move || from.recv().unwrap_or_default())
    }

    #[test]
    fn endings_keep_the_order_of_the_jobs_and_a_late_or_broken_one_spoils_nothing() {
        let (_held, late) = channel();
        let jobs =
            vec![waiting("late", late), job("broken", || panic!("on purpose")), job("quick", || 7)];
        let files = Arc::new(AtomicU64::new(3));
        let mut told = Vec::new();
        let limit = Duration::from_millis(300);
        let endings =
            side_by_side(jobs, limit, &files, &mut |progress| told.push(progress.clone()));
        let expected =
            [("late", Ending::TooLate), ("broken", Ending::Broken), ("quick", Ending::Done(7))];
        assert_eq!(endings, expected);
        assert_eq!((told[0].done, told[0].of, told[0].files_seen), (0, 3, 3));
        assert_eq!(told.last().unwrap().waiting_for, ["late"]);
    }

    #[test]
    fn they_run_at_the_same_time() {
        let ((to_first, first), (to_second, second)) = (channel(), channel());
        let one = job("one", move || {
            to_second.send(1).unwrap();
            first.recv().unwrap()
        });
        let two = job("two", move || {
            to_first.send(2).unwrap();
            second.recv().unwrap()
        });
        let files = Arc::new(AtomicU64::new(0));
        let endings = side_by_side(vec![one, two], Duration::from_secs(10), &files, &mut |_| ());
        assert_eq!(endings, [("one", Ending::Done(2)), ("two", Ending::Done(1))]);
    }
}
