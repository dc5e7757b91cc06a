//! The key comes from a file, a pipe or a systemd credential, if it is nobody else's to read.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use codex_mock_upstream::{MockUpstream, Scenario};
use codex_proxy_client::ServerInfo;
use nix::libc::O_NONBLOCK;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, geteuid, mkfifo};

use crate::support::*;

/// On standard input, where it is not looked for: the upstream would refuse it.
const NOT_THE_KEY: &str = "not-the-key-of-the-test";
/// Accounts that need not exist.
const ANOTHER: u32 = 61_234;
const SERVICE: u32 = 61_237;
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// A file that holds this and has this mode.
fn file(folder: &Path, name: &str, content: impl AsRef<[u8]>, mode: u32) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

/// The program that is to send requests there, with the key from this source.
fn with_key_file(mut command: Command, upstream: &MockUpstream, key_file: &str) -> Command {
    command.args(["--upstream-url", &upstream.responses_url(), "--key-file", key_file]);
    command.env_remove(CREDENTIALS);
    command
}

fn spawn(command: &mut Command) -> Proxy {
    Proxy::spawn_with_key(command, NOT_THE_KEY)
}

fn start(upstream: &MockUpstream, key_file: &Path) -> Proxy {
    spawn(&mut with_key_file(program(), upstream, str(key_file)))
}

/// Whether the upstream gets the key that it expects.
fn has_the_key(proxy: &Proxy) -> bool {
    proxy.ask("POST /v1/responses", &[], b"{}").status == 200
}

/// What was said when it did not start: one error with a remedy, and no byte of what a file holds.
fn refusal(output: &Output) -> String {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{said}");
    assert!(said.contains("\nhint: "), "{said}");
    assert!(!said.contains("ready: ") && !said.contains("panicked"), "{said}");
    assert_not_shown(KEY, &output.stderr);
    said
}

fn refused(key_file: &str) -> String {
    refusal(&run(&["--key-file", key_file], NOT_THE_KEY.as_bytes()))
}

fn can_be_root(why: &str) -> bool {
    let missing = format!("{why}: run the tests as root");
    can_run((!geteuid().is_root()).then_some(missing.as_str()))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_a_file_is_used_and_standard_input_is_not_asked() {
    let upstream = upstream(Scenario::Json).await;
    let folder = tempfile::tempdir().unwrap();
    for (name, content, mode) in [
        ("line", format!("{KEY}\n"), 0o600),
        ("bare", KEY.to_owned(), 0o400),
        ("crlf", format!("{KEY}\r\n"), 0o600),
    ] {
        let path = file(folder.path(), name, content, mode);
        assert!(has_the_key(&start(&upstream, &path)), "{name}");
    }
    // What counts is what a link leads to.
    symlink("line", folder.path().join("link")).unwrap();
    assert!(has_the_key(&start(&upstream, &folder.path().join("link"))));
    // A path counts from the current folder.
    let mut command = with_key_file(program(), &upstream, "line");
    assert!(has_the_key(&spawn(command.current_dir(folder.path()))));
}

#[tokio::test(flavor = "multi_thread")]
async fn once_the_key_is_read_no_descriptor_leads_to_where_it_came_from_or_where_it_is() {
    if !can_be_root("only root sees the descriptors of a proxy") {
        return;
    }
    let upstream = upstream(Scenario::Json).await;
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "key", KEY, 0o600);
    let from_input = Proxy::start(&upstream, &[]);
    for proxy in [from_input, start(&upstream, &path)] {
        let open = descriptors(proxy.pid());
        assert!(open.contains(&(0, "/dev/null".into())), "{open:?}");
        assert!(!open.iter().any(|(_, leads)| *leads == path), "{open:?}");
        // Nor to the memory where it stands now.
        assert!(!open.iter().any(|(_, leads)| str(leads).contains("secretmem")), "{open:?}");
        assert!(has_the_key(&proxy));
    }
}

#[test]
fn a_file_that_others_may_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for mode in [0o640, 0o644, 0o604, 0o620] {
        let path = file(folder.path(), "key", KEY, mode);
        let said = refused(str(&path));
        let expected = [format!("(mode {mode:o})"), str(&path).to_owned(), "chmod 600".to_owned()];
        assert!(expected.iter().all(|part| said.contains(part)), "{said}");
        let left = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(left, mode, "its mode was changed");
    }
}

