//! What a sink is given: a record, or the word that some are missing.

use std::sync::Arc;

use crate::{Format, Record, line};

/// What a sink is given.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    Record(Arc<Record>),
    /// Records that nobody got; they have been counted.
    Gap {
        records: u64,
        because: Arc<str>,
    },
}

impl Entry {
    /// The records that stand for, or in, this entry.
    pub(crate) fn records(&self) -> u64 {
        match self {
            Self::Record(_) => 1,
            Self::Gap { records, .. } => *records,
        }
    }

    /// Those of them that are lost when this entry is.
    pub(crate) fn new_records(&self) -> u64 {
        match self {
            Self::Record(_) => 1,
            Self::Gap { .. } => 0,
        }
    }

    /// One line without its end.
    pub(crate) fn to_line(&self, format: Format) -> String {
        match (self, format) {
            (Self::Record(record), Format::Pretty) => record.to_string(),
            (Self::Record(record), Format::Json) => record.to_json(),
            (Self::Gap { records, because }, Format::Pretty) => {
                line::gap_to_words(*records, because)
            }
            (Self::Gap { records, because }, Format::Json) => line::gap_to_json(*records, because),
        }
    }
}
