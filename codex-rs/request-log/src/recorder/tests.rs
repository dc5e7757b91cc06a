//! The whole way of a record, and what happens where one of its places stands still or too much comes.

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};

use super::*;
use crate::{Line, LogReader, Missed, OpenRecord, Outcome, Reason};

/// Longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(20);

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Stands still in each write until the test has let go of the other end.
struct Stuck(Receiver<()>, Shared);

impl Stuck {
    fn new() -> (Sender<()>, Shared, Self) {
        let ((go, stuck), shared) = (channel(), Shared::default());
        (go, shared.clone(), Self(stuck, shared))
    }
}

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.recv();
        self.1.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn alice(uid: u32) -> Option<String> {
    (uid == 1_000).then(|| "alice".to_owned())
}

fn sinks() -> Sinks {
    Sinks {
        hub: Hub::default(),
        stderr: None,
        file: None,
        name: alice,
        observe: Box::new(|_, _| ()),
        tell: |_| (),
    }
}

fn open(log: &Log, id: u64, uid: u32) -> OpenRecord {
    OpenRecord::new(log.clone(), id, Some(uid), "POST".to_owned(), "/v1/responses".to_owned())
}

fn refused(log: &Log, id: u64) {
    open(log, id, 1_000).failed(Outcome::Refused, Reason::RouteNotAllowed, None);
}

fn forwarded(log: &Log, id: u64) {
    let mut open = open(log, id, 1_000);
    open.forwarded();
    open.completed();
}

/// The numbers of the records in a file, and how many are missing.
fn told(path: &Path) -> (Vec<u64>, u64) {
    let (mut ids, mut missing) = (Vec::new(), 0);
    for line in fs::read_to_string(path).unwrap().lines() {
        match Line::parse(line) {
            Some(Line::Record(record)) => ids.push(record.id),
            Some(Line::Gap { records, .. }) => missing += records,
            other => panic!("{line}: {other:?}"),
        }
    }
    (ids, missing)
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[test]
fn a_record_gets_everywhere_and_knows_its_accounts_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let (err, hub) = (Shared::default(), Hub::default());
    let observed = Arc::new(Mutex::new(Vec::new()));
    let observing = Arc::clone(&observed);
    let (log, recorder) = Recorder::start(Sinks {
        hub: hub.clone(),
        stderr: Some((Format::Pretty, Box::new(err.clone()))),
        file: Some(LogFile::open(&path).unwrap()),
        observe: Box::new(move |record, was_forwarded| {
            observing.lock().unwrap().push((record.id, was_forwarded));
        }),
        ..sinks()
    })
    .unwrap();
    let (recent, mut follower) = hub.follow();
    assert!(recent.is_empty());
    forwarded(&log, 1);
    assert_eq!(*observed.lock().unwrap(), [(1, true)], "observed before anything waits");
    let record = wait(follower.next()).unwrap();
    assert_eq!((record.id, record.peer.user.as_deref()), (1, Some("alice")));
    drop(open(&log, 2, 1_001));
    let clone = log.clone();
    drop(log);
    refused(&clone, 3);
    assert_eq!(clone.dropped(), 0);
    drop(clone);
    assert!(recorder.finish(LIMIT));

    assert_eq!(*observed.lock().unwrap(), [(1, true), (2, false), (3, false)]);
    assert_eq!(told(&path), (vec![1, 2, 3], 0));
    let text = err.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].contains(" #1 completed ") && lines[0].ends_with("for alice (uid 1000)"));
    assert!(lines[1].contains(" #2 client_left ") && lines[1].ends_with("for uid 1001"));
    assert!(lines[2].contains(" #3 refused route_not_allowed "));
    assert_eq!(wait(follower.next()).unwrap().id, 2);
    assert_eq!(wait(follower.next()).unwrap().id, 3);
    assert_eq!(wait(follower.next()), Err(Missed::Ended));
    assert_eq!(hub.recent().len(), 3);
}

