//! The exchanges that are under way, as a table.

use codex_proxy_client::InFlight;
use codex_responses_api_proxy::plain::plain;

use super::figures::{bytes, millis};
use super::host::Host;
use super::sheet::Sheet;
use super::table::{Align, Column};

const COLUMNS: [Column; 8] = [
    column("#ID", Align::Right, Some(6)),
    column("WHO", Align::Left, Some(5)),
    column("STATUS", Align::Right, Some(3)),
    column("MODEL", Align::Left, Some(4)),
    column("FOR", Align::Right, None),
    column("UP", Align::Right, Some(2)),
    column("DOWN", Align::Right, Some(7)),
    column("PATH", Align::Left, Some(1)),
];

const fn column(name: &'static str, align: Align, worth: Option<u8>) -> Column {
    Column { name, align, usual: 0, most: usize::MAX, worth }
}

pub(crate) fn write(exchanges: &[InFlight], host: Host, sheet: &mut Sheet) {
    if exchanges.is_empty() {
        sheet.heading("In flight: none");
        return;
    }
    sheet.heading(&format!("In flight: {}", exchanges.len()));
    let rows: Vec<Vec<String>> = exchanges.iter().map(|exchange| cells(exchange, host)).collect();
    sheet.table(&COLUMNS, &rows);
}

fn cells(exchange: &InFlight, host: Host) -> Vec<String> {
    let who = exchange.uid.map_or_else(|| "unknown".to_owned(), |uid| host.account(uid));
    vec![
        exchange.id.to_string(),
        plain(&who).into_owned(),
        exchange.status.map(|status| status.to_string()).unwrap_or_default(),
        plain(exchange.model.as_deref().unwrap_or_default()).into_owned(),
        millis(exchange.elapsed_ms),
        bytes(exchange.bytes_in),
        bytes(exchange.bytes_out),
        plain(&exchange.path).into_owned(),
    ]
}
