//! Places in a text, and what is to stand there.

use std::ops::Range;

use super::source::Source;

/// A place, in bytes, and its new text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Splice {
    pub(super) place: Range<usize>,
    pub(super) with: String,
}

/// All of the text, with these places changed. Of two at one place the first comes first; what both take out goes once.
pub(super) fn spliced(source: &Source<'_>, splices: impl IntoIterator<Item = Splice>) -> String {
    let mut splices: Vec<Splice> = splices.into_iter().collect();
    splices.sort_by_key(|splice| splice.place.start); // Stable.
    let mut text = String::from(source.byte_order_mark());
    let mut done = 0;
    for Splice { place, with } in splices {
        text.push_str(source.text.get(done..place.start).unwrap_or_default());
        text.push_str(&with);
        done = place.end.max(done);
    }
    text.push_str(&source.text[done..]);
    text
}
