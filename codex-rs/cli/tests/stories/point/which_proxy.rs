//! Which proxy is meant, and whether whoever has its port is to be trusted.

use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::Command;

use codex_mock_upstream::Scenario;
use nix::unistd::geteuid;

use super::machine::Machine;
use super::{Desk, ended, verb, without_notes};
use crate::support::*;

/// An account that no machine has.
const STRANGER: u32 = 61_239;

#[tokio::test(flavor = "multi_thread")]
async fn a_port_is_enough_where_a_proxy_or_this_account_listens() {
    let upstream = upstream(Scenario::Turn).await;
    let desk = Desk::start(&upstream);
    let port = desk.proxy.port.to_string();
    let arguments = ["point", "--port", port.as_str()];
    let (code, shown, said) = ended(verb(&desk.home(), &arguments).output().unwrap());
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    assert!(without_notes(&shown)[0].contains(&desk.base_url()), "{shown}");

    // Something of this account's own, a tunnel say.
    let ours = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = ours.local_addr().unwrap().port();
    let arguments = ["point", "--port", &port.to_string()];
    let (code, shown, said) = ended(verb(&desk.home(), &arguments).output().unwrap());
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    let headline = format!(
        "pointed: {} now makes Codex use http://127.0.0.1:{port}/v1",
        desk.config().display()
    );
    assert_eq!(without_notes(&shown)[0], headline);
    let warning = format!("\nwarning: no proxy is known on port {port}: ");
    assert!(shown.contains(&warning) && shown.contains(" listens there, and is taken"), "{shown}");
    let note = format!("\nnote: once that program has ended any account can take port {port}");
    assert!(shown.contains(&note) && !shown.contains("the proxy"), "{shown}");
    assert!(desk.read().contains(&format!("\"http://127.0.0.1:{port}/v1\"")));
}

#[test]
fn a_port_where_nobody_listens_is_refused() {
    let home = tempfile::tempdir().unwrap();
    // It is bound, so nobody else takes it, but it does not listen.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    let arguments = ["point", "--port", &port.to_string()];
    let (code, shown, said) = ended(verb(home.path(), &arguments).output().unwrap());
    assert_eq!((code, shown.as_str()), (Some(1), ""));
    let error = format!(
        "error: nobody listens on 127.0.0.1:{port}\nhint: start a proxy there: printenv OPENAI_API_KEY | codex proxy --daemon --port {port}\n"
    );
    assert_eq!(said, error);
    assert!(!home.path().join(".codex").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_another_account_listens_on_is_refused_by_its_name() {
    let missing = "it needs a listener of another account: run the tests as root";
    if !can_run((!geteuid().is_root()).then_some(missing)) {
        return;
    }
    let upstream = upstream(Scenario::Turn).await;
    let folder = tempfile::tempdir().unwrap();
    let mut command = clean(Command::new(program_for_all(folder.path())));
    command.args(["responses-api-proxy", "--upstream-url", &upstream.responses_url()]);
    command.uid(STRANGER).gid(STRANGER).current_dir("/").env_remove("XDG_RUNTIME_DIR");
    let foreign = Proxy::spawn(&mut command);
    let port = foreign.port.to_string();
    let (code, shown, said) =
        ended(verb(folder.path(), &["point", "--port", &port]).output().unwrap());
    assert_eq!((code, shown.as_str()), (Some(1), ""), "{said}");
    let error =
        format!("error: 127.0.0.1:{port} is listened on by uid {STRANGER}, which is neither");
    assert!(said.starts_with(&error) && said.contains("\nhint: "), "{said}");
    assert!(!folder.path().join(".codex").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_comes_to_its_end_is_not_pointed_at() {
    let upstream = upstream(Scenario::Gated).await;
    let desk = Desk::start(&upstream);
    let mut client = desk.proxy.connect();
    client.post();
    until(&upstream, |counts| counts.requests == 1).await;
    let info = fs::read(desk.info()).unwrap();
    desk.proxy.signal(nix::sys::signal::Signal::SIGTERM);
    let began = std::time::Instant::now();
    while desk.info().exists() {
        assert!(began.elapsed() < LIMIT, "it never began to end");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    fs::write(desk.info(), info).unwrap();
    let (code, shown, said) = desk.pointed(&[]);
    assert_eq!((code, shown.as_str()), (Some(1), ""), "{said}");
    assert!(said.contains(" is coming to its end"), "{said}");
    assert!(!desk.codex_home().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_name_the_only_one_is_found_and_of_several_one_is_asked_for() {
    if !Machine::can_be_made() {
        return;
    }
    let upstream = upstream(Scenario::Turn).await;
    let machine = Machine::make();
    let home = machine.folder();
    let (code, shown, said) = machine.run(verb(&home, &["point"]));
    assert_eq!((code, shown.as_str()), (Some(1), ""));
    assert!(said.starts_with("error: no proxy runs: looked in /run/"), "{said}");

    let first = machine.proxy(&upstream);
    let (code, shown, said) = machine.run(verb(&home, &["point"]));
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    assert!(shown.contains(&format!("/v1 (pid {})\n", first.pid())), "{shown}");

    let second = machine.proxy(&upstream);
    let (code, shown, said) = machine.run(verb(&home, &["point"]));
    assert_eq!((code, shown.as_str()), (Some(1), ""));
    assert!(said.starts_with("error: 2 proxies run, so say which one is meant:\n"), "{said}");
    let choice =
        format!("proxy point --server-info /run/codex-responses-api-proxy/{}.json", second.port);
    assert!(said.contains(&choice), "{said}");
    let port = second.port.to_string();
    let (code, shown, said) = machine.run(verb(&home, &["point", "--port", &port]));
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    assert!(shown.contains(&format!(":{port}/v1 (pid {})\n", second.pid())), "{shown}");
}
