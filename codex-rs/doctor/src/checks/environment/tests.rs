//! A /proc of a test's own, and what is said of it.

use super::*;
use crate::finding::Grade;

const KEY: &str = "sk-proj-0123456789abcdef";

/// A process in a /proc of a test's own. Without an environment it has one that can't be read.
fn process(proc_folder: &Path, pid: u32, uid: u32, environment: Option<&str>) {
    let folder = proc_folder.join(pid.to_string());
    fs::create_dir_all(&folder).unwrap();
    let status = format!("Name:\tprogram{pid}\nState:\tS\nPPid:\t1\nUid:\t{uid}\t0\t0\t0\n");
    fs::write(folder.join("status"), status).unwrap();
    match environment {
        Some(text) => fs::write(folder.join("environ"), text).unwrap(),
        None => fs::create_dir(folder.join("environ")).unwrap(),
    }
}

#[test]
fn a_variable_counts_if_its_value_could_be_a_key() {
    for (environment, expected) in [
        (format!("A=1\0OPENAI_API_KEY={KEY}\0B=2\0"), vec!["OPENAI_API_KEY"]),
        (format!("CODEX_API_KEY={KEY}"), vec!["CODEX_API_KEY"]),
        (
            format!("AZURE_OPENAI_API_KEY={KEY}\0OPENAI_API_KEY={KEY}\0"),
            vec!["OPENAI_API_KEY", "AZURE_OPENAI_API_KEY"],
        ),
        (format!("MY_OPENAI_API_KEY={KEY}\0OPENAI_API_KEYS={KEY}\0"), vec![]),
        ("OPENAI_API_KEY=\0CODEX_API_KEY=not-needed\0OPENAI_ADMIN_KEY\0".to_owned(), vec![]),
        (String::new(), vec![]),
    ] {
        assert_eq!(key_variables(environment.as_bytes()), expected, "{environment:?}");
    }
}

#[test]
fn only_this_accounts_processes_are_looked_at_and_we_are_none_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let with_key = format!("HOME=/\0OPENAI_API_KEY={KEY}\0");
    for (pid, uid, environment) in [
        (7, 1_000, Some(&*with_key)),
        (8, 1_000, Some("HOME=/\0")),
        (9, 1_001, Some(&*with_key)),
        (10, 1_000, Some(&*with_key)),
        (11, 1_000, None),
        (12, 1_000, Some(&*with_key)),
    ] {
        process(folder.path(), pid, uid, environment);
    }
    // We have just started one, for its version, and that another.
    for (pid, parent) in [(14, 10), (15, 14)] {
        process(folder.path(), pid, 1_000, Some(&with_key));
        let status = folder.path().join(format!("{pid}/status"));
        let text = fs::read_to_string(&status).unwrap();
        fs::write(status, text.replace("PPid:\t1\n", &format!("PPid:\t{parent}\n"))).unwrap();
    }
    fs::create_dir(folder.path().join("13")).unwrap(); // It has just ended.
    fs::write(folder.path().join("uptime"), "1").unwrap();
    let holder =
        |pid| Holder { pid, program: format!("program{pid}"), variables: vec!["OPENAI_API_KEY"] };
    let holders = vec![holder(7), holder(12)];
    let expected = Others { holders, looked_at: 3, unreadable: 1, is_cut: false };
    let found = |folder: &Path| others(folder, 1_000, 10, 9);
    assert_eq!(found(folder.path()), Some(expected));
    assert_eq!(found(&folder.path().join("none")), None);
    assert_eq!(found(&folder.path().join("13")), None);
}

#[test]
fn of_very_many_processes_the_oldest_are_looked_at_and_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    for pid in [7, 8, 9] {
        process(folder.path(), pid, 1_000, Some("HOME=/\0"));
    }
    for (most, looked_at, is_cut) in [(2, 2, true), (3, 3, false), (4, 3, false)] {
        let expected = Others { looked_at, is_cut, ..Others::default() };
        assert_eq!(others(folder.path(), 1_000, 10, most), Some(expected), "{most}");
    }
}

#[test]
fn numbers_that_lead_round_in_a_circle_come_to_an_end() {
    let process = |parent| Process { program: "sh".to_owned(), uid: 1, parent };
    let processes = BTreeMap::from([(7, process(8)), (8, process(7)), (9, process(7))]);
    assert!(is_of(8, 9, &processes) && is_of(9, 9, &processes) && !is_of(10, 9, &processes));
}

#[tokio::test]
async fn what_is_set_here_fails_and_its_value_is_not_told() {
    let folder = tempfile::tempdir().unwrap();
    process(&folder.path().join("proc"), 7, 0, Some("HOME=/\0"));
    let host = || {
        let mut host = Host::for_tests(folder.path());
        (host.proc_folder, host.uid) = (folder.path().join("proc"), 0);
        host
    };
    let findings = look(Arc::new(host())).await;
    let nothing =
        "no key in this environment, nor in those of this account's other processes (1 looked at)";
    assert_eq!(findings, [Finding::pass(ID, nothing)]);
    let host = host().with_variable("CODEX_API_KEY", KEY).with_variable("OPENAI_API_KEY", "no");
    let findings = look(Arc::new(host)).await;
    assert_eq!(findings, [set_here("CODEX_API_KEY")]);
    assert!(!format!("{findings:?}").contains("0123"));
}

#[test]
fn processes_are_named_by_variable_and_many_are_counted() {
    let holder = |pid, variables: &[&'static str]| Holder {
        pid,
        program: "bash".to_owned(),
        variables: variables.to_vec(),
    };
    let mut holders = vec![holder(1, &["CODEX_API_KEY", "OPENAI_API_KEY"])];
    holders.extend((2..9).map(|pid| holder(pid, &["OPENAI_API_KEY"])));
    let others = Others { holders, looked_at: 10, ..Others::default() };
    let findings = judge(&Seen { here: vec![], others: Some(others) });
    let expected = [
        "OPENAI_API_KEY is in the environment of pid 1 (bash), pid 2 (bash), pid 3 (bash), pid 4 (bash), pid 5 \
         (bash) and 3 more, where everything that runs as this account can read it",
        "CODEX_API_KEY is in the environment of pid 1 (bash), where everything that runs as this account can read it",
    ];
    let evidence: Vec<&str> = findings.iter().map(|finding| &*finding.evidence).collect();
    assert_eq!(evidence, expected);
    assert!(findings.iter().all(|finding| finding.grade == Grade::Fail));
}

#[test]
fn what_could_not_be_looked_at_is_said() {
    let others = Others { looked_at: 4, unreadable: 2, is_cut: true, ..Others::default() };
    let expected = "no key in this environment, nor in those of this account's other processes (4 looked at, \
                    2 keep theirs shut, given up after 8192 processes)";
    assert_eq!(nothing(Some(&others)), expected);
    let others = Others { looked_at: 1, unreadable: 1, ..Others::default() };
    let one = nothing(Some(&others));
    assert!(one.ends_with("(1 looked at, 1 keeps its own shut)"), "{one}");
    let expected = "no key in this environment; other processes can't be looked at here";
    assert_eq!(judge(&Seen::default()), [Finding::pass(ID, expected)]);
}
