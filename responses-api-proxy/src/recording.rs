//! Where records go: the hub, the log file, standard error; and counters.

use std::fs::{self, OpenOptions};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use codex_request_log::{Hub, Log, LogFile, LogFileError, Recorder, Sinks};
use nix::unistd::{Uid, User};

use crate::metrics::Metrics;
use crate::ownership;
use crate::placed_file::PlacedFile;
use crate::settings::Settings;
use crate::{StartError, daemon, report};

/// The threads that take records, and the ways to them.
pub(crate) struct Recording {
    pub(crate) log: Log,
    pub(crate) recorder: Recorder,
    pub(crate) hub: Hub,
    pub(crate) metrics: Arc<Metrics>,
    /// With `--daemon`: what standard error is to be, the log file or nothing.
    pub(crate) words_to: Option<OwnedFd>,
}

/// Opens the log file, where nobody else can choose what its path leads to. One that was not there is taken away
/// again should the start fail.
pub(crate) fn open(path: &Path) -> Result<(LogFile, Option<NewLogFile>), StartError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let path = path.to_owned();
    if let Err(source) = fs::metadata(folder) {
        return Err(LogFileError::Unopenable { path, source }.into());
    }
    if !ownership::is_ours_alone(folder, ownership::usual_groups()) {
        return Err(StartError::LogFolder { path });
    }
    let is_new = fs::symlink_metadata(&path).is_err();
    let file = LogFile::open(&path)?;
    let facts = fs::symlink_metadata(&path).ok().filter(|_| is_new);
    Ok((file, facts.map(|facts| NewLogFile(Some(PlacedFile::new(path, &facts))))))
}

/// A log file that was not there before. Dropped, it is taken away, unless something stands in it by now: another proxy
/// may have found it.
pub(crate) struct NewLogFile(Option<PlacedFile>);

impl NewLogFile {
    /// It is to stay.
    pub(crate) fn leave(mut self) {
        if let Some(file) = self.0.take() {
            file.leave();
        }
    }
}

impl Drop for NewLogFile {
    fn drop(&mut self) {
        let Some(file) = self.0.take() else { return };
        if fs::symlink_metadata(&file.path).is_ok_and(|facts| facts.len() > 0) {
            file.leave();
        }
    }
}

impl Recording {
    pub(crate) fn start(
        settings: &Settings,
        is_daemon: bool,
        file: Option<LogFile>,
    ) -> Result<Self, StartError> {
        let words_to = match (is_daemon, &file) {
            (false, _) => None,
            (true, Some(file)) => Some(file.as_fd().try_clone_to_owned()),
            (true, None) => {
                Some(OpenOptions::new().write(true).open("/dev/null").map(OwnedFd::from))
            }
        };
        let words_to = words_to.transpose().map_err(StartError::Daemon)?;
        let (hub, metrics) = (Hub::default(), Arc::new(Metrics::new()));
        let observer = Arc::clone(&metrics);
        let sinks = Sinks {
            hub: hub.clone(),
            // A daemon's standard error is the log file, or nothing.
            stderr: (!is_daemon)
                .then(|| (settings.log_format, Box::new(std::io::stderr()) as Box<_>)),
            file: file.map(|file| if is_daemon { followed_by_words(file) } else { file }),
            name: |uid| User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name),
            observe: Box::new(move |record, forwarded| observer.observe(record, forwarded)),
            tell: report::line,
        };
        let (log, recorder) =
            Recorder::start(sinks).map_err(|error| StartError::lacking("the log", error))?;
        Ok(Self { log, recorder, hub, metrics, words_to })
    }
}

/// What else is said goes with the records to the next file. If that fails, it stays with the last.
fn followed_by_words(file: LogFile) -> LogFile {
    file.on_open(|fd| drop(daemon::point_stderr(fd)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_that_fails_takes_its_new_log_file_away_and_nothing_that_somebody_wrote() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let fail = || drop(open(&path).unwrap());
        fail();
        assert!(!path.exists());

        let (file, new) = open(&path).unwrap();
        fs::write(&path, "{}\n").unwrap(); // Another proxy has found it meanwhile.
        drop((file, new));
        assert_eq!(fs::read_to_string(&path).unwrap(), "{}\n");

        fs::write(&path, "").unwrap();
        fail();
        assert!(path.exists(), "it was there before");
        fs::remove_file(&path).unwrap();
        open(&path).unwrap().1.unwrap().leave();
        assert!(path.exists(), "the start did not fail");
    }
}
