//! Records for those who ask: what has been, and what comes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use codex_proxy_client::RecordsQuery;
use codex_request_log::{Hub, Line, Missed, Record};
use http_body_util::channel::{Channel, Sender};
use tokio::time::{MissedTickBehavior, interval};

use super::Standing;

/// How often a follower hears that we are there.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Pieces that may wait for a follower, besides what waits in the hub.
const WAITING_PIECES: usize = 4;

/// The records that are kept, and wanted, and may be seen.
pub(super) fn recent(hub: &Hub, standing: Standing, query: &RecordsQuery) -> String {
    lines(&chosen(hub.recent(), standing, query))
}

fn chosen(records: Vec<Arc<Record>>, standing: Standing, query: &RecordsQuery) -> Vec<Arc<Record>> {
    // Only here: a record that comes later may have a lower number, if its exchange was long.
    let is_after = |record: &Record| query.after.is_none_or(|after| record.id > after);
    let is_chosen = |record: &Arc<Record>| is_after(record) && is_wanted(record, standing, query);
    let mut chosen: Vec<_> = records.into_iter().filter(is_chosen).collect();
    let begin = chosen.len().saturating_sub(query.last.unwrap_or(usize::MAX));
    chosen.split_off(begin)
}

fn is_wanted(record: &Record, standing: Standing, query: &RecordsQuery) -> bool {
    let only = standing.sees_only();
    (only.is_none() || record.peer.uid == only) && query.filter.accepts(record)
}

fn line(record: &Record) -> String {
    record.to_json() + "\n"
}

fn gap(records: u64, because: &str) -> String {
    Line::Gap { records, because: because.to_owned() }.to_json() + "\n"
}

fn lines(records: &[Arc<Record>]) -> String {
    records.iter().map(|record| line(record)).collect()
}

/// The same, and then each record as it comes, until there are no more or the follower is too slow: then the last
/// line says how many it has missed.
pub(super) fn follow(hub: Hub, standing: Standing, query: RecordsQuery) -> Channel<Bytes> {
    let (mut sender, body) = Channel::new(WAITING_PIECES);
    // How a follower leaves is its own affair.
    tokio::spawn(async move { send_all(&hub, standing, &query, &mut sender).await });
    body
}

/// Returns `None` once nobody listens any more, else at the end.
async fn send_all(
    hub: &Hub,
    standing: Standing,
    query: &RecordsQuery,
    sender: &mut Sender<Bytes>,
) -> Option<()> {
    let (recent, mut follower) = hub.follow();
    send(sender, lines(&chosen(recent, standing, query))).await?;
    let mut heartbeat = interval(HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    heartbeat.reset(); // The first one comes when the time is up.
    loop {
        tokio::select! {
            biased;
            next = follower.next() => match next {
                Ok(record) if is_wanted(&record, standing, query) => {
                    send(sender, line(&record)).await?;
                }
                Ok(_) => {}
                Err(Missed::Lost(records)) => {
                    send(sender, gap(records, "more came at once than find room")).await?;
                }
                Err(Missed::TooSlow(records)) => {
                    return send(sender, gap(records, "this reader was too slow")).await;
                }
                Err(Missed::Ended) => return Some(()),
            },
            _ = heartbeat.tick() => send(sender, Line::Heartbeat.to_json() + "\n").await?,
        }
    }
}

async fn send(sender: &mut Sender<Bytes>, text: String) -> Option<()> {
    if text.is_empty() { Some(()) } else { sender.send_data(text.into()).await.ok() }
}
