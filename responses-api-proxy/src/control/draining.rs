//! Stopping the proxy, and how far it has come.

use std::sync::Arc;

use bytes::Bytes;
use codex_proxy_client::DrainState;
use http_body_util::channel::Channel;

use super::Control;

/// Stops the proxy. The body says how many exchanges are left once the port is closed and server-info is gone, and ends
/// when the proxy does.
///
/// Who stops listening does not change what was begun.
pub(super) fn drain(control: &Arc<Control>, now: bool) -> Channel<Bytes> {
    if now {
        control.proxy.stop.abort();
    } else {
        control.proxy.stop.drain();
    }
    let (mut lines, body) = Channel::new(1);
    let mut count = control.proxy.records.under_way.count();
    let ended = control.ended.clone();
    let stop = control.proxy.stop.clone();
    tokio::spawn(async move {
        stop.closed().await; // Who has read a line can rely on it: nobody new comes in.
        loop {
            let exchanges = *count.borrow_and_update();
            // Plain numbers: nothing that JSON could refuse.
            let line = serde_json::to_string(&DrainState { exchanges }).unwrap_or_default() + "\n";
            if lines.send_data(line.into()).await.is_err() {
                return;
            }
            tokio::select! {
                biased; // What has changed is said before the end.
                changed = count.changed() => if changed.is_err() { return },
                () = ended.cancelled() => return,
            }
        }
    });
    body
}
