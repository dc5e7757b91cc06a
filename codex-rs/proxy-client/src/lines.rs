//! JSON lines as they arrive, however the connection cuts them.

use std::error::Error as StdError;
use std::path::PathBuf;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use codex_request_log::Line;
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::time::{Instant, timeout_at};

use crate::ControlError;
use crate::control::Answer;

/// No line is longer, in bytes, its end included.
pub(crate) const LINE_LIMIT_BYTES: usize = 1024 * 1024;

/// Records, gaps and heartbeats, as a proxy tells of them.
#[derive(Debug)]
pub struct Lines {
    lines: LineReader<Answer>,
}

impl Lines {
    pub(crate) fn new(lines: LineReader<Answer>) -> Self {
        Self { lines }
    }

    /// The next line; `None` when there are no more. What is no line of a proxy's is passed over. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`ControlError::Timeout`] after 30 s without a byte: a proxy that has nothing to tell sends heartbeats.
    /// [`ControlError::Broken`] when the connection ended in the middle, or a line is longer than 1 MiB.
    pub async fn next(&mut self) -> Result<Option<Line>, ControlError> {
        while let Some(line) = self.lines.next().await? {
            let line = std::str::from_utf8(&line).ok().and_then(Line::parse);
            if line.is_some() {
                return Ok(line);
            }
        }
        Ok(None)
    }
}

/// Takes a body apart at its line ends.
#[derive(Debug)]
pub(crate) struct LineReader<B> {
    /// Where it comes from.
    path: PathBuf,
    body: B,
    has_ended: bool,
    /// What has come, and in how much of it there is no line end.
    waiting: BytesMut,
    searched_bytes: usize,
    /// How long nothing may come, if there is a limit.
    patience: Option<Duration>,
    /// Set while something is waited for, so that a caller who looks in now and then waits no longer than others.
    deadline: Option<Instant>,
}

