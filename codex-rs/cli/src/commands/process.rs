//! Waiting for a process to end.

use std::time::Duration;

use codex_proxy_client::is_running;
use tokio::time::{Instant, sleep};

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Waits until this process has ended, but no longer than `patience`; returns whether it has.
pub(crate) async fn ends_within(pid: u32, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        if !is_running(pid) {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[tokio::test]
    async fn a_process_has_ended_even_if_nobody_asked_for_its_exit_code() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        assert!(!ends_within(child.id(), Duration::from_millis(50)).await);
        child.kill().unwrap();
        assert!(
            !cfg!(target_os = "linux") || ends_within(child.id(), Duration::from_secs(10)).await
        );
        child.wait().unwrap();
        assert!(ends_within(child.id(), Duration::ZERO).await);
    }
}
