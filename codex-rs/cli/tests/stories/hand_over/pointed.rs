//! A Codex that is pointed at the proxy: it is led there, or told at once that it can't be.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;

use super::*;
use crate::private_namespace;

/// A proxy that is looked for by this file alone: others may run on this machine.
fn proxy_with_file(
    upstream: &codex_mock_upstream::MockUpstream,
) -> (Proxy, tempfile::TempDir, PathBuf) {
    let (folder, file) = server_info();
    let proxy = Proxy::start(upstream, &["--server-info", str(&file)]);
    (proxy, folder, file)
}

/// Where nobody finds one.
fn no_proxy(place: &Place) -> PathBuf {
    place.at("no-server-info.json")
}

fn base_url(port: u16) -> String {
    format!("http://127.0.0.1:{port}/v1")
}

#[test]
fn a_port_that_is_ours_is_used_as_it_is_and_never_through_an_http_proxy() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = Place::new();
    place.point(listener.local_addr().unwrap().port());
    let mut command = place.codex();
    command.args(["exec", "hi"]).env("NO_PROXY", "corp.example").env("HTTP_PROXY", "http://x:1");
    let (code, _, said) = ended(&mut command);
    assert_eq!((code, said.as_str()), (Some(7), ""));
    assert_eq!(place.argument_texts(), ["exec", "hi"]);
    for name in ["NO_PROXY", "no_proxy"] {
        let list = place.variable(name).unwrap();
        let has = |part: &str| list.split(',').any(|listed| listed.trim() == part);
        assert!(has("127.0.0.1") && has("corp.example"), "{name}={list}");
    }
    assert_eq!(place.variable("HTTP_PROXY").as_deref(), Some("http://x:1"));
}

#[test]
fn a_dot_env_that_leads_elsewhere_is_warned_of() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = Place::new();
    place.point(listener.local_addr().unwrap().port());
    let file = place.at("home/.codex/.env");
    fs::write(&file, "HTTP_PROXY=http://proxy.example:3128\nNO_PROXY=corp.example\n").unwrap();
    let (code, _, said) = ended(place.codex().args(["exec", "hi"]));
    assert_eq!(code, Some(7));
    assert!(said.starts_with("codex: warning: "), "{said}");
    let remedy = format!(": put NO_PROXY=corp.example,127.0.0.1 into {}\n", file.display());
    assert!(said.ends_with(&remedy), "{said}");
}

/// It would wait for whoever writes to it, and Codex with it.
#[test]
fn a_dot_env_that_is_a_pipe_holds_nobody_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = Place::new();
    place.point(listener.local_addr().unwrap().port());
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
    nix::unistd::mkfifo(&place.at("home/.codex/.env"), mode).unwrap();
    let mut command = place.codex();
    command.args(["exec", "hi"]).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let output = end(command.spawn().unwrap(), b"");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("error: whether an HTTP proxy would get your prompts is not known\n"));
    assert!(said.contains("/home/.codex/.env is no regular file\n"), "{said}");
    assert!(said.ends_with("or CODEX_PROXY=0 codex … to run Codex as it is\n"), "{said}");
    // What asks no model needs no look at it.
    let (code, _, said) = ended(place.codex().args(["login"]));
    assert_eq!((code, said.as_str()), (Some(7), ""));
}

#[test]
fn a_dead_proxy_is_told_at_once() {
    let place = Place::new();
    let (_kept, port) = dead_port();
    place.point(port);
    let url = base_url(port);
    let expected = format!(
        "error: pointed at {url}, but nothing listens there\n\
         hint: start it: printenv OPENAI_API_KEY | codex proxy --daemon --port {port}, or undo it: codex proxy unpoint\n"
    );
    for words in [&["exec", "hi"][..], &["fix the tests"], &[], &["resume"], &["review"]] {
        let began = Instant::now();
        let mut command = place.codex();
        command.args(words).env("CODEX_PROXY_SERVER_INFO", no_proxy(&place));
        let (code, shown, said) = ended(&mut command);
        assert_eq!((code, shown.as_str(), said.as_str()), (Some(1), "", expected.as_str()));
        assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
        assert!(!place.was_run());
    }
    // What may be the reason comes first.
    let mut command = place.codex();
    command.args(["exec", "hi"]).env("CODEX_PROXY_SERVER_INFO", no_proxy(&place));
    let (code, _, said) = ended(command.env("CODEX_PROXY", "yes"));
    let notice = "codex: CODEX_PROXY is neither 0 nor 1, and not used\n";
    assert_eq!((code, said), (Some(1), format!("{notice}{expected}")));
}