#[test]
fn a_file_of_another_account_is_refused() {
    if !can_be_root("only root can give a file away") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "key", KEY, 0o600);
    chown(&path, Some(ANOTHER), None).unwrap();
    let said = refused(str(&path));
    assert!(said.contains("it belongs to uid 61234, and this runs as uid 0"), "{said}");

    // The account that it was given to may use it, and nobody else.
    let program = program_for_all(folder.path());
    let flags = ["--key-file", str(&path), "--upstream-url", "http://127.0.0.1:1/v1/responses"];
    let as_account = |uid| {
        let mut command = clean(Command::new(&program));
        command.args(crate::PROXY.1).args(flags).uid(uid).gid(uid);
        command
    };
    spawn(&mut as_account(ANOTHER)).stop();
    let said = refusal(&as_account(SERVICE).output().unwrap());
    assert!(said.contains("can't be opened") && said.contains("Permission denied"), "{said}");
}

#[test]
fn what_is_no_file_and_no_pipe_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let _socket = UnixListener::bind(at("socket")).unwrap();
    fs::create_dir(at("folder")).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    for (path, expected) in [
        (at("folder"), "it is a folder, not a file or a pipe"),
        (at("socket"), "not a file or a pipe"),
        (at("missing"), "No such file"),
        (at("dangling"), "No such file"),
        ("/dev/null".into(), "it is a device, not a file or a pipe"),
        ("/dev/tty".into(), "not a file or a pipe"), // Whether there is a terminal or not.
        // As behind sudo, which closes what was handed down to it.
        ("/dev/fd/77".into(), "pipe the key in, without --key-file"),
    ] {
        let said = refused(str(&path));
        assert!(said.contains(expected) && said.contains(str(&path)), "{path:?}: {said}");
    }
}

#[test]
fn what_is_wrong_with_what_a_file_holds_is_said_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    for (content, expected) in [
        (String::new(), "no API key arrived"),
        ("\n".to_owned(), "no API key arrived"),
        (format!("{KEY}\n{KEY}\n"), "more than one line"),
        (format!("\"{KEY}\"\n"), "unexpected byte at offset 0"),
        (format!("OPENAI_API_KEY={KEY}\n"), "unexpected byte at offset 14"),
        ("k".repeat(5_000), "longer than 4096 bytes"),
    ] {
        let path = file(folder.path(), "key", &content, 0o600);
        let said = refused(str(&path));
        let first = format!("error: the API key in the file {} can't be used\n", path.display());
        assert!(said.contains(&first) && said.contains(expected), "{expected}: {said}");
        assert!(!said.contains("standard input"), "{said}");
    }
}

