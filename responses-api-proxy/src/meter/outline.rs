//! Which members of a JSON text are wanted: the few paths that a meter follows.

/// A place in a JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// Nothing in there is wanted.
    Elsewhere,
    /// The data of an event of a stream.
    Event,
    /// A response object: `response` of an event, or a whole answer.
    Response,
    Usage,
    InputDetails,
    OutputDetails,
    Error,
    /// A whole request.
    Request,
    Leaf(Leaf),
}

/// A scalar that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaf {
    Type,
    Code,
    Model,
    Status,
    Stream,
    InputTokens,
    CachedTokens,
    OutputTokens,
    ReasoningTokens,
    TotalTokens,
    ErrorCode,
    ErrorType,
}

impl Node {
    /// The member of this object with this name.
    pub(super) fn member(self, name: &str) -> Self {
        match (self, name) {
            (Self::Event, "type") => Self::Leaf(Leaf::Type),
            (Self::Event, "code") => Self::Leaf(Leaf::Code),
            (Self::Event, "response") => Self::Response,
            (Self::Event | Self::Response, "error") => Self::Error,
            (Self::Response | Self::Request, "model") => Self::Leaf(Leaf::Model),
            (Self::Response, "status") => Self::Leaf(Leaf::Status),
            (Self::Response, "usage") => Self::Usage,
            (Self::Request, "stream") => Self::Leaf(Leaf::Stream),
            (Self::Usage, "input_tokens") => Self::Leaf(Leaf::InputTokens),
            (Self::Usage, "output_tokens") => Self::Leaf(Leaf::OutputTokens),
            (Self::Usage, "total_tokens") => Self::Leaf(Leaf::TotalTokens),
            (Self::Usage, "input_tokens_details") => Self::InputDetails,
            (Self::Usage, "output_tokens_details") => Self::OutputDetails,
            (Self::InputDetails, "cached_tokens") => Self::Leaf(Leaf::CachedTokens),
            (Self::OutputDetails, "reasoning_tokens") => Self::Leaf(Leaf::ReasoningTokens),
            (Self::Error, "code") => Self::Leaf(Leaf::ErrorCode),
            (Self::Error, "type") => Self::Leaf(Leaf::ErrorType),
            _ => Self::Elsewhere,
        }
    }
}
