//! The proxy starts whole or not at all: exit code, one message with its remedy, nothing left.

use std::fs;
use std::net::TcpListener;
use std::process::Output;

use crate::support::*;

/// What was said on standard error, once nothing but the failure has been seen to have happened.
fn failure(output: &Output, code: i32) -> String {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(output.stdout.is_empty());
    assert_eq!(said.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{said}");
    assert!(!said.contains("ready: ") && !said.contains("panicked"), "{said}");
    for part in KEY.as_bytes().windows(8) {
        assert!(!contains(&output.stderr, part), "the key is in {said}");
    }
    said
}

#[test]
fn a_bad_key_is_refused_with_what_is_wrong_with_it() {
    let line = |end: &str| format!("{KEY}{end}").into_bytes();
    for (input, expected) in [
        (b"".to_vec(), "no API key arrived\n"),
        (b"\n".to_vec(), "no API key arrived\n"),
        (vec![b'k'; 5_000], "longer than 4096 bytes"),
        (line(" "), "unexpected byte at offset 36"),
        (format!("\"{KEY}\"").into_bytes(), "unexpected byte at offset 0"),
        (line(&format!("\n{KEY}\n")), "more than one line"),
    ] {
        let (folder, path) = server_info();
        let said = failure(&run(&["--server-info", str(&path)], &input), 1);
        assert!(said.contains(expected) && said.contains("\nhint: "), "{said}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (folder, path) = server_info();
    let said = failure(&run(&["--port", &port, "--server-info", str(&path)], KEY.as_bytes()), 1);
    assert!(said.contains(&format!("127.0.0.1:{port} can't be listened on")), "{said}");
    assert!(said.contains("hint: another program has this port"), "{said}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_bad_upstream_is_refused_with_its_url() {
    for (url, expected) in [
        ("http://api.openai.com/v1/responses", "in the clear"),
        ("http://localhost:1/v1/responses", "in the clear"),
        ("api.openai.com", "not a URL"),
        ("ftp://api.openai.com/", "scheme is ftp"),
        ("https://api.openai.com/#x", "fragment"),
    ] {
        let said = failure(&run(&["--upstream-url", url], KEY.as_bytes()), 1);
        assert!(said.contains(expected) && said.contains(url), "{url}: {said}");
    }
    // What may be a key, put in the wrong place, is not printed.
    let url = format!("https://user:{}@api.openai.com/v1/responses", &KEY[..20]);
    let said = failure(&run(&["--upstream-url", &url], KEY.as_bytes()), 1);
    assert!(said.contains("user name") && said.contains("…@api.openai.com/v1/responses"), "{said}");
}

#[test]
fn authorities_that_cannot_be_read_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let authority = rcgen::generate_simple_self_signed(["test".to_owned()]).unwrap().cert.pem();
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (path, expected) in [
        (folder.path().join("missing.pem"), "No such file"),
        (file("empty.pem", ""), "no certificate in it"),
        (file("text.pem", "hello"), "no certificate in it"),
        (file("broken.pem", broken), "no authority's"),
        (file("half.pem", &format!("{authority}{broken}")), "no authority's"),
    ] {
        let said = failure(&run(&["--upstream-ca", str(&path)], KEY.as_bytes()), 1);
        assert!(said.contains(expected) && said.contains(str(&path)), "{said}");
    }
}

#[test]
fn a_server_info_file_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("file");
    fs::write(&blocked, "").unwrap();
    for path in [blocked.join("server-info.json"), folder.path().to_owned()] {
        let said = failure(&run(&["--server-info", str(&path)], KEY.as_bytes()), 1);
        assert!(said.contains(str(&path)), "{said}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "something was left behind");
    }
}

#[test]
fn workload_identity_is_refused_in_one_sentence() {
    for flags in [
        &["--github-oidc"][..],
        &["--oidc-audience", "x"],
        &["--identity-provider-id", "x"],
        &["--service-account-id", "x"],
        &["--github-oidc-request-url", "https://x"],
    ] {
        let said = failure(&run(flags, KEY.as_bytes()), 2);
        assert!(said.contains(flags[0]) && said.contains("not a workload identity"), "{said}");
    }
}

#[test]
fn wrong_usage_has_exit_code_2() {
    for flags in [
        &["--no-such-flag"][..],
        &["--port", "65536"],
        &["--port", "x"],
        &["--connect-timeout", "0"],
        &["--max-concurrent", "0"],
        &["--max-body", "much"],
        &["word"],
    ] {
        let said = failure(&run(flags, KEY.as_bytes()), 2);
        assert!(said.contains(flags.last().unwrap()), "{said}");
    }
}

#[test]
fn help_names_every_flag_and_version_the_version() {
    let help = text(&run(&["--help"], b"").stdout);
    for flag in [
        "--port",
        "--key-file",
        "--allow-unlocked-key",
        "--server-info",
        "--http-shutdown",
        "--dump-dir",
        "--upstream-proxy",
        "--auth-header",
        "--set-header",
        "--forward-header",
        "--allow-user",
        "--upstream-url",
        "--upstream-ca",
        "--connect-timeout",
        "--header-timeout",
        "--drain-timeout",
        "--max-body",
        "--max-concurrent",
    ] {
        assert!(help.contains(flag), "no {flag} in {help}");
    }
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let flags = help.lines().filter_map(|line| line.trim_start().strip_prefix("--"));
    for flag in flags.map(|rest| rest.split(' ').next().unwrap()) {
        let is_told = readme.contains(&format!("| `--{flag}")) || flag == "version";
        assert!(is_told, "README.md has no row for --{flag}");
    }
    assert!(help.contains("https://api.openai.com/v1/responses"), "{help}");
    assert!(!help.contains("oidc"), "{help}");
    assert!(text(&run(&["--version"], b"").stdout).contains(env!("CARGO_PKG_VERSION")));
}