#[test]
fn a_stuck_standard_error_stops_neither_the_file_nor_the_hub() {
    const RECORDS: u64 = 3_000;
    // Far less than may wait, so that nothing is lost but where somebody stands still.
    const AT_ONCE: u64 = 500;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let (go, err, stuck) = Stuck::new();
    let hub = Hub::default();
    let (log, recorder) = Recorder::start(Sinks {
        hub: hub.clone(),
        stderr: Some((Format::Json, Box::new(stuck))),
        file: Some(LogFile::open(&path).unwrap()),
        ..sinks()
    })
    .unwrap();
    let (_, mut follower) = hub.follow();
    let mut reader = LogReader::open(&path).unwrap();
    for before in (0..RECORDS / AT_ONCE).map(|round| round * AT_ONCE) {
        (1..=AT_ONCE).for_each(|at| forwarded(&log, before + at));
        for id in (1..=AT_ONCE).map(|at| before + at) {
            assert_eq!(wait(follower.next()).unwrap().id, id);
            let asked = Instant::now();
            let line = loop {
                match reader.next().unwrap() {
                    Some(line) => break line,
                    None => assert!(asked.elapsed() < LIMIT, "the file stands still"),
                }
                std::thread::yield_now();
            };
            assert!(matches!(line, Line::Record(record) if record.id == id));
        }
    }
    log.close();
    assert_eq!(wait(follower.next()), Err(Missed::Ended));
    let dropped = log.dropped();
    assert!(dropped > 0);
    assert!(!recorder.finish(Duration::ZERO), "its patience ends here");
    drop(go);
    let asked = Instant::now();
    let told = loop {
        let text = err.text();
        let (mut records, mut missing) = (0, 0);
        for line in text.split_inclusive('\n').filter_map(Line::parse) {
            match line {
                Line::Record(_) => records += 1,
                Line::Gap { records, .. } => missing += records,
                Line::Heartbeat => panic!("{text}"),
            }
        }
        if records + missing >= RECORDS {
            break (records, missing);
        }
        assert!(asked.elapsed() < LIMIT, "{records} and {missing} missing");
        std::thread::yield_now();
    };
    assert_eq!(told, (RECORDS - dropped, dropped));
}

/// Held by the test that wants the recorder to stand still.
static NAMES: Mutex<()> = Mutex::new(());

fn name_that_waits(_: u32) -> Option<String> {
    drop(NAMES.lock());
    None
}

#[test]
fn a_flood_that_the_recorder_cannot_keep_up_with_costs_no_admitted_record_and_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let file = Some(LogFile::open(&path).unwrap());
    let hub = Hub::default();
    let (_, mut follower) = hub.follow();
    let standing = NAMES.lock().unwrap();
    let (log, recorder) =
        Recorder::start(Sinks { hub, file, name: name_that_waits, ..sinks() }).unwrap();
    (1..=5_000).for_each(|id| refused(&log, id)); // Would hang here if a full queue made it wait.
    (5_001..=5_100).for_each(|id| forwarded(&log, id));
    drop(standing);
    let dropped = log.dropped();
    drop(log);
    let mut missed = 0;
    loop {
        match wait(follower.next()) {
            Err(Missed::TooSlow(records) | Missed::Lost(records)) => missed += records,
            Err(Missed::Ended) => break,
            Ok(_) => {}
        }
    }
    assert!(recorder.finish(LIMIT));
    let (ids, missing) = told(&path);
    assert_eq!(ids.iter().filter(|id| **id > 5_000).count(), 100);
    assert!(ids.len() > 1_000, "{} records", ids.len());
    assert_eq!(ids.len() as u64 + missing, 5_100);
    assert!(dropped > 0 && missing >= dropped, "{missing} and {dropped}");
    assert!(missed > 0, "followers were not told");
}

