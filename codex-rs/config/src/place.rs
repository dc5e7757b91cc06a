//! A file at the end of its links, and what it says.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use crate::ConfigError;
use crate::regular::{Links, open_regular};

/// What is read at most: real ones have some kilobytes, and parsed, a hostile one needs more than a thousand times its size
/// (measured: keys of many parts).
const LIMIT_BYTES: u64 = 256 * 1024;
/// As many as Linux follows (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// A file that is there.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) text: String,
    pub(crate) metadata: Metadata,
}

/// Where a path leads to: links of the file itself are followed, so that they stay when what they lead to is replaced.
pub(crate) fn follow(file: &Path) -> Result<PathBuf, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { file: file.to_owned(), source };
    let mut place = std::path::absolute(file).map_err(unreadable)?;
    for _ in 0..MOST_LINKS {
        match fs::symlink_metadata(&place) {
            Ok(found) if found.is_symlink() => {
                let target = fs::read_link(&place).map_err(unreadable)?;
                place.pop();
                place.push(target);
            }
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(unreadable(error)),
            Ok(_) | Err(_) => return Ok(place),
        }
    }
    Err(unreadable(rustix::io::Errno::LOOP.into()))
}

/// What it says; `None`, if it is not there.
pub(crate) fn read(place: &Path) -> Result<Option<Content>, ConfigError> {
    let Some((bytes, metadata)) = read_bytes(place)? else { return Ok(None) };
    let text = String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        ConfigError::NotText { file: place.to_owned(), offset }
    })?;
    Ok(Some(Content { text, metadata }))
}

/// The same of a file that need not be text.
pub(crate) fn read_bytes(place: &Path) -> Result<Option<(Vec<u8>, Metadata)>, ConfigError> {
    let file = || place.to_owned();
    let Some((opened, metadata)) = open(place)? else { return Ok(None) };
    let mut bytes = Vec::new();
    let read = opened.take(LIMIT_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|source| ConfigError::Unreadable { file: file(), source })?;
    if bytes.len() as u64 > LIMIT_BYTES {
        return Err(ConfigError::TooLarge { file: file(), limit_bytes: LIMIT_BYTES });
    }
    Ok(Some((bytes, metadata)))
}

/// The file itself: what took its place meanwhile may be a link.
fn open(place: &Path) -> Result<Option<(File, Metadata)>, ConfigError> {
    let file = || place.to_owned();
    let opened = open_regular(place, Links::Refused).map_err(|source| match source.kind() {
        ErrorKind::InvalidInput => ConfigError::NotAFile { file: file() },
        _ => ConfigError::Unreadable { file: file(), source },
    })?;
    let Some(opened) = opened else { return Ok(None) };
    match opened.metadata() {
        Ok(metadata) => Ok(Some((opened, metadata))),
        Err(source) => Err(ConfigError::Unreadable { file: file(), source }),
    }
}

/// Whether it says this; `None`: whether it is not there.
pub(crate) fn is(place: &Path, text: Option<&str>) -> bool {
    match (open(place), text) {
        (Ok(None), None) => true,
        (Ok(Some((opened, _))), Some(text)) => says(opened, text).unwrap_or(false),
        _ => false,
    }
}

fn says(opened: File, text: &str) -> io::Result<bool> {
    let mut bytes = Vec::new();
    opened.take(text.len() as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes == text.as_bytes())
}
