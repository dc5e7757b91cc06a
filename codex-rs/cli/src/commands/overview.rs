//! Several proxies at a glance: a line for each, below what each says of itself.

use codex_proxy_client::{Found, ServerInfo};
use codex_responses_api_proxy::plain::plain;

use super::host::Host;
use super::sheet::Sheet;
use super::status_text;
use super::table::{Align, Column};

const COLUMNS: [Column; 4] = [
    column("ADDRESS", Align::Left, None),
    column("PID", Align::Right, Some(2)),
    column("ACCOUNT", Align::Left, Some(1)),
    column("STATE", Align::Left, Some(3)),
];

const fn column(name: &'static str, align: Align, worth: Option<u8>) -> Column {
    Column { name, align, usual: 0, most: usize::MAX, worth }
}

/// Nothing for a single one. What can't be read is no proxy.
pub(crate) fn write(found: &[Found], host: Host, sheet: &mut Sheet) {
    let rows: Vec<Vec<String>> = found.iter().filter_map(|found| row(found, host)).collect();
    if rows.len() > 1 {
        sheet.heading(&format!("In short: {}", rows.len()));
        sheet.table(&COLUMNS, &rows);
    }
}

fn row(found: &Found, host: Host) -> Option<Vec<String>> {
    let (info, state) = match found {
        Found::Running(proxy) => (&proxy.info, status_text::state(proxy.status.state)),
        Found::Stale { info, .. } => (info, "is left over"),
        Found::Forged { info, .. } => (info, "is forged"),
        Found::Silent { info, .. } => (info, "does not answer"),
        Found::Unusable { .. } => return None,
    };
    let ServerInfo { base_url, pid, uid, .. } = info;
    let words = [base_url.clone(), pid.to_string(), host.account(*uid), state.to_owned()];
    Some(words.iter().map(|word| plain(word).into_owned()).collect())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::json;

    use super::super::host::testing::HOST;
    use super::*;

    fn info(port: u16, uid: u32) -> ServerInfo {
        serde_json::from_value(json!({
            "port": port, "pid": 17, "base_url": format!("http://127.0.0.1:{port}/v1"), "uid": uid,
            "listener_uid": uid, "instance": "0123456789abcdef", "started_at": 1_800_000_000,
            "version": "0.1.0"
        }))
        .unwrap()
    }

    #[test]
    fn several_have_a_line_each_and_one_has_none() {
        let file = PathBuf::from("/run/1.json");
        let because = "of it".to_owned();
        let stale =
            Found::Stale { file: file.clone(), info: info(4_321, 0), because: because.clone() };
        let info = info(999, 61_234);
        let silent = Found::Silent { file, info, because, not_allowed: true };
        let all = [stale, silent];
        let mut sheet = Sheet::new(Some(80));
        write(&all[..1], HOST, &mut sheet);
        assert!(sheet.lines.is_empty());
        write(&all, HOST, &mut sheet);
        let expected = [
            "",
            "In short: 2",
            "  ADDRESS                   PID  ACCOUNT       STATE",
            "  http://127.0.0.1:4321/v1   17  root (uid 0)  is left over",
            "  http://127.0.0.1:999/v1    17  uid 61234     does not answer",
        ];
        assert_eq!(sheet.lines, expected);
    }
}