impl<B> LineReader<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    pub(crate) fn new(path: PathBuf, body: B, patience: Option<Duration>) -> Self {
        let (waiting, searched_bytes) = (BytesMut::new(), 0);
        Self { path, body, has_ended: false, waiting, searched_bytes, patience, deadline: None }
    }

    /// The next line, without its end. What comes after the last line end is none. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ControlError> {
        loop {
            let unsearched = &self.waiting[self.searched_bytes..];
            let end = unsearched.iter().position(|byte| *byte == b'\n');
            let length = self.searched_bytes + end.unwrap_or(unsearched.len());
            if length >= LINE_LIMIT_BYTES {
                let because = format!("a line is longer than {LINE_LIMIT_BYTES} bytes");
                return Err(self.broken(because));
            }
            if end.is_some() {
                self.searched_bytes = 0;
                let line = self.waiting.split_to(length + 1).freeze();
                return Ok(Some(line.slice(..length)));
            }
            self.searched_bytes = length;
            if self.has_ended {
                return Ok(None);
            }
            self.more().await?;
        }
    }

    /// Waits for the next part.
    async fn more(&mut self) -> Result<(), ControlError> {
        let frame = match self.patience {
            None => self.body.frame().await,
            Some(limit) => {
                let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + limit);
                match timeout_at(deadline, self.body.frame()).await {
                    Ok(frame) => frame,
                    Err(_) => {
                        return Err(ControlError::Timeout { path: self.path.clone(), limit });
                    }
                }
            }
        };
        self.deadline = None;
        match frame {
            None => self.has_ended = true,
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    self.waiting.extend_from_slice(&data);
                }
            }
            Some(Err(error)) => {
                self.has_ended = true; // Nothing follows an error.
                return Err(self.broken(error));
            }
        }
        Ok(())
    }

    fn broken(&self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> ControlError {
        ControlError::Broken { path: self.path.clone(), source: source.into() }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use http_body_util::channel::{Channel, Sender};
    use hyper::body::Frame;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    type Parts = Channel<Bytes, io::Error>;

    /// A reader of these parts, and who could send more.
    fn reader(parts: &[&[u8]]) -> (LineReader<Parts>, Sender<Bytes, io::Error>) {
        let (mut sender, body) = Channel::new(parts.len() + 8);
        for part in parts {
            sender.try_send(Frame::data(Bytes::copy_from_slice(part))).unwrap();
        }
        (LineReader::new("/run/it.sock".into(), body, Some(PATIENCE)), sender)
    }

    async fn all(parts: &[&[u8]]) -> Vec<Bytes> {
        let (mut reader, sender) = reader(parts);
        drop(sender);
        let mut lines = Vec::new();
        while let Some(line) = reader.next().await.unwrap() {
            lines.push(line);
        }
        lines
    }

    #[tokio::test]
    async fn however_it_is_cut_the_lines_are_the_same() {
        let text = "one\n\ntwo \u{1f600}\r\nthree\n".as_bytes();
        let expected = ["one", "", "two \u{1f600}\r", "three"];
        assert_eq!(all(&[text]).await, expected);
        let single: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(all(&single).await, expected);
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let parts = [&text[..first], &text[first..second], &text[second..]];
                assert_eq!(all(&parts).await, expected, "cut at {first} and {second}");
            }
        }
    }

    #[tokio::test]
    async fn what_has_no_line_end_is_no_line() {
        assert_eq!(all(&[]).await, Vec::<Bytes>::new());
        assert_eq!(all(&[b"torn"]).await, Vec::<Bytes>::new());
        assert_eq!(all(&[b"whole\nto", b"rn"]).await, ["whole"]);
    }

    #[tokio::test]
    async fn a_line_may_be_so_long_and_no_longer() {
        let longest = vec![b'x'; LINE_LIMIT_BYTES - 1];
        let lines = all(&[b"a\n", &longest, b"\nb\n"]).await;
        assert_eq!(lines.iter().map(Bytes::len).collect::<Vec<_>>(), [1, LINE_LIMIT_BYTES - 1, 1]);
        for end in [&b"x"[..], b"x\n"] {
            let (mut reader, _sender) = reader(&[b"a\n", &longest, end]);
            assert_eq!(reader.next().await.unwrap().unwrap(), "a");
            let error = reader.next().await.unwrap_err();
            assert!(matches!(error, ControlError::Broken { .. }), "{error:?}");
        }
    }

    #[tokio::test]
    async fn a_connection_that_breaks_is_no_end_but_its_lines_count() {
        let (mut reader, sender) = reader(&[b"one\ntw"]);
        sender.abort(io::ErrorKind::ConnectionReset.into());
        assert_eq!(reader.next().await.unwrap().unwrap(), "one");
        let error = reader.next().await.unwrap_err();
        assert!(matches!(error, ControlError::Broken { .. }), "{error:?}");
        assert_eq!(reader.next().await.unwrap(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_for_so_long_is_an_error_and_every_sign_of_life_is_none() {
        let (mut reader, mut sender) = reader(&[]);
        let begin = Instant::now();
        tokio::spawn(async move {
            for _ in 0..3 {
                tokio::time::sleep(PATIENCE - Duration::from_secs(1)).await;
                sender.send_data(Bytes::from_static(b"beat\n")).await.unwrap();
            }
            std::future::pending::<()>().await;
        });
        for _ in 0..3 {
            assert_eq!(reader.next().await.unwrap().unwrap(), "beat");
        }
        let error = reader.next().await.unwrap_err();
        assert!(
            matches!(error, ControlError::Timeout { limit, .. } if limit == PATIENCE),
            "{error:?}"
        );
        assert_eq!(begin.elapsed().as_secs(), 3 * 29 + 30);
    }

    #[tokio::test(start_paused = true)]
    async fn who_looks_in_every_second_hears_of_the_silence_as_soon() {
        let (mut reader, _sender) = reader(&[]);
        let begin = Instant::now();
        let error = loop {
            tokio::select! {
                biased;
                line = reader.next() => break line.unwrap_err(),
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
        };
        assert!(matches!(error, ControlError::Timeout { .. }), "{error:?}");
        assert_eq!(begin.elapsed().as_secs(), 30);
    }
}
