//! Files with keys in them, and what is said of them.

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::finding::Grade;

const KEY: &str = "sk-proj-0123456789abcdef";

#[test]
fn only_the_end_of_a_long_file_is_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place { kind: Kind::History, path: folder.path().join("history") };
    let text = format!("{KEY}\nls\n{KEY}\n");
    fs::write(&place.path, &text).unwrap();
    let end = text.len() as u64 - 26; // Without the first line and one byte.
    for (limit, expected, is_end) in [
        (MIB, vec![1, 3], false),
        (text.len() as u64, vec![1, 3], false),
        (end, vec![2], true),
        (0, vec![], true),
    ] {
        assert_eq!(see(&place, limit), Seen::Text { lines: expected, is_end }, "{limit}");
    }
}

#[test]
fn what_is_no_file_is_none() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().join("none"), folder.path().to_owned(), "/dev/null".into()] {
        let place = Place { kind: Kind::History, path };
        assert_eq!(see(&place, MIB), Seen::NoFile, "{place:?}");
    }
}

#[test]
fn lines_are_named_and_many_are_not() {
    for (lines, is_end, expected) in [
        (vec![3], false, "something in line 3 of /h looks like an API key"),
        (vec![3, 17], false, "something in lines 3 and 17 of /h looks like an API key"),
        (
            vec![1, 2, 3, 4, 5],
            false,
            "something in lines 1, 2, 3, 4 and 5 of /h looks like an API key",
        ),
        (
            vec![1, 2, 3, 4, 5, 6],
            true,
            "something in lines 1, 2, 3, 4, 5 and later ones of the last 16 MiB of /h looks like an API key",
        ),
    ] {
        let place = Place { kind: Kind::History, path: PathBuf::from("/h") };
        assert_eq!(evidence(&place, &lines, is_end), expected);
    }
}

#[tokio::test]
async fn each_file_with_a_key_fails_and_no_key_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let look = || look(Arc::new(Host::for_tests(folder.path())));
    let nothing =
        "nothing looks like a key in the histories, start-up files and settings that are there";
    assert_eq!(look().await, [Finding::pass(ID, format!("{nothing} (0 looked at)"))]);
    for folder in [".codex", "etc/profile.d"] {
        fs::create_dir_all(at(folder)).unwrap();
    }
    fs::write(at(".bash_history"), "ls\nexport OPENAI_API_KEY=$(pass openai-1)\n").unwrap();
    fs::write(at(".codex/config.toml"), "env_key = \"OPENAI_API_KEY\"\n").unwrap();
    assert_eq!(look().await, [Finding::pass(ID, format!("{nothing} (2 looked at)"))]);
    let bearer = "\nexperimental_bearer_token = \"0123456789abcdef\"\n";
    for (name, text) in [
        (".bash_history", &*format!("ls\nOPENAI_API_KEY={KEY} codex\n")),
        (".zshrc", &*format!("export OPENAI_API_KEY={KEY}\n")),
        (".codex/history.jsonl", &*format!("{{}}\n{{}}\n{{\"text\":\"it is\\n{KEY}\"}}\n")),
        (".codex/config.toml.before-openai-proxy", bearer),
        ("etc/profile.d/key.sh", &*format!("OPENAI_API_KEY={KEY}")),
    ] {
        fs::write(at(name), text).unwrap();
    }
    let findings = look().await;
    let said: Vec<(Grade, &str, &str)> = findings
        .iter()
        .map(|found| (found.grade, &*found.evidence, found.remedy.as_deref().unwrap()))
        .collect();
    let said_of = |name: &str, line: usize, kind| {
        let place = at(name).display().to_string();
        (format!("something in line {line} of {place} looks like an API key"), remedy(kind))
    };
    let expected = [
        said_of(".bash_history", 2, Kind::History),
        said_of(".zshrc", 1, Kind::StartUp),
        said_of(".codex/history.jsonl", 3, Kind::Prompts),
        said_of(".codex/config.toml.before-openai-proxy", 2, Kind::Codex),
        said_of("etc/profile.d/key.sh", 1, Kind::System),
    ];
    let expected: Vec<(Grade, &str, &str)> =
        expected.iter().map(|(evidence, remedy)| (Grade::Fail, &**evidence, *remedy)).collect();
    assert_eq!(said, expected);
    assert!(!format!("{findings:?}").contains("0123"));
}

#[test]
fn what_can_not_be_read_is_said() {
    let place = Place { kind: Kind::System, path: PathBuf::from("/x") };
    let text = Seen::Text { lines: vec![], is_end: true };
    let seen = [(place.clone(), Seen::Unreadable), (place.clone(), text), (place, Seen::NoFile)];
    let findings = judge(&seen);
    assert_eq!(findings[0].grade, Grade::Pass);
    let end = "(1 looked at, 1 of them only at the end; 1 more can't be read by this account)";
    assert!(findings[0].evidence.ends_with(end), "{findings:?}");
}