/// Codex reads more than we do. Where it would go then, nobody has looked who listens.
#[test]
fn a_configuration_that_can_not_be_looked_at_is_no_reason_to_go_on() {
    let place = Place::new();
    place.point(1);
    let file = place.at("home/.codex/config.toml");
    let large = fs::read_to_string(&file).unwrap() + &"#".repeat(300 * 1024);
    fs::write(&file, large).unwrap();
    let (code, shown, said) = ended(place.codex().args(["exec", "hi"]));
    assert_eq!((code, shown.as_str()), (Some(1), ""));
    let error = format!(
        "error: {} can't be looked at (it is larger than 262144 bytes), so whether it points at the proxy is not known\n",
        file.display()
    );
    assert!(said.starts_with(&error), "{said}");
    assert!(said.contains("\nhint: ") && said.contains("CODEX_PROXY=0 codex …"), "{said}");
    assert!(!place.was_run());
    let (code, _, said) = ended(place.codex().arg("app-server"));
    assert_eq!(code, Some(7));
    assert!(said.starts_with("codex: warning: ") && said.contains("can't be looked at"), "{said}");
    for words in [&["login"][..], &["--oss", "hi"], &["exec", "--ignore-user-config", "hi"]] {
        let (code, _, said) = ended(place.codex().args(words));
        assert_eq!((code, said.as_str()), (Some(7), ""), "{words:?}");
    }
    let (code, _, said) = ended(place.codex().args(["exec", "hi"]).env("CODEX_PROXY", "0"));
    assert_eq!((code, said.as_str()), (Some(7), ""));

    // A pipe that nobody writes to.
    fs::remove_file(&file).unwrap();
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
    nix::unistd::mkfifo(&file, mode).unwrap();
    let mut command = place.codex();
    command.args(["exec", "hi"]).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let output = end(command.spawn().unwrap(), b"");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("can't be looked at (it is no regular file)"), "{said}");
}

