//! Which records are wanted: one rule for the file's reader, the control socket and the command line.

use std::time::SystemTime;

use crate::{Outcome, Record};

/// Which records are wanted. What is `None` is not asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// This account's.
    pub uid: Option<u32>,
    /// With this model, to the letter.
    pub model: Option<String>,
    /// Those that ended so.
    pub outcome: Option<Outcome>,
    /// Those that began then or later.
    pub since: Option<SystemTime>,
}

impl Filter {
    /// Whether a record is wanted.
    pub fn accepts(&self, record: &Record) -> bool {
        self.uid.is_none_or(|uid| record.peer.uid == Some(uid))
            && self.model.as_ref().is_none_or(|model| record.model.as_ref() == Some(model))
            && self.outcome.is_none_or(|outcome| record.outcome == outcome)
            && self.since.is_none_or(|since| record.started_at >= since)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::record::testing::record;

    #[test]
    fn a_filter_accepts_what_fits_in_everything_that_it_names() {
        let record = record();
        let later = record.started_at + Duration::from_millis(1);
        let any = Filter::default();
        for (filter, expected) in [
            (any.clone(), true),
            (Filter { uid: Some(1_000), ..any.clone() }, true),
            (Filter { uid: Some(0), ..any.clone() }, false),
            (Filter { model: Some("gpt-5".to_owned()), ..any.clone() }, true),
            (Filter { model: Some("gpt".to_owned()), ..any.clone() }, false),
            (Filter { outcome: Some(Outcome::Completed), ..any.clone() }, true),
            (Filter { outcome: Some(Outcome::Cut), ..any.clone() }, false),
            (Filter { since: Some(record.started_at), ..any.clone() }, true),
            (Filter { since: Some(later), ..any.clone() }, false),
            (Filter { uid: Some(1_000), outcome: Some(Outcome::Cut), ..any.clone() }, false),
        ] {
            assert_eq!(filter.accepts(&record), expected, "{filter:?}");
        }
        let mut nobodys = record.clone();
        nobodys.peer.uid = None;
        nobodys.model = None;
        assert!(any.accepts(&nobodys));
        assert!(!Filter { uid: Some(1_000), ..any.clone() }.accepts(&nobodys));
        assert!(!Filter { model: Some("gpt-5".to_owned()), ..any }.accepts(&nobodys));
    }
}
