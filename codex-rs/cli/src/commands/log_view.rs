//! What `log` shows: a table with one header, or a line of JSON a record.

use std::time::SystemTime;

use codex_request_log::{Line, Record};
use codex_responses_api_proxy::plain::plain;

use super::error::CommandError;
use super::figures;
use super::record_table::RecordTable;
use super::screen::Screen;

pub(crate) struct LogView {
    json: bool,
    /// Whether more may come after what is shown first.
    grows: bool,
    waiting: Vec<Line>,
    /// Made for the first lines that are shown.
    table: Option<RecordTable>,
}

impl LogView {
    pub(crate) fn new(json: bool, grows: bool) -> Self {
        Self { json, grows, waiting: Vec::new(), table: None }
    }

    pub(crate) fn push(&mut self, line: Line) {
        if !matches!(line, Line::Heartbeat) {
            self.waiting.push(line);
        }
    }

    /// How many lines are not shown yet.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing has been shown yet, not even a header.
    pub(crate) fn is_new(&self) -> bool {
        !self.json && self.table.is_none()
    }

    /// Shows what waits.
    pub(crate) fn show(&mut self, screen: &mut Screen) -> Result<(), CommandError> {
        let waiting = std::mem::take(&mut self.waiting);
        for line in self.lines(&waiting, screen.width, screen.colour) {
            screen.line(&line)?;
        }
        screen.flush()
    }

    fn lines(&mut self, waiting: &[Line], width: Option<usize>, colour: bool) -> Vec<String> {
        if self.json {
            return waiting.iter().map(Line::to_json).collect();
        }
        let mut lines = Vec::new();
        let table = self.table.get_or_insert_with(|| {
            let records: Vec<&Record> = waiting.iter().filter_map(record).collect();
            let table = RecordTable::fit(&records, self.grows, width, colour, &today());
            lines.push(table.header());
            table
        });
        for line in waiting {
            match line {
                Line::Record(record) => lines.extend(table.lines(record)),
                Line::Gap { records, because } => lines.push(gap(*records, because)),
                Line::Heartbeat => {}
            }
        }
        lines
    }
}

fn record(line: &Line) -> Option<&Record> {
    match line {
        Line::Record(record) => Some(record),
        Line::Gap { .. } | Line::Heartbeat => None,
    }
}

fn gap(records: u64, because: &str) -> String {
    let because = plain(because);
    match records {
        1 => format!("-- 1 record is missing: {because}"),
        _ => format!("-- {records} records are missing: {because}"),
    }
}

fn today() -> String {
    figures::moment(SystemTime::now()).split('T').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap_line() -> Line {
        Line::Gap { records: 3, because: "too\nslow".to_owned() }
    }

    #[test]
    fn the_header_comes_once_and_a_gap_says_how_much_is_missing() {
        let mut view = LogView::new(false, true);
        assert!(view.is_new());
        let lines = view.lines(&[gap_line()], Some(80), false);
        assert!(lines[0].starts_with("TIME UTC"), "{lines:?}");
        assert_eq!(lines[1..], ["-- 3 records are missing: too\\nslow"]);
        assert!(!view.is_new());
        assert_eq!(view.lines(&[gap_line()], Some(80), false).len(), 1);
    }

    #[test]
    fn json_has_no_header_and_a_line_for_each() {
        let mut view = LogView::new(true, false);
        let expected = r#"{"gap":{"records":3,"because":"too\nslow"}}"#;
        assert_eq!(view.lines(&[gap_line()], Some(10), true), [expected]);
        // A terminal that shows it gets no control character, not even one that JSON lets through.
        let odd = Line::Gap { records: 1, because: "a\u{9b}2J".to_owned() };
        let expected = r#"{"gap":{"records":1,"because":"a\u009b2J"}}"#;
        assert_eq!(view.lines(&[odd], Some(10), true), [expected]);
    }

    #[test]
    fn a_heartbeat_is_nothing_to_show() {
        let mut view = LogView::new(true, true);
        view.push(Line::Heartbeat);
        assert_eq!(view.waiting(), 0);
    }
}