#[test]
fn what_asks_no_model_is_handed_over_whatever_the_proxy_does() {
    let (_kept, port) = dead_port();
    for words in [&["--help"][..], &["exec", "--help"], &["login"], &["mcp", "list"], &["-V"]] {
        let place = Place::new();
        place.point(port);
        let mut command = place.codex();
        command.args(words).env("CODEX_PROXY_SERVER_INFO", no_proxy(&place));
        let (code, _, said) = ended(&mut command);
        assert_eq!((code, said.as_str()), (Some(7), ""), "{words:?}");
        assert_eq!(place.argument_texts(), words);
    }
    // What may ask later is warned.
    let place = Place::new();
    place.point(port);
    let mut command = place.codex();
    command.arg("app-server").env("CODEX_PROXY_SERVER_INFO", no_proxy(&place));
    let (code, _, said) = ended(&mut command);
    assert_eq!(code, Some(7));
    let expected =
        format!("codex: warning: pointed at {}, but nothing listens there; ", base_url(port));
    assert!(said.starts_with(&expected), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_moved_is_followed_and_that_is_said() {
    let upstream = upstream(Scenario::Turn).await;
    let (proxy, _folder, file) = proxy_with_file(&upstream);
    let place = Place::new();
    let (_kept, port) = dead_port();
    place.point(port);
    let mut command = place.codex();
    command.args(["exec", "hi"]).env("CODEX_PROXY_SERVER_INFO", &file);
    let (code, _, said) = ended(&mut command);
    let url = base_url(proxy.port);
    let expected = format!(
        "codex: the proxy has moved to {url}; followed (make it so for good: codex proxy point)\n"
    );
    assert_eq!((code, said), (Some(7), expected));
    let base_url = format!(r#"model_providers.openai-proxy.base_url="{url}""#);
    assert_eq!(place.argument_texts(), ["-c", &base_url, "exec", "hi"]);

    // An address on the command line itself is the user's own word.
    let place = Place::new();
    place.point(port);
    let fixed = format!(r#"model_providers.openai-proxy.base_url="http://127.0.0.1:{port}/v1""#);
    let mut command = place.codex();
    command.args(["exec", "-c", &fixed, "hi"]).env("CODEX_PROXY_SERVER_INFO", &file);
    let (code, _, said) = ended(&mut command);
    assert_eq!(code, Some(1));
    assert!(said.contains("but nothing listens there") && said.contains(&url), "{said}");
    assert!(!place.was_run());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_users_wish_leads_an_unpointed_codex_through_the_proxy_and_a_pointed_one_past_it() {
    let upstream = upstream(Scenario::Turn).await;
    let (proxy, _folder, file) = proxy_with_file(&upstream);
    let url = base_url(proxy.port);
    let through = |place: &Place, wish: &str| {
        let mut command = place.codex();
        command.args(["exec", "hi"]).env("CODEX_PROXY", wish);
        ended(command.env("CODEX_PROXY_SERVER_INFO", &file))
    };
    let place = Place::new();
    let (code, _, said) = through(&place, "1");
    assert_eq!((code, said.as_str()), (Some(7), ""));
    let table = format!(
        r#"model_providers.openai-proxy={{name="Codex key guard",base_url="{url}",wire_api="responses"}}"#
    );
    let expected = ["-c", r#"model_provider="openai-proxy""#, "-c", &table, "exec", "hi"];
    assert_eq!(place.argument_texts(), expected);
    assert!(place.variable("NO_PROXY").unwrap().contains("127.0.0.1"));

    let place = Place::new();
    let (_kept, port) = dead_port();
    place.point(port);
    let (code, _, said) = through(&place, "0");
    assert_eq!((code, said.as_str()), (Some(7), ""));
    assert_eq!(place.argument_texts(), ["exec", "hi"]);
    assert_eq!(place.variable("NO_PROXY"), None);

    let place = Place::new();
    let (code, _, said) = through(&place, "yes");
    assert_eq!((code, place.argument_texts().len()), (Some(7), 2));
    assert_eq!(said, "codex: CODEX_PROXY is neither 0 nor 1, and not used\n");

    let mut command = place.codex();
    command.args(["exec", "hi"]).env("CODEX_PROXY", "1");
    let (code, _, said) = ended(command.env("CODEX_PROXY_SERVER_INFO", no_proxy(&place)));
    assert_eq!(code, Some(1));
    assert!(
        said.starts_with("error: CODEX_PROXY=1, but no proxy runs\nhint: start one: "),
        "{said}"
    );
}

/// What Codex itself is to complain of is not ours to say.
#[test]
fn who_is_not_pointed_gets_nothing_of_ours() {
    let other = "model_provider = \"mine\"\n[model_providers.mine]\nname = \"Mine\"\n";
    for (config, words) in [
        (Some(other), &["exec", "hi"][..]),
        (Some("this is = no [ TOML"), &["exec", "hi"]),
        (None, &["exec", "hi"]),
    ] {
        let place = Place::new();
        if let Some(config) = config {
            fs::write(place.at("home/.codex/config.toml"), config).unwrap();
        }
        let (code, _, said) = ended(place.codex().args(words));
        assert_eq!((code, said.as_str()), (Some(7), ""), "{config:?}");
        assert_eq!(
            (place.argument_texts(), place.variable("NO_PROXY")),
            (words.iter().map(|it| (*it).to_owned()).collect(), None)
        );
    }
    // Pointed, but for this run at something else; and a home that is none.
    let place = Place::new();
    let (_kept, port) = dead_port();
    place.point(port);
    for words in [
        &["exec", "-c", "model_provider=openai", "hi"][..],
        &["--oss", "hi"],
        &["exec", "--ignore-user-config", "hi"],
    ] {
        let (code, _, said) = ended(place.codex().args(words));
        assert_eq!((code, said.as_str()), (Some(7), ""), "{words:?}");
        assert_eq!(place.argument_texts(), words);
    }
    let (code, _, said) = ended(place.codex().env("CODEX_HOME", place.at("none")));
    assert_eq!((code, said.as_str()), (Some(7), ""));
}

/// Somebody else's listener. Dropped, it is gone.
struct Stranger {
    child: Child,
    port: u16,
}

impl Stranger {
    const UID: u32 = 61_241;

    fn listen() -> Self {
        let program = "import socket, sys\n\
            s = socket.create_server(('127.0.0.1', 0))\n\
            print(s.getsockname()[1], flush=True)\n\
            sys.stdin.read()";
        let mut child = Command::new("python3")
            .args(["-c", program])
            .uid(Self::UID)
            .gid(Self::UID)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        Self { child, port: line.trim().parse().unwrap() }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_of_somebody_elses_is_never_spoken_to() {
    if !can_run(private_namespace::missing(&["python3"]).as_deref()) {
        return;
    }
    let stranger = Stranger::listen();
    let place = Place::new();
    place.point(stranger.port);
    let mut command = place.codex();
    command.args(["exec", "hi"]).env("CODEX_PROXY_SERVER_INFO", no_proxy(&place));
    let (code, _, said) = ended(&mut command);
    assert_eq!(code, Some(1));
    let (port, uid) = (stranger.port, Stranger::UID);
    let expected = format!("error: port {port} belongs to uid {uid}, not to your proxy\nhint: ");
    assert!(said.starts_with(&expected), "{said}");
    assert!(!place.was_run());

    // The proxy itself is elsewhere.
    let upstream = upstream(Scenario::Turn).await;
    let (proxy, _folder, file) = proxy_with_file(&upstream);
    let mut command = place.codex();
    command.args(["exec", "hi"]).env("CODEX_PROXY_SERVER_INFO", &file);
    let (code, _, said) = ended(&mut command);
    assert_eq!(code, Some(7), "{said}");
    let url = base_url(proxy.port);
    let expected =
        format!("codex: port {port} belongs to uid {uid}; the proxy is at {url}; followed ");
    assert!(said.starts_with(&expected), "{said}");
    assert!(place.argument_texts()[1].contains(&url));
}
