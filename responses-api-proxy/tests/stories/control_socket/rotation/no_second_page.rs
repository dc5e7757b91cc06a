//! An account that may lock memory for one key, and not for another.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::process::Command;

use codex_mock_upstream::Scenario;
use nix::unistd::geteuid;

use super::{OTHER_KEY, refused};
use crate::control_client::*;
use crate::control_socket::fixture::{open_folder, without_sudo};
use crate::support::*;

/// An account that need not exist.
const SERVICE: u32 = 61_235;
/// What the memory for one key takes, in pages of 4 KiB: a key of 4,096 bytes and its line end.
const ONE_KEY_KIB: &str = "8";
/// `sh -c`: the rest with so much that may be locked.
const WITH_LIMIT: &str = r#"ulimit -l "$1" && shift && exec "$@""#;

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_there_is_no_memory_for_is_refused_with_the_remedy_and_the_old_one_stays() {
    let missing = "it starts a process of another account: run the tests as root";
    if !can_run((!geteuid().is_root()).then_some(missing)) {
        return;
    }
    let upstream = upstream(Scenario::Json).await;
    let (folder, own) = (open_folder(), open_folder());
    chown(own.path(), Some(SERVICE), Some(SERVICE)).unwrap();
    let (program, socket) = (program_for_all(folder.path()), own.path().join("control.sock"));
    let mut command = without_sudo(clean(Command::new("sh")));
    command.args(["-c", WITH_LIMIT, "sh", ONE_KEY_KIB, str(&program)]).args(crate::PROXY.1);
    command.args(["--upstream-url", &upstream.responses_url(), "--control-socket", str(&socket)]);
    let mut proxy = Proxy::spawn(command.uid(SERVICE).gid(SERVICE).current_dir("/"));

    let before = status(&socket)["key"].take();
    for _ in 0..2 {
        let message = refused(rotate(&socket, OTHER_KEY), 500, "no_memory");
        for part in ["could not be locked", "the old key stays in use", "ulimit -l", "MEMLOCK"] {
            assert!(message.contains(part), "{part}: {message}");
        }
        let line = proxy.line_with("warning: uid 0");
        assert!(line.contains("could not be locked"), "{line}");
        assert!(line.ends_with("; the old one stays"), "{line}");
        for said in [message, line] {
            assert_not_shown(OTHER_KEY, said.as_bytes());
        }
        assert_eq!(status(&socket)["key"], before);
        // The upstream takes no key but the first.
        assert_eq!(proxy.ask("POST /v1/responses", &[], b"{}").status, 200);
    }
}
