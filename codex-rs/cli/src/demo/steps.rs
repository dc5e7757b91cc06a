//! What the demo prints: each step as it happens, as text or as JSON lines.
#![expect(clippy::print_stdout, reason = "this is where the demo prints")]

use std::time::Duration;

use serde_json::{Value, json};

/// Prints steps as they happen.
#[derive(Debug)]
pub(crate) struct Steps {
    json: bool,
    done: u32,
}

impl Steps {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, done: 0 }
    }

    pub(crate) fn title(&self, text: &str) {
        if !self.json {
            println!("{text}\n");
        }
    }

    /// A step that showed what it should: `facts` for machines, `text` for people.
    pub(crate) fn done(&mut self, name: &str, facts: Value, text: &str) {
        self.done += 1;
        if self.json {
            println!("{}", json!({ "step": name, "ok": true, "facts": facts }));
        } else {
            println!("{:>2}  {name:<13} {text}", self.done);
        }
    }

    pub(crate) fn end(&self, took: Duration) {
        let took_ms = took.as_millis();
        if self.json {
            println!(
                "{}",
                json!({ "step": "end", "ok": true, "facts": { "steps": self.done, "took_ms": took_ms } })
            );
        } else {
            println!("\nAll {} steps showed what they should, in {took_ms} ms.", self.done);
            println!("For real: printenv OPENAI_API_KEY | codex proxy");
        }
    }
}
