//! How far a draining is, on standard error: one line rewritten on a terminal, else a line a change.

use codex_proxy_client::DrainState;

use super::screen::{StatusLine, say};

pub(crate) struct Progress {
    line: StatusLine,
    /// The last number that was told.
    told: Option<u64>,
}

impl Progress {
    pub(crate) fn start() -> Self {
        Self { line: StatusLine::open(), told: None }
    }

    pub(crate) fn tell(&mut self, state: &DrainState) {
        if self.told == Some(state.exchanges) {
            return;
        }
        self.told = Some(state.exchanges);
        let words = words(state.exchanges);
        match self.line.width() {
            Some(_) => self.line.tell(&words),
            None => say(&words),
        }
    }
}

fn words(exchanges: u64) -> String {
    match exchanges {
        0 => "draining: no exchange left".to_owned(),
        1 => "draining: 1 exchange left".to_owned(),
        _ => format!("draining: {exchanges} exchanges left"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exchanges_are_counted_in_words() {
        assert_eq!(words(0), "draining: no exchange left");
        assert_eq!(words(1), "draining: 1 exchange left");
        assert_eq!(words(2), "draining: 2 exchanges left");
    }
}
