//! Whoever calls the doctor, wherever and however: it comes to its end, says so, and breaks nothing.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};

use codex_proxy_client::RunFolder;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};

use super::{assert_sound, ended, findings};
use crate::support::*;

/// The doctor of somebody with this home, who has nothing else.
pub(super) fn doctor(home: &Path, flags: &[&str]) -> Command {
    let mut command = Command::new(crate::PROXY.0);
    command.args(["proxy", "doctor"]).args(flags);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", home).env("TERM", "dumb");
    command.stdin(Stdio::null());
    command
}

/// Waits for its end, which must come in time.
fn in_time(child: Child) -> Output {
    let pid = Pid::from_raw(child.id().try_into().unwrap());
    let (sender, ends) = channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    match ends.recv_timeout(LIMIT) {
        Ok(output) => output.unwrap(),
        Err(RecvTimeoutError::Timeout) => {
            let _ = kill(pid, Signal::SIGKILL);
            panic!("it hangs");
        }
        Err(RecvTimeoutError::Disconnected) => panic!("nobody waits for it"),
    }
}

fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    ended(in_time(child))
}

/// A proxy whose upstream takes connections and says nothing: whoever asks how it gets there has to wait.
pub(super) struct SilentUpstream {
    listener: TcpListener,
    proxy: Proxy,
    folder: tempfile::TempDir,
}

impl SilentUpstream {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}/v1/responses", listener.local_addr().unwrap());
        let folder = tempfile::tempdir().unwrap();
        let (info, socket) = (folder.path().join("info.json"), folder.path().join("control.sock"));
        let flags = ["--server-info", str(&info), "--control-socket", str(&socket)];
        let proxy = Proxy::start_for(&url, &flags);
        Self { listener, proxy, folder }
    }

    pub(super) fn info(&self) -> PathBuf {
        self.folder.path().join("info.json")
    }

    /// Waits until the proxy has connected. Dropped, the connection is closed.
    pub(super) fn is_asked(&self) -> TcpStream {
        let listener = self.listener.try_clone().unwrap();
        let (sender, connections) = channel();
        std::thread::spawn(move || sender.send(listener.accept()));
        connections.recv_timeout(LIMIT).unwrap().unwrap().0
    }

    /// From now on it closes each connection, which is an answer, too.
    fn hangs_up(&self) {
        let listener = self.listener.try_clone().unwrap();
        std::thread::spawn(move || listener.incoming().for_each(drop)); // Until the tests end.
    }
}

/// A proxy that is killed, as this one will be now, leaves its file in the run folder.
impl Drop for SilentUpstream {
    fn drop(&mut self) {
        if let Some(folder) = RunFolder::own() {
            let _ = fs::remove_file(RunFolder::server_info(&folder, self.proxy.port));
        }
    }
}

#[test]
fn whoever_has_nothing_at_all_reads_where_to_begin() {
    let (home, left) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let stale = left.path().join("1.json");
    let info = r#"{"port":1,"pid":0,"base_url":"http://127.0.0.1:1/v1","uid":0,"listener_uid":0,"instance":"0","started_at":0,"version":"0.1.0"}"#;
    fs::write(&stale, info).unwrap();
    let (code, shown, said) = run(&mut doctor(home.path(), &["--server-info", str(&stale)]));
    assert_eq!((code, said.as_str()), (Some(1), ""), "{shown}");
    assert!(shown.starts_with("fail  proxy"), "{shown}");
    let start = "remedy: start one: printenv OPENAI_API_KEY | codex proxy --daemon\n";
    assert!(shown.contains("no proxy runs: looked in ") && shown.contains(start), "{shown}");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "something was written");
}

/// That none runs can't be known, then.
#[test]
fn a_named_file_that_is_not_there_is_told_and_no_more() {
    let home = tempfile::tempdir().unwrap();
    let none = home.path().join("none.json");
    let (code, json, said) =
        run(&mut doctor(home.path(), &["--json", "--server-info", str(&none)]));
    assert_eq!((code, said.as_str()), (Some(1), ""), "{json}");
    let found = findings(&json);
    let told: Vec<_> = found.iter().filter(|(check, ..)| check == "proxy").collect();
    let [(_, grade, evidence, _)] = told[..] else { panic!("{told:?}") };
    assert_eq!((grade.as_str(), evidence), ("fail", &format!("there is no file {}", str(&none))));
}

#[test]
fn where_nothing_is_as_it_should_be_nothing_breaks() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("file");
    fs::write(&file, "").unwrap();
    let file = str(&file);
    for variables in [
        &[("HOME", "")][..],
        &[("HOME", "/nowhere/at/all")],
        &[("HOME", file)],
        &[("CODEX_HOME", "/nowhere/at/all")],
        &[("CODEX_HOME", file)],
        &[("PATH", "")],
        &[("PATH", "relative:/nowhere/at/all"), ("CODEX_REAL_BIN", "/nowhere/at/all")],
        &[("CODEX_REAL_BIN", crate::PROXY.0)],
        &[("CODEX_PROXY_SERVER_INFO", file), ("XDG_RUNTIME_DIR", file)],
        &[("HTTP_PROXY", "moon\u{1b}[2J"), ("NO_PROXY", ",,,")],
    ] {
        let mut command = doctor(home.path(), &["--json"]);
        command.env("CODEX_PROXY_SERVER_INFO", home.path().join("none.json"));
        let (code, json, said) = run(command.envs(variables.iter().copied()));
        assert_eq!((code, said.as_str()), (Some(1), ""), "{variables:?}: {json}");
        let broken =
            findings(&json).into_iter().find(|(.., evidence, _)| evidence.contains("itself broke"));
        assert_eq!(broken, None, "{variables:?}");
        assert!(!json.contains('\u{1b}'), "{json}");
    }
}

