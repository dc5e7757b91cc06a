//! Closed lists of words: an enum, each variant of which is one word in records, answers and flags.

use thiserror::Error;

/// A word that does not stand in a closed list.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{word:?} is no {what}: it is one of {known}")]
pub struct UnknownWord {
    word: String,
    what: &'static str,
    known: String,
}

impl UnknownWord {
    pub(crate) fn new(word: &str, what: &'static str, known: &[&str]) -> Self {
        Self { word: word.to_owned(), what, known: known.join(", ") }
    }
}

/// Makes such an enum, so that each word stands in one place.
macro_rules! words {
    (
        $(#[$about:meta])*
        pub enum $name:ident is $what:literal {
            $($(#[$doc:meta])* $variant:ident = $word:literal,)+
        }
    ) => {
        $(#[$about])*
        #[derive(
            Clone, Copy, Debug, serde::Deserialize, PartialEq, Eq, Hash, serde::Serialize,
        )]
        #[serde(rename_all = "snake_case")]
        pub enum $name {
            $($(#[$doc])* $variant,)+
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word for it, the same wherever it is read or written.
            pub const fn code(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.pad(self.code())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::UnknownWord;

            fn from_str(word: &str) -> Result<Self, Self::Err> {
                let found = Self::ALL.iter().copied().find(|known| known.code() == word);
                found.ok_or_else(|| $crate::UnknownWord::new(word, $what, &[$($word,)+]))
            }
        }
    };
}

pub(crate) use words;

#[cfg(test)]
mod tests {
    use std::fmt::Debug;
    use std::str::FromStr;

    use serde::Serialize;
    use serde::de::DeserializeOwned;

    use crate::{Outcome, Reason, UnknownWord};

    fn roundtrips<Word>(all: &[Word], code: fn(Word) -> &'static str)
    where
        Word: Copy + Debug + PartialEq + FromStr<Err = UnknownWord> + Serialize + DeserializeOwned,
    {
        for word in all {
            let code = code(*word);
            assert_eq!(Word::from_str(code).as_ref(), Ok(word));
            let json = serde_json::to_string(word).unwrap();
            assert_eq!(json, format!("{code:?}"), "the wire says something else than the code");
            assert_eq!(serde_json::from_str::<Word>(&json).unwrap(), *word);
        }
    }

    #[test]
    fn every_word_reads_back_as_what_it_was() {
        roundtrips(Outcome::ALL, Outcome::code);
        roundtrips(Reason::ALL, Reason::code);
    }

    #[test]
    fn no_word_stands_for_two_things() {
        let mut words: Vec<&str> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        words.extend(Outcome::ALL.iter().map(|outcome| outcome.code()));
        let count = words.len();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), count);
    }

    #[test]
    fn a_word_that_is_none_is_answered_with_those_that_are() {
        let error = Outcome::from_str("Cut").unwrap_err().to_string();
        assert_eq!(
            error,
            "\"Cut\" is no outcome: it is one of completed, refused, upstream_failed, client_left, cut"
        );
        assert!(serde_json::from_str::<Reason>("\"new_word\"").is_err());
    }
}