/// Waits until somebody has opened a named pipe for reading, and then opens it for writing.
fn once_it_is_read(pipe: &Path) -> File {
    let deadline = Instant::now() + LIMIT;
    loop {
        // Without a reader: ENXIO (open(2)).
        match fs::OpenOptions::new().write(true).custom_flags(O_NONBLOCK).open(pipe) {
            Ok(writer) => return writer,
            Err(error) => assert!(Instant::now() < deadline, "nobody reads the pipe: {error}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_pipe_is_waited_for_until_somebody_writes_the_key() {
    let upstream = upstream(Scenario::Json).await;
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    mkfifo(&pipe, Mode::from_bits_truncate(0o600)).unwrap();
    let to = pipe.clone();
    let writer = std::thread::spawn(move || {
        let mut writer = once_it_is_read(&to);
        writer.write_all(&KEY.as_bytes()[..10]).unwrap();
        writer.write_all(&KEY.as_bytes()[10..]).unwrap();
    });
    let proxy = start(&upstream, &pipe);
    writer.join().unwrap();
    assert!(has_the_key(&proxy));
}

/// `--key-file <(pass show openai)`, as a command line of bash.
fn by_substitution(key: &Path, upstream: &MockUpstream, flags: &[&str]) -> Command {
    let script = r#"key=$1; shift; exec "$@" --key-file <(cat "$key")"#;
    let mut command = clean(Command::new("bash"));
    command.args(["-c", script, "bash", str(key), crate::PROXY.0]).args(crate::PROXY.1);
    command.args(["--upstream-url", &upstream.responses_url()]).args(flags);
    command
}

fn has_bash() -> bool {
    let found = Command::new("bash").arg("--version").output().is_ok();
    can_run((!found).then_some("bash is not here: install the package bash"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_output_of_a_program_can_be_named_in_place_of_a_file() {
    if !has_bash() {
        return;
    }
    let upstream = upstream(Scenario::Json).await;
    let folder = tempfile::tempdir().unwrap();
    let key = file(folder.path(), "key", KEY, 0o644); // That program's to care about.
    let proxy = spawn(&mut by_substitution(&key, &upstream, &[]));
    assert!(has_the_key(&proxy));
    if geteuid().is_root() {
        let ours = descriptors(std::process::id()); // Which may have come from who started us.
        let mut open = descriptors(proxy.pid());
        open.retain(|(number, target)| *number > 60 && !ours.iter().any(|(_, our)| our == target));
        assert!(open.is_empty(), "the pipe is still there: {open:?}");
    }
}

/// Dropped, it ends a process that is no child of ours.
struct Daemon(Pid);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGKILL);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_process_that_stays_reads_the_key_file_of_the_folder_where_it_was_started() {
    if !has_bash() {
        return;
    }
    let upstream = upstream(Scenario::Json).await;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let key = file(folder.path(), "key", KEY, 0o600);
    let (info, socket) = (at("server-info.json"), at("control.sock"));
    let flags = ["--daemon", "--server-info", str(&info), "--control-socket", str(&socket)];
    let mut by_name = with_key_file(program(), &upstream, "key");
    by_name.args(flags).current_dir(folder.path());
    for mut command in [by_name, by_substitution(&key, &upstream, &flags)] {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let found = ServerInfo::read(&info).unwrap();
        let _daemon = Daemon(Pid::from_raw(found.pid.try_into().unwrap()));
        let mut client = Client::connect(found.port);
        client.send_request("POST /v1/responses", &[], b"{}");
        assert_eq!(client.answer().status, 200);
        for left in [&info, &socket] {
            fs::remove_file(left).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bare_name_is_a_credential_before_it_is_a_file() {
    let upstream = upstream(Scenario::Json).await;
    let folder = tempfile::tempdir().unwrap();
    let credentials = folder.path().join("credentials");
    fs::create_dir(&credentials).unwrap();
    fs::set_permissions(&credentials, fs::Permissions::from_mode(0o750)).unwrap();
    let credential = file(&credentials, "openai", KEY, 0o440);
    file(folder.path(), "openai", NOT_THE_KEY, 0o600);
    let start = |key_file: &str, credentials: Option<&Path>| {
        let mut command = with_key_file(program(), &upstream, key_file);
        command.envs(credentials.map(|folder| (CREDENTIALS, folder)));
        spawn(command.current_dir(folder.path()))
    };
    assert!(has_the_key(&start("openai", Some(&credentials))));
    // As units write it: %d/openai
    assert!(has_the_key(&start(str(&credential), Some(&credentials))));
    assert!(!has_the_key(&start("./openai", Some(&credentials))));
    assert!(!has_the_key(&start("openai", None)));
    assert!(!has_the_key(&start("openai", Some(&folder.path().join("no-such-folder")))));
    file(folder.path(), "only-here", KEY, 0o600);
    assert!(has_the_key(&start("only-here", Some(&credentials))));
}

#[test]
fn a_credential_that_others_may_use_or_exchange_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = || {
        let mut command = program();
        command.args(["--key-file", "openai"]).env(CREDENTIALS, folder.path());
        refusal(&command.output().unwrap())
    };
    for mode in [0o444, 0o460, 0o404] {
        let path = file(folder.path(), "openai", KEY, mode);
        let said = refused();
        let expected = format!("(mode {mode:o})");
        assert!(said.contains(&expected) && said.contains(str(&path)), "{said}");
        fs::remove_file(path).unwrap();
    }
    file(folder.path(), "openai", "", 0o440);
    let said = refused();
    assert!(said.contains("the API key in the systemd credential openai can't be used"), "{said}");

    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o770)).unwrap();
    let said = refused();
    assert!(said.contains("can change the folder") && said.contains(CREDENTIALS), "{said}");
}

/// As systemd leaves it for a service with an account: root's, and readable by that account.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_with_an_account_of_its_own_reads_its_credential_of_roots() {
    if !can_be_root("only root can give files to a service") {
        return;
    }
    let upstream = upstream(Scenario::Json).await;
    let folder = tempfile::tempdir().unwrap();
    let program = program_for_all(folder.path());
    let credentials = folder.path().join("credentials");
    fs::create_dir(&credentials).unwrap();
    let credential = file(&credentials, "openai", KEY, 0o440);
    fs::set_permissions(&credentials, fs::Permissions::from_mode(0o550)).unwrap();
    for path in [&credentials, &credential] {
        chown(path, None, Some(SERVICE)).unwrap();
    }
    let mut command = clean(Command::new(&program));
    command.args(crate::PROXY.1);
    let mut command = with_key_file(command, &upstream, "openai");
    command.env(CREDENTIALS, &credentials).uid(SERVICE).gid(SERVICE);
    assert!(has_the_key(&spawn(&mut command)));
}
