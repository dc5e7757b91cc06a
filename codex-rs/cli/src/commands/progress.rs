//! How far a draining is, on standard error: one line rewritten on a terminal, else a line a change.

use std::io::{IsTerminal, Write};

use codex_proxy_client::DrainState;

/// To the line's beginning, and nothing left of what stood there (ECMA-48, EL).
const REWRITE: &str = "\r\u{1b}[K";

pub(crate) struct Progress {
    rewrites: bool,
    /// The last number that was told.
    told: Option<u64>,
}

impl Progress {
    pub(crate) fn start() -> Self {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self { rewrites: std::io::stderr().is_terminal() && !is_dumb, told: None }
    }

    pub(crate) fn tell(&mut self, state: &DrainState) {
        if self.told != Some(state.exchanges) {
            self.told = Some(state.exchanges);
            let (begin, end) = if self.rewrites { (REWRITE, "") } else { ("", "\n") };
            put(&format!("{begin}{}{end}", words(state.exchanges)));
        }
    }
}

/// Whatever comes next has a line of its own.
impl Drop for Progress {
    fn drop(&mut self) {
        if self.rewrites && self.told.is_some() {
            put(REWRITE);
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

/// A closed standard error is its reader's choice.
fn put(text: &str) {
    let mut stderr = std::io::stderr();
    let _ = stderr.write_all(text.as_bytes());
    let _ = stderr.flush();
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