/// What waits, batch by batch.
fn waiting<T>(lanes: &Lanes<T>) -> impl Iterator<Item = Batch<T>> {
    std::iter::from_fn(move || {
        lanes.take(Some(Duration::ZERO)).filter(|batch| !batch.entries.is_empty())
    })
}

#[test]
fn one_accounts_flood_is_held_back_and_told_but_forwarded_exchanges_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let hub = Hub::default();
    let mut desk = Desk {
        hub: hub.clone(),
        sinks: Vec::new(),
        name: alice,
        names: HashMap::new(),
        flood: Flood::default(),
        dropped: Arc::default(),
    };
    let queue = desk.add_sink();
    let (log, lanes) = crate::log::testing::stopped();
    let now = Instant::now();
    for id in 1..=2_500 {
        let leave = if id % 5 == 0 { forwarded } else { refused };
        leave(&log, id);
        if id % 500 == 0 {
            waiting(&lanes).for_each(|batch| desk.handle(batch, now));
            // All of it is there, and written at once.
            assert_eq!(waiting(&queue).map(|batch| batch.entries.len()).sum::<usize>(), 500);
        }
    }
    (3_001..=4_003).for_each(|id| refused(&log, id));
    waiting(&lanes).for_each(|batch| desk.handle(batch, now));
    assert_eq!(desk.dropped.load(Ordering::Relaxed), 1_003, "2,000 are kept");
    forwarded(&log, 5_000);
    desk.handle(lanes.take(None).unwrap(), now + COLLECTING);
    let file = LogFile::open(&path).unwrap();
    drop(desk);
    FileSink::new(file, |sentence| panic!("{sentence}"), Arc::default()).run(&queue);
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].starts_with(r#"{"id":5000,"#), "{text}");
    assert_eq!(
        lines[1],
        r#"{"gap":{"records":1003,"because":"refused requests of uid 1000 came faster than 50 a second"}}"#
    );
    assert!(hub.recent().iter().all(|record| record.id <= 2_500 || record.id == 5_000));
}

#[test]
fn what_was_withheld_is_told_in_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let file = Some(LogFile::open(&path).unwrap());
    let (log, recorder) = Recorder::start(Sinks { file, ..sinks() }).unwrap();
    (1..=6_000).for_each(|id| refused(&log, id));
    drop(log);
    assert!(recorder.finish(LIMIT));
    let (ids, missing) = told(&path);
    assert_eq!(ids.len() as u64 + missing, 6_000);
    assert!(missing > 0);
}

#[test]
fn the_file_is_opened_anew_when_somebody_wants_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let (opened, opening) = channel();
    let file = LogFile::open(&path).unwrap().on_open(move |_| opened.send(()).unwrap());
    let (log, recorder) = Recorder::start(Sinks { file: Some(file), ..sinks() }).unwrap();
    fs::rename(&path, folder.path().join("log.1")).unwrap();
    recorder.reopener().unwrap().reopen();
    opening.recv_timeout(LIMIT).unwrap();
    forwarded(&log, 1);
    drop(log);
    assert!(recorder.finish(LIMIT));
    assert_eq!(told(&path), (vec![1], 0));
}

#[test]
fn without_a_file_there_is_nothing_to_open_anew() {
    let (log, recorder) = Recorder::start(sinks()).unwrap();
    assert!(recorder.reopener().is_none());
    drop(log);
    assert!(recorder.finish(LIMIT));
}

#[test]
fn a_closed_log_carries_on_what_is_there_and_ends_although_it_is_still_held() {
    let hub = Hub::default();
    let (_, mut follower) = hub.follow();
    let (log, recorder) = Recorder::start(Sinks { hub, ..sinks() }).unwrap();
    forwarded(&log, 1);
    log.close();
    assert_eq!(wait(follower.next()).unwrap().id, 1);
    assert_eq!(wait(follower.next()), Err(Missed::Ended));
    assert!(recorder.finish(LIMIT));
    forwarded(&log, 2);
    assert_eq!(log.dropped(), 1);
}
