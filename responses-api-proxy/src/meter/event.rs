//! What the events of a stream mean to a meter.

use super::StreamEnd;

/// What an event is to us, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It tells the model.
    Begun,
    /// The last of its stream: model, usage, error.
    Ended(StreamEnd),
    /// A part of the output: only that it came matters.
    Delta,
    /// Nothing to us.
    Passing,
}

impl Kind {
    pub(super) fn of(name: &[u8]) -> Self {
        match name {
            _ if name.ends_with(b".delta") => Self::Delta, // First: almost all are.
            b"response.created" | b"response.in_progress" => Self::Begun,
            b"response.completed" => Self::Ended(StreamEnd::Completed),
            b"response.failed" | b"error" => Self::Ended(StreamEnd::Failed),
            b"response.incomplete" => Self::Ended(StreamEnd::Incomplete),
            _ => Self::Passing,
        }
    }

    /// By the `event` field. A name that is not of this API says nothing: then the data's own word decides.
    pub(super) fn of_field(name: &[u8]) -> Option<Self> {
        match Self::of(name) {
            Self::Passing if !name.starts_with(b"response.") => None,
            kind => Some(kind),
        }
    }

    /// Whether the data of such an event need be read.
    pub(super) fn has_facts(self) -> bool {
        matches!(self, Self::Begun | Self::Ended(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_events_matter() {
        for (name, kind, of_field) in [
            ("response.created", Kind::Begun, true),
            ("response.in_progress", Kind::Begun, true),
            ("response.completed", Kind::Ended(StreamEnd::Completed), true),
            ("response.failed", Kind::Ended(StreamEnd::Failed), true),
            ("response.incomplete", Kind::Ended(StreamEnd::Incomplete), true),
            ("error", Kind::Ended(StreamEnd::Failed), true),
            ("response.output_text.delta", Kind::Delta, true),
            ("response.reasoning_summary_text.delta", Kind::Delta, true),
            ("response.output_text.done", Kind::Passing, true),
            ("response.completed ", Kind::Passing, true),
            ("message", Kind::Passing, false),
            ("Response.completed", Kind::Passing, false),
            ("", Kind::Passing, false),
        ] {
            assert_eq!(Kind::of(name.as_bytes()), kind, "{name}");
            assert_eq!(Kind::of_field(name.as_bytes()), of_field.then_some(kind), "{name}");
        }
    }
}
