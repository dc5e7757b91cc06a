//! What is put into a configuration and taken out again, as text.
//!
//! toml_edit says where things stand and what they mean; the text itself is changed only in those places, byte by byte.
//! (Written anew by a library it would lose its line ends, its byte order mark and much of its order.) No result
//! is handed out before it has been read again: it means what the text meant before, and what was to be changed.
//!
//! All that undoing needs stands in the file itself, so that it may be copied, linked or kept under version control:
//! the former selector as a comment below ours, and the words of our own comments.

mod error;
mod meaning;
mod selector;
mod source;
mod splice;
mod table;

pub use error::EditError;

use source::Source;
use splice::spliced;

use crate::PROVIDER;

/// What a configuration says of the provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// The provider that it selects.
    pub selector: Option<String>,
    /// Whether it has our table.
    pub has_table: bool,
    /// Where that leads to.
    pub base_url: Option<String>,
}

impl Said {
    /// Whether it selects our table.
    pub fn is_pointed(&self) -> bool {
        self.selector.as_deref() == Some(PROVIDER) && self.has_table
    }

    /// Whether there is nothing of ours in it.
    pub fn is_without_us(&self) -> bool {
        self.selector.as_deref() != Some(PROVIDER) && !self.has_table
    }
}

/// Reads it.
///
/// # Errors
///
/// [`EditError`], if it is no TOML, or what stands there for the selector or the providers is none.
pub fn read(text: &str) -> Result<Said, EditError> {
    let source = Source::parse(text)?;
    let selector = selector::find(&source)?.map(|selector| selector.id.to_owned());
    let ours = table::find(&source)?.ours();
    let base_url = ours.and_then(|ours| table::base_url(ours).map(str::to_owned));
    Ok(Said { selector, has_table: ours.is_some(), base_url })
}

/// With our selector and our table, which leads to `base_url`; of nothing (`None`), if there is no file.
///
/// Done twice it is as if it were done once.
///
/// # Errors
///
/// [`EditError`]: it can't be done without loss, or something is in the way.
pub fn point(text: Option<&str>, base_url: &str) -> Result<String, EditError> {
    let source = Source::parse(text.unwrap_or_default())?;
    let by_us = text.is_none();
    let splices = [selector::put(&source)?, table::put(&source, base_url, by_us)?];
    let pointed = spliced(&source, splices.into_iter().flatten());
    let said = read(&pointed)?;
    let is_so = said.is_pointed() && said.base_url.as_deref() == Some(base_url);
    if is_so && meaning::is_same_without_us(source.all(), &pointed) {
        Ok(pointed)
    } else {
        Err(EditError::Lossy)
    }
}

/// With the former selector, if there was one. Our table stays.
///
/// # Errors
///
/// [`EditError`].
pub fn unpoint(text: &str) -> Result<String, EditError> {
    let source = Source::parse(text)?;
    let unpointed = spliced(&source, selector::take_out(&source)?);
    if meaning::is_same_without_us(text, &unpointed) {
        Ok(unpointed)
    } else {
        Err(EditError::Lossy)
    }
}

/// With nothing of ours; `None`, if there was no file before us.
///
/// # Errors
///
/// [`EditError`].
pub fn purge(text: &str) -> Result<Option<String>, EditError> {
    let source = Source::parse(text)?;
    let (table, by_us) = table::take_out(&source)?;
    let purged = spliced(&source, selector::take_out(&source)?.into_iter().chain(table));
    if !meaning::is_same_without_us(text, &purged) {
        return Err(EditError::Lossy);
    }
    Ok(if by_us && purged.is_empty() { None } else { Some(purged) })
}

#[cfg(test)]
mod tests;
