//! Under sudo, within a person's terminal.

use std::path::Path;
use std::process::{Command, Stdio};

use codex_mock_upstream::Scenario;

use crate::private_namespace;
use crate::support::*;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/daemon_under_sudo.sh");
const TERMINALS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/daemon_under_sudo.py");

/// The programs that the script runs.
const PROGRAMS: [&str; 5] = ["sudo", "unshare", "useradd", "python3", "curl"];

/// sudo runs it in a terminal of its own (`use_pty`), within the person's terminal; and both are closed.
#[tokio::test(flavor = "multi_thread")]
async fn under_sudo_it_survives_both_terminals_and_is_stopped_in_three_ways() {
    if !can_run(private_namespace::missing(&PROGRAMS).as_deref()) {
        return;
    }
    let upstream = upstream(Scenario::Json).await;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "bash", SCRIPT, TERMINALS])
        .env("WORK", folder.path())
        .env("BUILT", Path::new(crate::PROXY.0).parent().unwrap())
        .env("UPSTREAM_URL", upstream.responses_url())
        .env("KEY", KEY)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (shown, said) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{shown}\n{said}");
    let facts = [
        "stop: started 0, serves 200 as uid 0, own session, status 0 running, log closed",
        "stop: stop 0, gone, server-info gone, status 1 none",
        "SIGTERM: started 0, serves 200 as uid 0, own session, status 0 running, log closed",
        "SIGTERM: gone, server-info gone, status 1 none",
        "SIGKILL: started 0, serves 200 as uid 0, own session, status 0 running, log closed",
        "SIGKILL: gone, server-info left, status 1 stale",
        "again: started 0, serves 200 as uid 0, own session, status 0 running, log closed",
        "again: stop 0, gone, server-info gone, status 1 none",
    ];
    assert_eq!(shown.lines().collect::<Vec<_>>(), facts, "{said}");
    let counts = upstream.counts();
    assert_eq!((counts.requests, counts.wrong_bearer), (4, 0));
}
