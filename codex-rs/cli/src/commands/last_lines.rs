//! The end of what a program says, as it may be shown; and no more of it is kept, however much that is.

use std::collections::VecDeque;
use std::future::pending;

use codex_responses_api_proxy::plain::plain;
use tokio::io::{AsyncRead, AsyncReadExt};

/// So much is kept: lines, and letters of each.
const LAST_LINES: usize = 10;
const LONGEST_LINE: usize = 400;
/// A line that goes on beyond this is thrown away from here on.
const LINE_BYTES: usize = 64 * 1024;
/// What is read at once.
const PIECE_BYTES: usize = 4 * 1024;

/// Reads from a pipe, piece by piece. What has been read stays, also when a reading is given up.
#[derive(Debug)]
pub(crate) struct LastLines<Pipe> {
    /// `None` once it has ended.
    pipe: Option<Pipe>,
    line: Vec<u8>,
    last: VecDeque<String>,
}

impl<Pipe: AsyncRead + Unpin> LastLines<Pipe> {
    /// Of this pipe; of none there are none.
    pub(crate) fn of(pipe: Option<Pipe>) -> Self {
        Self { pipe, line: Vec::new(), last: VecDeque::new() }
    }

    /// Reads to the end, and then never comes back. Dropped before, it has lost nothing.
    pub(crate) async fn read(&mut self) {
        while self.read_piece().await {}
        pending().await
    }

    /// Reads to the end.
    pub(crate) async fn read_all(&mut self) {
        while self.read_piece().await {}
    }

    /// Whether there may be more.
    pub(crate) async fn read_piece(&mut self) -> bool {
        let Some(pipe) = &mut self.pipe else { return false };
        let mut piece = [0; PIECE_BYTES];
        // Cancel safe, as tokio says.
        match pipe.read(&mut piece).await {
            Ok(count @ 1..) => {
                self.take(&piece[..count]);
                true
            }
            Ok(0) | Err(_) => {
                self.pipe = None;
                false
            }
        }
    }

    fn take(&mut self, piece: &[u8]) {
        let mut lines = piece.split(|byte| *byte == b'\n');
        let begun = lines.next().unwrap_or_default();
        self.go_on(begun);
        for line in lines {
            self.end_line();
            self.go_on(line);
        }
    }

    fn go_on(&mut self, part: &[u8]) {
        let room = LINE_BYTES - self.line.len();
        self.line.extend_from_slice(&part[..part.len().min(room)]);
    }

    fn end_line(&mut self) {
        let text = shown(&self.line);
        self.line.clear();
        if text.is_empty() {
            return;
        }
        self.last.push_back(text);
        if self.last.len() > LAST_LINES {
            self.last.pop_front();
        }
    }

    #[cfg(test)]
    pub(crate) fn has(&self, line: &str) -> bool {
        self.last.iter().any(|last| last == line)
    }

    /// What was said last; a line that has not ended is one too.
    pub(crate) fn into_lines(mut self) -> Vec<String> {
        self.end_line();
        self.last.into()
    }
}

fn shown(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let text: String = text.trim_end().chars().take(LONGEST_LINE).collect();
    plain(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn lines_of(said: &[u8]) -> Vec<String> {
        let mut lines = LastLines::of(Some(said));
        lines.read_all().await;
        lines.into_lines()
    }

    #[tokio::test]
    async fn the_last_lines_stay_and_of_each_its_beginning() {
        assert_eq!(lines_of(b"").await, [""; 0]);
        assert_eq!(
            lines_of(b"one\r\n\n  two\x1b[2J\nthree").await,
            ["one", "  two\\u{1b}[2J", "three"]
        );
        let many: String = (0..50).map(|number| format!("{number}\n")).collect();
        let last: Vec<String> = (40..50).map(|number| number.to_string()).collect();
        assert_eq!(lines_of(many.as_bytes()).await, last);
        let long = [&b"a".repeat(1_000)[..], b"\nb"].concat();
        assert_eq!(lines_of(&long).await, ["a".repeat(LONGEST_LINE), "b".to_owned()]);
    }

    #[tokio::test]
    async fn a_line_without_an_end_is_not_collected() {
        let endless = b"a".repeat(3 * LINE_BYTES);
        let mut lines = LastLines::of(Some(&endless[..]));
        lines.read_all().await;
        assert_eq!(lines.line.len(), LINE_BYTES);
        assert_eq!(lines.into_lines(), ["a".repeat(LONGEST_LINE)]);
    }

    #[tokio::test]
    async fn a_reading_that_is_given_up_has_lost_nothing() {
        let (mut writer, reader) = tokio::io::duplex(64);
        let mut lines = LastLines::of(Some(reader));
        for part in ["one\ntw", "o\nthree"] {
            writer.write_all(part.as_bytes()).await.unwrap();
            tokio::select! {
                biased;
                () = lines.read() => panic!("it came back"),
                () = tokio::task::yield_now() => {}
            }
        }
        drop(writer);
        lines.read_all().await;
        assert_eq!(lines.into_lines(), ["one", "two", "three"]);
        let mut none = LastLines::<&[u8]>::of(None);
        none.read_all().await;
        assert_eq!(none.into_lines(), [""; 0]);
    }
}
