//! Records as rows: who, when, for which model, how much, how fast, how it ended.

use anstyle::{AnsiColor, Style};
use codex_request_log::{Outcome, Record};
use codex_responses_api_proxy::plain::plain;

use super::figures;
use super::table::{Align, Column, Table};

const OUTCOME: &str = "OUTCOME";

const COLUMNS: [Column; 11] = [
    column("TIME UTC", Align::Left, 8, Some(10)),
    column("#ID", Align::Right, 4, Some(4)),
    column("WHO", Align::Left, 8, Some(9)),
    column(OUTCOME, Align::Left, 13, None),
    Column { most: 20, ..column("MODEL", Align::Left, 10, Some(7)) },
    column("IN", Align::Right, 6, Some(3)),
    column("CACHED", Align::Right, 6, Some(1)),
    column("OUT", Align::Right, 5, Some(5)),
    column("FIRST", Align::Right, 6, Some(2)),
    column("TOTAL", Align::Right, 7, Some(6)),
    Column { most: 17, ..column("REASON", Align::Left, 14, Some(8)) },
];

const fn column(name: &'static str, align: Align, usual: usize, worth: Option<u8>) -> Column {
    Column { name, align, usual, most: usize::MAX, worth }
}

/// The rows of a log, under one header.
#[derive(Debug)]
pub(crate) struct RecordTable {
    table: Table,
    colour: bool,
    /// The day of the row before: a row of another day gets a line with its own.
    day: String,
}

impl RecordTable {
    /// Fits these records, and if it `grows` others like them. `today` is as in `2027-01-15`.
    pub(crate) fn fit(
        records: &[&Record],
        grows: bool,
        width: Option<usize>,
        colour: bool,
        today: &str,
    ) -> Self {
        let rows: Vec<Vec<String>> = records.iter().map(|record| cells(record)).collect();
        let table = Table::fit(&COLUMNS, &rows, grows, width);
        Self { table, colour, day: today.to_owned() }
    }

    pub(crate) fn header(&self) -> String {
        self.table.header()
    }

    /// The lines of a record: its row, and before it the day where that is another.
    pub(crate) fn lines(&mut self, record: &Record) -> Vec<String> {
        let mut lines = Vec::new();
        let moment = figures::moment(record.started_at);
        let day = moment.split('T').next().unwrap_or_default();
        if day != self.day {
            self.day = day.to_owned();
            lines.push(day.to_owned());
        }
        lines.push(self.table.row(&cells(record), |column, text| {
            if self.colour && column == OUTCOME {
                let style = style(record);
                format!("{style}{text}{style:#}")
            } else {
                text.to_owned()
            }
        }));
        lines
    }
}

fn cells(record: &Record) -> Vec<String> {
    let usage = record.usage.unwrap_or_default();
    let tokens = |count: Option<u64>| count.map(figures::tokens).unwrap_or_default();
    let moment = figures::moment(record.started_at);
    let clock = moment.split(['T', 'Z']).nth(1).unwrap_or("?");
    let status = record.status.map(|status| format!(" {status}")).unwrap_or_default();
    vec![
        clock.to_owned(),
        record.id.to_string(),
        who(record),
        format!("{}{status}", record.outcome.code()),
        plain(record.model.as_deref().unwrap_or_default()).into_owned(),
        tokens(usage.input_tokens),
        tokens(usage.cached_tokens),
        tokens(usage.output_tokens),
        record.first_byte_ms.map(figures::millis).unwrap_or_default(),
        figures::millis(record.duration_ms),
        reason(record),
    ]
}

fn who(record: &Record) -> String {
    match (&record.peer.user, record.peer.uid) {
        (Some(user), _) => plain(user).into_owned(),
        (None, Some(uid)) => format!("uid {uid}"),
        (None, None) => "unknown".to_owned(),
    }
}

