//! The lines of a file from its last to its first, in constant memory.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

use crate::line::MAX_LINE_BYTES;

/// How much is read at once.
const BLOCK_BYTES: u64 = 64 * 1024;

/// The whole lines of a file, without their ends, the last one first. A line that is too long to be ours is empty.
#[derive(Debug)]
pub(crate) struct LinesBackwards<'file> {
    file: &'file File,
    /// What was read and not given yet. It ends where the line that is given next ends.
    block: Vec<u8>,
    /// Where the block begins in the file.
    start: u64,
    /// The line that ends the block was longer than [`MAX_LINE_BYTES`] and has been let go of.
    too_long: bool,
    over: bool,
}

impl<'file> LinesBackwards<'file> {
    /// Also where the last whole line ends. What comes after it has no end yet and is no line.
    pub(crate) fn of(file: &'file File) -> io::Result<(Self, u64)> {
        let start = file.metadata()?.len();
        let mut lines = Self { file, block: Vec::new(), start, too_long: false, over: false };
        lines.line()?;
        let end = match lines.over {
            true => 0,
            false => lines.start + lines.block.len() as u64 + 1,
        };
        Ok((lines, end))
    }

    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        while !self.over {
            if let Some(end) = self.block.iter().rposition(|byte| *byte == b'\n') {
                let line = self.block.split_off(end + 1);
                self.block.pop();
                return Ok(Some(self.unless_too_long(line)));
            }
            if self.start == 0 {
                self.over = true;
                let line = std::mem::take(&mut self.block);
                return Ok(Some(self.unless_too_long(line)));
            }
            if self.block.len() > MAX_LINE_BYTES {
                self.too_long = true;
                self.block.clear();
            }
            self.read_before()?;
        }
        Ok(None)
    }

    fn unless_too_long(&mut self, line: Vec<u8>) -> Vec<u8> {
        if std::mem::take(&mut self.too_long) { Vec::new() } else { line }
    }

    fn read_before(&mut self) -> io::Result<()> {
        let bytes = BLOCK_BYTES.min(self.start);
        let start = self.start - bytes;
        let mut block = vec![0; usize::try_from(bytes).unwrap_or(0)];
        match self.file.read_exact_at(&mut block, start) {
            Ok(()) => {
                block.append(&mut self.block);
                (self.block, self.start) = (block, start);
            }
            // It has been truncated: what was here is gone.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => self.over = true,
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

impl Iterator for LinesBackwards<'_> {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.line().transpose()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file
    }

    #[test]
    fn whole_lines_come_from_the_last_to_the_first() {
        for (content, expected, expected_end) in [
            ("", vec![], 0),
            ("torn", vec![], 0),
            ("\n", vec![""], 1),
            ("a\n", vec!["a"], 2),
            ("a\ntorn", vec!["a"], 2),
            ("a\n\nb\n", vec!["b", "", "a"], 5),
        ] {
            let file = file(content.as_bytes());
            let (lines, end) = LinesBackwards::of(&file).unwrap();
            let lines: Vec<_> =
                lines.map(|line| String::from_utf8(line.unwrap()).unwrap()).collect();
            assert_eq!(
                (lines, end),
                (expected.iter().map(|it| (*it).to_owned()).collect(), expected_end),
                "{content:?}"
            );
        }
    }

    #[test]
    fn lines_go_over_the_edges_of_blocks_and_a_giant_costs_no_memory() {
        let lines: Vec<Vec<u8>> = (0..2_000_usize).map(|at| vec![b'x'; at % 1_000]).collect();
        let mut content = lines.join(&b'\n');
        content.push(b'\n');
        let file = file(&content);
        let (backwards, end) = LinesBackwards::of(&file).unwrap();
        assert_eq!(end, content.len() as u64);
        let mut read: Vec<Vec<u8>> = backwards.map(Result::unwrap).collect();
        read.reverse();
        assert!(read == lines, "lines differ");

        let mut giant = b"first\n".to_vec();
        giant.resize(1_000_000, b'x');
        giant.extend_from_slice(b"\nlast\n");
        giant.resize(2_000_000, b'y');
        let file = self::file(&giant);
        let (mut backwards, end) = LinesBackwards::of(&file).unwrap();
        assert_eq!(end, 1_000_006);
        let mut read = Vec::new();
        while let Some(line) = backwards.next() {
            assert!(backwards.block.capacity() <= 4 * MAX_LINE_BYTES);
            read.push(String::from_utf8(line.unwrap()).unwrap());
        }
        assert_eq!(read, ["last", "", "first"]);
    }
}
