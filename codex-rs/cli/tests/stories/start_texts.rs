//! What the proxy says at its start, as docs/guides/troubleshooting.md quotes it.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::unistd::geteuid;

use crate::codex_texts::*;
use crate::support::*;

#[test]
fn a_start_says_what_the_guide_quotes() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("absent.pem");
    let open = folder.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
    let [open_key, empty_key] = ["open-key", "empty-key"].map(|name| folder.path().join(name));
    for (file, content, mode) in [(&open_key, KEY, 0o644), (&empty_key, "", 0o600)] {
        fs::write(file, content).unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
    }
    let key = KEY.as_bytes();
    let cases: [(&[&str], &[u8], &str); 15] = [
        (&[], b"", NO_KEY),
        (&[], b"\"sk-x\"", BAD_BYTE),
        (&[], &[b'k'; 5_000], LONG_KEY),
        (&[], b"one\ntwo\n", TWO_LINES),
        (&["--key-file", str(&open_key)], b"", BAD_KEY_FILE),
        (&["--key-file", str(&empty_key)], b"", BAD_KEY_IN_FILE),
        (&["--port", port.as_str()], key, PORT_TAKEN),
        (&["--upstream-url", "http://api.openai.com/v1/responses"], key, BAD_UPSTREAM),
        (&["--upstream-proxy", "socks5://127.0.0.1:1080"], key, BAD_PROXY),
        (&["--set-header", "Host: elsewhere"], key, BAD_FIELD),
        (&["--upstream-ca", str(&absent)], key, BAD_AUTHORITIES),
        (&["--allow-user", "no-such-account-here"], key, NO_SUCH_USER),
        (&["--server-info", str(folder.path())], key, BAD_SERVER_INFO),
        (&["--dump-dir", str(&open)], key, OPEN_DUMPS),
        (&["--github-oidc"], key, WORKLOAD_IDENTITY),
    ];
    for (flags, input, says) in cases {
        let output = run(flags, input);
        let said = text(&output.stderr);
        assert!(!output.status.success() && said.contains("\nhint: "), "{says}: {said}");
        assert!(said.lines().any(|line| fits(line, says)), "no {says:?} in {said}");
    }

    // Root may lock whatever its limit is, so somebody else does this.
    let copy = folder.path().join("codex");
    copy_program(&copy);
    for path in [folder.path(), &copy] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = clean(Command::new("sh"));
    command.args(["-c", r#"ulimit -l 0; echo key-1234 | "$0" responses-api-proxy"#]).arg(&copy);
    if geteuid().is_root() {
        command.uid(61_237).gid(61_237);
    }
    let said = text(&command.output().unwrap().stderr);
    let is_said = said.lines().any(|line| fits(line, NOT_LOCKED));
    assert!(is_said && said.contains("\nhint: "), "{said}");

    let mut command = program();
    command.env("LD_LIBRARY_PATH", folder.path()).env("SSL_CERT_DIR", folder.path());
    let proxy = Proxy::spawn(&mut command);
    for says in [READY, PRELOADED, NOT_USED] {
        assert!(proxy.said.iter().any(|line| fits(line, says)), "no {says:?} in {:#?}", proxy.said);
    }
}