/// A pipe that nobody writes to would never come to its end.
#[test]
fn pipes_in_a_home_hold_nobody_up() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join(".codex")).unwrap();
    for name in [
        ".bashrc",
        ".zshrc",
        ".profile",
        ".bash_history",
        ".zsh_history",
        ".codex/config.toml",
        ".codex/auth.json",
        ".codex/.env",
        "info.json",
    ] {
        mkfifo(&home.path().join(name), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    }
    let info = home.path().join("info.json");
    let (code, shown, said) = run(&mut doctor(home.path(), &["--server-info", str(&info)]));
    assert_eq!((code, said.as_str()), (Some(1), ""), "{shown}");
    assert!(!shown.contains("not answered in"), "{shown}");
}

/// Files that are larger than anybody's patience, or no text at all.
#[test]
fn large_files_and_files_of_bytes_hold_nobody_up() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join(".codex")).unwrap();
    for name in [".bash_history", ".bashrc", ".codex/config.toml", ".codex/auth.json"] {
        let mut file = fs::File::create(home.path().join(name)).unwrap();
        file.write_all(&[0xff; 4_096]).unwrap();
        file.set_len(1 << 40).unwrap(); // A hole: it takes no room.
    }
    let none = home.path().join("none.json");
    let (code, shown, said) = run(&mut doctor(home.path(), &["--server-info", str(&none)]));
    assert_eq!((code, said.as_str()), (Some(1), ""), "{shown}");
    assert!(!shown.contains("not answered in"), "{shown}");
}

#[test]
fn a_running_proxy_is_looked_at_and_both_forms_say_the_same() {
    let silent = SilentUpstream::start();
    silent.hangs_up();
    let home = tempfile::tempdir().unwrap();
    let info = silent.info();
    let report = |flags: &[&str]| {
        let flags = [&["--server-info", str(&info)], flags].concat();
        let mut command = doctor(home.path(), &flags);
        ended(in_time(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()))
    };
    let ((code, shown, said), (json_code, json, _)) = (report(&[]), report(&["--json"]));
    assert_eq!((code, json_code, said.as_str()), (Some(1), Some(1), ""), "{shown}");
    let pid = format!("pid {}", silent.proxy.pid());
    assert!(shown.contains(&pid) && json.contains(&pid), "{shown}");
    let upstream = findings(&json).into_iter().find(|(check, ..)| check == "upstream").unwrap();
    assert_eq!(upstream.1, "fail", "{upstream:?}");
    // Other processes of this account come and go, and with them what is in their environments.
    for (check, grade, ..) in findings(&json).iter().filter(|(check, ..)| check != "environment") {
        assert!(shown.contains(&format!("{grade}  {check} ")), "no {grade} {check} in {shown}");
    }
    assert_not_shown(KEY, format!("{shown}{json}").as_bytes());
}

#[test]
fn an_interrupted_one_ends_with_130_and_shows_nothing() {
    let silent = SilentUpstream::start();
    let home = tempfile::tempdir().unwrap();
    let info = silent.info();
    let mut command = doctor(home.path(), &["--server-info", str(&info)]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let _connection = silent.is_asked();
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    assert_eq!(ended(in_time(child)), (Some(130), String::new(), String::new()));
}

#[test]
fn a_reader_who_leaves_is_no_failure() {
    let home = tempfile::tempdir().unwrap();
    let none = home.path().join("none.json");
    let mut command = doctor(home.path(), &["--server-info", str(&none)]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let (code, _, said) = ended(in_time(child));
    assert_eq!((code, said.as_str()), (Some(0), ""));
}

#[test]
fn help_has_examples_and_wrong_usage_ends_with_2() {
    let home = tempfile::tempdir().unwrap();
    let (code, shown, _) = run(&mut doctor(home.path(), &["--help"]));
    assert_eq!(code, Some(0));
    assert!(shown.contains("codex proxy doctor --json | jq") && shown.contains("Exit codes: 0 "));
    for flags in [&["--no-such-flag"][..], &["--server-info"], &["twice"]] {
        assert_eq!(run(&mut doctor(home.path(), flags)).0, Some(2), "{flags:?}");
    }
}

/// The text of a report is held to its JSON where nobody else's processes are seen.
#[test]
fn reports_are_held_to_each_other() {
    let json = r#"{"worst":"fail","findings":[
        {"check":"proxy","grade":"fail","evidence":"none runs","remedy":"start one"},
        {"check":"port","grade":"pass","evidence":"free","remedy":null}]}"#;
    let shown = "fail  proxy  none runs\n             remedy: start one\npass  port   free\n\n1 fail (proxy), 0 warn, 1 pass\n";
    assert_sound(shown, json);
    let is_sound = |shown: String| std::panic::catch_unwind(|| assert_sound(&shown, json)).is_ok();
    assert!(!is_sound(shown.replace("free", "taken")));
    assert!(!is_sound(shown.replace("1 fail", "2 fail")));
    assert!(!is_sound(shown.replace(" (proxy)", "")));
}
