//! How many tokens an exchange took.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Tokens, as the upstream reports them. Each is `None` where it said nothing. `Display` gives
/// `in 1200 (cached 1024) out 42 (reasoning 7)`, and leaves out what is not known.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Tokens of the request.
    pub input_tokens: Option<u64>,
    /// Those of them that came from the upstream's cache.
    pub cached_tokens: Option<u64>,
    /// Tokens of the answer.
    pub output_tokens: Option<u64>,
    /// Those of them that are reasoning.
    pub reasoning_tokens: Option<u64>,
    /// All together, in the upstream's own count.
    pub total_tokens: Option<u64>,
}

impl fmt::Display for Usage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let amounts = [
            ("in", self.input_tokens, "cached", self.cached_tokens),
            ("out", self.output_tokens, "reasoning", self.reasoning_tokens),
        ];
        let mut space = "";
        for (name, tokens, part, of_them) in amounts {
            if let Some(tokens) = tokens {
                write!(formatter, "{space}{name} {tokens}")?;
                space = " ";
                if let Some(of_them) = of_them {
                    write!(formatter, " ({part} {of_them})")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_upstream_did_not_say_is_left_out() {
        let all = Usage {
            input_tokens: Some(1_200),
            cached_tokens: Some(1_024),
            output_tokens: Some(42),
            reasoning_tokens: Some(7),
            total_tokens: Some(1_242),
        };
        assert_eq!(all.to_string(), "in 1200 (cached 1024) out 42 (reasoning 7)");
        assert_eq!(
            Usage { cached_tokens: None, output_tokens: None, ..all }.to_string(),
            "in 1200"
        );
        assert_eq!(Usage { input_tokens: None, ..all }.to_string(), "out 42 (reasoning 7)");
        assert_eq!(Usage::default().to_string(), "");
    }
}
