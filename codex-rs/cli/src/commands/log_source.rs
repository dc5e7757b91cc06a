//! Where `log` has its lines from: the control socket of a running proxy, or a file.

use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use codex_proxy_client::{ControlError, ControlSocket, Lines, RecordsQuery, RunningProxy};
use codex_request_log::{Filter, Line, LogReader};
use tokio::time::sleep;

use super::error::CommandError;
use super::process;

/// How often a file is looked at for more.
const LOOK: Duration = Duration::from_millis(200);
/// After a gap, before the next try: whoever reads us is slow.
const AFTER_A_GAP: Duration = Duration::from_millis(100);
/// How long a process may take to end after its connection has.
const ENDING: Duration = Duration::from_secs(2);
/// Records that are remembered as shown: more than a proxy keeps.
const REMEMBERED: usize = 4_096;

pub(crate) enum LogSource {
    Socket(Box<SocketSource>),
    File(Box<FileSource>),
}

impl LogSource {
    /// The last `count` records that a proxy has kept, and with `follow` what comes after them.
    pub(crate) async fn of_proxy(
        proxy: &RunningProxy,
        count: usize,
        follow: bool,
        filter: Filter,
    ) -> Result<Self, CommandError> {
        let control = proxy.control();
        let query = RecordsQuery { last: Some(count), after: None, follow, filter };
        let lines = control.records(&query).await?;
        let pid = proxy.info.pid;
        let shown = Shown::default();
        Ok(Self::Socket(Box::new(SocketSource { control, pid, query, lines, shown, gap: false })))
    }

    /// The same of a file.
    pub(crate) fn of_file(
        file: PathBuf,
        count: usize,
        follow: bool,
        filter: Filter,
    ) -> Result<Self, CommandError> {
        let mut reader = LogReader::open(&file)?;
        let last = reader.last(count, &filter);
        let waiting =
            last.map_err(|source| CommandError::Reading { file: file.clone(), source })?.into();
        Ok(Self::File(Box::new(FileSource { file, reader, waiting, follow, filter })))
    }

    /// The next line; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Line>, CommandError> {
        match self {
            Self::Socket(source) => source.next().await,
            Self::File(source) => source.next().await,
        }
    }
}

pub(crate) struct SocketSource {
    control: ControlSocket,
    pid: u32,
    query: RecordsQuery,
    lines: Lines,
    shown: Shown,
    /// Whether the last line told of a gap: then the proxy ends the stream, not itself.
    gap: bool,
}

impl SocketSource {
    async fn next(&mut self) -> Result<Option<Line>, CommandError> {
        loop {
            match self.lines.next().await {
                Ok(Some(Line::Heartbeat)) => {}
                Ok(Some(Line::Record(record))) => {
                    self.gap = false;
                    if self.shown.add(record.id) {
                        return Ok(Some(Line::Record(record)));
                    }
                }
                Ok(Some(gap @ Line::Gap { .. })) => {
                    self.gap = true;
                    return Ok(Some(gap));
                }
                Ok(None) if self.query.follow && self.gap => {
                    self.gap = false;
                    sleep(AFTER_A_GAP).await;
                    match self.go_on().await {
                        Ok(lines) => self.lines = lines,
                        Err(error) => return self.ended(error).await,
                    }
                }
                Ok(None) => return Ok(None),
                Err(error) => return self.ended(error).await,
            }
        }
    }

    /// Asks for what has not been shown.
    async fn go_on(&self) -> Result<Lines, ControlError> {
        let after = self.shown.before_the_first();
        let last = if after.is_some() { None } else { Some(0) };
        let query = RecordsQuery { last, after, ..self.query.clone() };
        self.control.records(&query).await
    }

    /// Who follows a proxy has seen all there was once its process is gone, however that came.
    async fn ended(&self, error: ControlError) -> Result<Option<Line>, CommandError> {
        if self.query.follow && process::ends_within(self.pid, ENDING).await {
            Ok(None)
        } else {
            Err(error.into())
        }
    }
}

/// The records that have been shown, as far as a proxy could tell of them again. Records come when their exchange
/// ends and are numbered when it begins: so the last number alone does not say what has been shown.
#[derive(Debug, Default)]
struct Shown(BTreeSet<u64>);

impl Shown {
    /// Whether it is new.
    fn add(&mut self, id: u64) -> bool {
        let is_new = self.0.insert(id);
        if self.0.len() > REMEMBERED {
            self.0.pop_first();
        }
        is_new
    }

    fn before_the_first(&self) -> Option<u64> {
        self.0.first().map(|id| id.saturating_sub(1))
    }
}

pub(crate) struct FileSource {
    file: PathBuf,
    reader: LogReader,
    waiting: VecDeque<Line>,
    follow: bool,
    filter: Filter,
}

impl FileSource {
    async fn next(&mut self) -> Result<Option<Line>, CommandError> {
        if let Some(line) = self.waiting.pop_front() {
            return Ok(Some(line));
        }
        while self.follow {
            match self.reader.next() {
                Ok(Some(Line::Record(record))) if !self.filter.accepts(&record) => {}
                Ok(Some(line)) => return Ok(Some(line)),
                Ok(None) => sleep(LOOK).await,
                Err(source) => {
                    return Err(CommandError::Reading { file: self.file.clone(), source });
                }
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_shown_once_and_an_exchange_that_took_long_too() {
        let mut shown = Shown::default();
        assert_eq!(shown.before_the_first(), None);
        for (id, is_new) in [(7, true), (9, true), (8, true), (9, false), (7, false)] {
            assert_eq!(shown.add(id), is_new, "{id}");
        }
        assert_eq!(shown.before_the_first(), Some(6));
        for id in 10..10_000 {
            assert!(shown.add(id));
        }
        assert_eq!(shown.0.len(), REMEMBERED);
        assert_eq!(shown.before_the_first(), Some(9_999 - REMEMBERED as u64));
    }
}
