//! The recipe that people know, word for word, with real users, real sudo and root-owned binaries.
//!
//! It runs in a private mount namespace, in which /etc, /run, /usr/local/bin and /tmp are copies or empty: the
//! host's files stay as they are.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use codex_mock_upstream::Scenario;

use crate::private_namespace;
use crate::real_codex;
use crate::support::*;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recipe_with_sudo.sh");

/// What README tells people to type is what the script runs.
#[test]
fn the_script_is_the_readmes_recipe() {
    let script = fs::read_to_string(SCRIPT).unwrap();
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");
    let readme = fs::read_to_string(readme).unwrap();
    for command in [
        "sudo install -o root -m 755 ",
        "printenv OPENAI_API_KEY | sudo codex responses-api-proxy --http-shutdown --server-info /tmp/server-info.json --daemon",
        "unset OPENAI_API_KEY",
        "codex proxy point --dry-run",
        "codex proxy unpoint --purge",
        "CODEX_PROXY=1 codex exec ",
        r#"PORT=$(sed -n 's/.*"port":\([0-9]*\).*/\1/p' /tmp/server-info.json)"#,
        r#"-c 'model_provider="openai-proxy"' \"#,
        r#"-c "model_providers.openai-proxy={name=\"Codex key guard\",base_url=\"http://127.0.0.1:$PORT/v1\",wire_api=\"responses\"}" \"#,
        r#"curl --fail --silent --show-error "http://127.0.0.1:$PORT/shutdown""#,
    ] {
        assert!(script.contains(command) && readme.contains(command), "{command}");
    }
}

fn missing() -> Option<String> {
    let programs = ["sudo", "unshare", "useradd", "setpriv", "curl"];
    private_namespace::missing(&programs).or_else(|| real_codex::missing().map(str::to_owned))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_with_sudo_runs_the_proxy_as_root_and_uses_it() {
    if !can_run(missing().as_deref()) {
        return;
    }
    let upstream = tls_upstream(Scenario::Turn).await;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    fs::write(folder.path().join("authority.pem"), upstream.authority_pem().unwrap()).unwrap();
    let built = Path::new(crate::PROXY.0).parent().unwrap();
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "bash", SCRIPT])
        .env("WORK", folder.path())
        .env("BUILT", built)
        .env("NODE_MODULES", real_codex::installed().parent().unwrap().parent().unwrap())
        .env("UPSTREAM_URL", upstream.responses_url())
        .env("KEY", KEY)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (shown, said) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{shown}\n{said}");
    for fact in [
        "proxy uid 0",
        "memory closed",
        "shown, not done",
        "pointed codex said The key stayed with the proxy.",
        "left in .codex: .codex/config.toml: # My settings",
        "codex for one run said The key stayed with the proxy.",
        "codex said The key stayed with the proxy.",
        "process gone",
        "file gone",
    ] {
        assert!(shown.lines().any(|line| line == fact), "no {fact:?} in {shown}\n{said}");
    }
    let counts = upstream.counts();
    assert_eq!((counts.requests, counts.wrong_bearer), (3, 0));
    assert!(!Path::new("/home/tst_recipe").exists());
}
