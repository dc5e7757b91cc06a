//! What a daemon has of its own: no descriptor of its starter's, the program's name, and its words in the log file.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::symlink;

use codex_request_log::Line;

use super::*;

/// Somebody may wait for the end of a pipe that was handed down to the starter, as `make` and CI steps do.
#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_no_descriptor_that_its_starter_was_given() {
    let upstream = upstream(Scenario::Json).await;
    let place = Place::new();
    // The pipe of standard output becomes descriptor 9 and nothing else.
    let script = r#"exec 9>&1 >/dev/null; echo given >&9; exec "$@""#;
    let mut starter = clean(Command::new("sh"))
        .args(["-c", script, "sh", crate::PROXY.0])
        .args(crate::PROXY.1)
        .args(place.flags(&upstream))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(starter.stdin.take().unwrap(), "{KEY}").unwrap();
    let output = in_time(starter); // It reads the pipe to its end.
    let said = text(&output.stderr);
    assert_eq!(
        (output.status.code(), text(&output.stdout).as_str()),
        (Some(0), "given\n"),
        "{said}"
    );
    let (pid, _) = place.serves();
    assert_eq!(place.processes(), [pid], "{said}");
}

/// It is started by a path that says nothing (/proc/self/exe).
#[tokio::test(flavor = "multi_thread")]
async fn it_has_the_name_that_it_was_called_by() {
    let upstream = upstream(Scenario::Json).await;
    let place = Place::started(&upstream, &[]);
    let (pid, _) = place.serves();
    let program = Path::new(crate::PROXY.0).file_name().unwrap().to_str().unwrap();
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
    assert_eq!(name.trim_end(), program);
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    let called = text(line.split(|byte| *byte == 0).next().unwrap());
    assert_eq!(called, crate::PROXY.0);
}

/// Lines of a log: those that are records, and all others.
fn lines(log: &Path) -> (Vec<Line>, Vec<String>) {
    let mut written = String::new();
    File::open(log).unwrap().read_to_string(&mut written).unwrap();
    let (mut records, mut words) = (Vec::new(), Vec::new());
    for line in written.lines() {
        match Line::parse(line) {
            Some(record) => records.push(record),
            None => words.push(line.to_owned()),
        }
    }
    (records, words)
}

#[tokio::test(flavor = "multi_thread")]
async fn its_words_stand_in_the_log_file_and_are_no_records() {
    let upstream = upstream(Scenario::Json).await;
    let place = Place::new();
    let log = place.at("requests.jsonl");
    let output = place.start(&upstream, &["--log-file", str(&log)]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let (pid, _) = place.serves();
    comes("the first record", || (lines(&log).0.len() == 1).then_some(()));

    // A link in the file's place, without a moment in which nothing is there: it warns, and goes on in the file.
    let old = place.at("requests.jsonl.1");
    fs::hard_link(&log, &old).unwrap();
    symlink(place.at("elsewhere"), place.at("link")).unwrap();
    fs::rename(place.at("link"), &log).unwrap();
    kill(pid_of(pid), Signal::SIGHUP).unwrap();
    comes("a warning", || (!lines(&old).1.is_empty()).then_some(()));
    place.serves();
    comes("the second record", || (lines(&old).0.len() == 2).then_some(()));
    let (records, words) = lines(&old);
    assert!(records.iter().all(|line| matches!(line, Line::Record(_))), "{records:?}");
    let warns = |line: &String| line.starts_with("warning: ") && line.contains(str(&log));
    assert!(words.iter().all(warns), "{words:#?}");
    assert!(!place.at("elsewhere").exists());

    // And whoever reads the log reads records.
    let mut command = clean(Command::new(crate::PROXY.0));
    let read = command.args(["proxy", "log", "--json", "--file", str(&old)]).output().unwrap();
    assert_eq!(read.status.code(), Some(0), "{}", text(&read.stderr));
    let shown = text(&read.stdout);
    let ids: Vec<Value> = shown
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].take())
        .collect();
    assert_eq!(ids, [1, 2], "{shown}");

    // Once the link is gone, its words follow its records into the new file.
    fs::remove_file(&log).unwrap();
    kill(pid_of(pid), Signal::SIGHUP).unwrap();
    comes("a new file", || log.exists().then_some(()));
    place.serves();
    comes("the third record", || (lines(&log).0.len() == 1).then_some(()));
    if geteuid().is_root() {
        let stderr = fs::read_link(format!("/proc/{pid}/fd/2")).unwrap();
        assert_eq!(stderr, fs::canonicalize(&log).unwrap());
    }
}
