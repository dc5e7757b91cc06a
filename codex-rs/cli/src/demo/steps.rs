//! What the demo prints: each step as it happens, as text or as JSON lines.

use std::io::Write;
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
            line(&format!("{text}\n"));
        }
    }

    /// A step that showed what it should: `facts` for machines, `text` for people.
    pub(crate) fn done(&mut self, name: &str, facts: Value, text: &str) {
        self.done += 1;
        if self.json {
            line(&json!({ "step": name, "ok": true, "facts": facts }).to_string());
        } else {
            line(&format!("{:>2}  {name:<13} {text}", self.done));
        }
    }

    /// The demo ends early. People read why on standard error.
    pub(crate) fn failed(&self, error: &anyhow::Error) {
        if self.json {
            line(&json!({ "step": "end", "ok": false, "error": format!("{error:#}") }).to_string());
        }
    }

    pub(crate) fn end(&self, took: Duration) {
        let (steps, took_ms) = (self.done, took.as_millis());
        if self.json {
            let facts = json!({ "steps": steps, "took_ms": took_ms });
            line(&json!({ "step": "end", "ok": true, "facts": facts }).to_string());
        } else {
            line(&format!("\nAll {steps} steps showed what they should, in {took_ms} ms."));
            let program = std::env::args_os().next().unwrap_or_else(|| "codex".into());
            line(&format!("For real: printenv OPENAI_API_KEY | {} proxy", program.display()));
        }
    }
}

/// A reader that leaves early (`| head`) has what it wanted; the demo goes on to its exit code.
fn line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
