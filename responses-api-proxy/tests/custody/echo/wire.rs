//! HTTP/1.1 by hand, for both ends: heads, and bodies piece by piece.

use std::io::{self, ErrorKind};

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

use crate::support::text;

/// Reads a head; `None` if the connection has ended before it.
pub(super) async fn read_head(
    reader: &mut (impl AsyncBufRead + Unpin),
) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if reader.read_until(b'\n', &mut head).await? == 0 {
            let ended = io::Error::from(ErrorKind::UnexpectedEof);
            return if head.is_empty() { Ok(None) } else { Err(ended) };
        }
    }
    Ok(Some(text(&head)))
}

/// The lines of a head after its first.
pub(super) fn fields(head: &str) -> impl Iterator<Item = (&str, &str)> {
    head.split("\r\n").skip(1).filter_map(|line| line.split_once(": "))
}

/// The first field of this name.
pub(super) fn field<'head>(head: &'head str, name: &str) -> Option<&'head str> {
    fields(head).find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// The body that follows a head, as it comes.
pub(super) struct Body {
    /// Bytes that are left of this chunk, or of all.
    left: u64,
    /// More chunks follow.
    is_chunked: bool,
}

impl Body {
    pub(super) fn of(head: &str) -> Self {
        let is_chunked = field(head, "transfer-encoding").is_some_and(|coding| coding == "chunked");
        let length = field(head, "content-length").map_or(0, |length| length.parse().unwrap());
        Self { left: if is_chunked { 0 } else { length }, is_chunked }
    }

    /// What has come next; `None` at the body's end.
    pub(super) async fn piece(
        &mut self,
        reader: &mut (impl AsyncBufRead + Unpin),
    ) -> io::Result<Option<Vec<u8>>> {
        if self.left == 0 && self.is_chunked {
            self.left = u64::from_str_radix(&line(reader).await?, 16).map_err(io::Error::other)?;
            if self.left == 0 {
                self.is_chunked = false;
                empty_line(reader).await?; // Nobody here has trailers to send.
            }
        }
        if self.left == 0 {
            return Ok(None);
        }
        let there = reader.fill_buf().await?;
        if there.is_empty() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let count = there.len().min(usize::try_from(self.left).unwrap());
        let piece = there[..count].to_vec();
        reader.consume(count);
        self.left -= count as u64;
        if self.left == 0 && self.is_chunked {
            empty_line(reader).await?;
        }
        Ok(Some(piece))
    }

    /// All that is still to come.
    pub(super) async fn rest(
        &mut self,
        reader: &mut (impl AsyncBufRead + Unpin),
    ) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        while let Some(piece) = self.piece(reader).await? {
            rest.extend_from_slice(&piece);
        }
        Ok(rest)
    }
}

async fn line(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<String> {
    let mut line = String::new();
    reader.read_line(&mut line).await?;
    Ok(line.trim_end().to_owned())
}

async fn empty_line(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<()> {
    let line = line(reader).await?;
    if line.is_empty() { Ok(()) } else { Err(io::Error::other(format!("{line:?} after a chunk"))) }
}

/// A piece of a chunked body; an empty one ends it.
pub(super) fn chunk(data: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", data.len()).into_bytes();
    chunk.extend_from_slice(data);
    chunk.extend_from_slice(b"\r\n");
    chunk
}