/// Our word for why, and the upstream's.
fn reason(record: &Record) -> String {
    let words = [
        record.reason.map(|reason| reason.code().to_owned()),
        record.upstream_error.as_deref().map(|code| plain(code).into_owned()),
    ];
    words.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn style(record: &Record) -> Style {
    let is_error = record.status.is_none_or(|status| status >= 400) || record.reason.is_some();
    match record.outcome {
        Outcome::Completed if is_error => AnsiColor::Yellow.on_default(),
        Outcome::Completed => AnsiColor::Green.on_default(),
        Outcome::Refused => AnsiColor::Yellow.on_default(),
        Outcome::ClientLeft => AnsiColor::Cyan.on_default(),
        Outcome::UpstreamFailed | Outcome::Cut => AnsiColor::Red.on_default(),
    }
}

#[cfg(test)]
mod tests {
    use codex_request_log::Line;
    use serde_json::json;

    use super::*;

    fn record(changes: &serde_json::Value) -> Record {
        let mut record = json!({
            "id": 7, "started_at": "2027-01-15T08:00:00.000Z",
            "peer": { "uid": 1000, "user": "alice" },
            "method": "POST", "path": "/v1/responses",
            "outcome": "completed", "reason": null, "detail": null, "status": 200,
            "model": "gpt-5", "stream": true, "bytes_in": 400, "bytes_out": 1200,
            "first_byte_ms": 80, "duration_ms": 1234,
            "usage": {
                "input_tokens": 12_345, "cached_tokens": 1_024, "output_tokens": 42,
                "reasoning_tokens": 7, "total_tokens": 12_387
            },
            "upstream_request_id": "req_1", "upstream_error": null
        });
        for (key, value) in changes.as_object().unwrap() {
            record[key] = value.clone();
        }
        match Line::parse(&record.to_string()) {
            Some(Line::Record(record)) => *record,
            other => panic!("{other:?}"),
        }
    }

    fn records() -> Vec<Record> {
        vec![
            record(&json!({})),
            record(&json!({
                "id": 8, "started_at": "2027-01-15T08:00:01.500Z",
                "peer": { "uid": 1001, "user": null }, "outcome": "refused", "status": 403,
                "reason": "route_not_allowed", "model": null, "usage": null,
                "first_byte_ms": null, "duration_ms": 0
            })),
            record(&json!({
                "id": 9, "started_at": "2027-01-16T00:00:01.000Z", "outcome": "cut",
                "reason": "upstream_cut", "upstream_error": "server_error", "duration_ms": 61_000
            })),
        ]
    }

    fn shown(width: Option<usize>, grows: bool, today: &str) -> Vec<String> {
        let records = records();
        let all: Vec<&Record> = records.iter().collect();
        let mut table = RecordTable::fit(&all, grows, width, false, today);
        let mut lines = vec![table.header()];
        lines.extend(records.iter().flat_map(|record| table.lines(record)));
        lines
    }

    #[test]
    fn with_room_every_column_is_there() {
        let expected = [
            "TIME UTC  #ID  WHO       OUTCOME        MODEL     IN  CACHED  OUT  FIRST       TOTAL  REASON",
            "08:00:00    7  alice     completed 200  gpt-5  12.3k    1.0k   42  80 ms       1.2 s",
            "08:00:01    8  uid 1001  refused 403                                            0 ms  route_not_allowed",
            "2027-01-16",
            "00:00:01    9  alice     cut 200        gpt-5  12.3k    1.0k   42  80 ms  1 min 01 s  upstream_cut server_error",
        ];
        assert_eq!(shown(None, false, "2027-01-15"), expected);
        assert_eq!(shown(Some(200), false, "2027-01-15"), expected);
        assert_eq!(shown(None, false, "2027-01-17")[1], "2027-01-15");
    }

    #[test]
    fn at_80_columns_the_least_important_are_gone() {
        assert_eq!(
            shown(Some(80), false, "2027-01-15"),
            [
                "TIME UTC  WHO       OUTCOME        MODEL  OUT       TOTAL  REASON",
                "08:00:00  alice     completed 200  gpt-5   42       1.2 s",
                "08:00:01  uid 1001  refused 403                      0 ms  route_not_allowed",
                "2027-01-16",
                "00:00:01  alice     cut 200        gpt-5   42  1 min 01 s  upstream_cut server_…",
            ]
        );
    }

    #[test]
    fn at_40_columns_it_says_when_who_how_it_ended_and_for_which_model() {
        assert_eq!(
            shown(Some(40), false, "2027-01-15"),
            [
                "TIME UTC  WHO       OUTCOME        MODEL",
                "08:00:00  alice     completed 200  gpt-5",
                "08:00:01  uid 1001  refused 403",
                "2027-01-16",
                "00:00:01  alice     cut 200        gpt-5",
            ]
        );
        assert_eq!(shown(Some(8), false, "2027-01-15")[..2], ["OUTCOME", "complet…"]);
    }

    #[test]
    fn a_long_model_is_cut_and_stays() {
        let long = record(&json!({ "model": "a-model-with-a-name-that-is-much-too-long" }));
        let mut table = RecordTable::fit(&[&long], false, Some(80), false, "2027-01-15");
        assert!(table.header().contains("  MODEL  "), "{}", table.header());
        let row = table.lines(&long).join("");
        assert!(row.contains("  a-model-with-a-name-…  42  "), "{row}");
    }

    #[test]
    fn no_line_is_wider_than_the_width_even_if_it_grows() {
        for width in 1..=200 {
            for line in shown(Some(width), true, "2027-01-15") {
                let is_day = line.starts_with("2027-");
                assert!(is_day || line.chars().count() <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn a_log_that_is_followed_has_room_for_what_is_usual() {
        let header = |width| RecordTable::fit(&[], true, Some(width), false, "").header();
        assert_eq!(
            header(110),
            "TIME UTC   #ID  WHO       OUTCOME        MODEL           IN  CACHED    OUT   FIRST    TOTAL  REASON"
        );
        assert_eq!(
            header(80),
            "TIME UTC  WHO       OUTCOME        MODEL         OUT    TOTAL  REASON"
        );
    }

    #[test]
    fn only_the_outcome_has_a_colour() {
        let records = records();
        let all: Vec<&Record> = records.iter().collect();
        let mut table = RecordTable::fit(&all, false, Some(40), true, "2027-01-15");
        assert_eq!(
            table.lines(&records[0]),
            ["08:00:00  alice     \u{1b}[32mcompleted 200\u{1b}[0m  gpt-5"]
        );
        assert_eq!(table.header(), "TIME UTC  WHO       OUTCOME        MODEL");
    }

    #[test]
    fn a_clients_words_reach_the_terminal_as_words() {
        let record = record(&json!({ "model": "a\u{1b}[2Jb\n", "upstream_error": "x\u{9b}y" }));
        let mut table = RecordTable::fit(&[&record], false, None, false, "2027-01-15");
        let row = table.lines(&record).join("");
        assert!(row.contains("a\\u{1b}[2Jb\\n") && row.contains("x\\u{9b}y"), "{row:?}");
    }
}
