//! The public Codex CLI gets exactly what was typed and what was there.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::*;

#[test]
fn every_byte_of_the_arguments_arrives() {
    for words in [
        &[][..],
        &[b"exec".as_slice(), b"say 'hi'", b"", b"two\nlines", b"\xff\xfe", b"--", b"-c"],
        &[b"".as_slice()],
        &[b"--help".as_slice()],
        &[b"--".as_slice(), b"exec"],
        &[b"exec".as_slice(), b"proxy"],
    ] {
        let place = Place::new();
        let words: Vec<OsString> = words.iter().map(|it| OsString::from_vec(it.to_vec())).collect();
        let (code, shown, said) = ended(place.codex().args(&words));
        assert_eq!((code, shown.as_str(), said.as_str()), (Some(7), "", ""), "{words:?}");
        let seen: Vec<OsString> = place.arguments().into_iter().map(OsString::from_vec).collect();
        assert_eq!(seen, words);
    }
}

#[test]
fn dashes_bring_a_word_of_ours_to_the_public_codex() {
    for (typed, expected) in [
        (&["--", "proxy"][..], &["proxy"][..]),
        (&["--", "responses-api-proxy", "--port", "1"], &["responses-api-proxy", "--port", "1"]),
        (&["--", "launcher"], &["launcher"]),
        (&["--", "exec", "proxy"], &["--", "exec", "proxy"]),
    ] {
        let place = Place::new();
        let (code, ..) = ended(place.codex().args(typed));
        assert_eq!(
            (code, place.argument_texts()),
            (Some(7), expected.iter().map(|it| (*it).to_owned()).collect())
        );
    }
}

#[test]
fn the_environment_arrives_whole_with_one_marker_more() {
    let place = Place::new();
    let mut command = place.codex();
    let odd = OsStr::from_bytes(b"\xff=1");
    let set = [
        ("LD_LIBRARY_PATH", OsStr::new("/no/such/folder")),
        ("SSL_CERT_FILE", OsStr::new("/no/such/file")),
        ("OPENAI_API_KEY", OsStr::new("of the user's own")),
        ("HTTP_PROXY", OsStr::new("http://127.0.0.1:9")),
        ("EMPTY", OsStr::new("")),
        ("ODD", odd),
    ];
    let (code, _, said) = ended(command.envs(set));
    assert_eq!((code, said.as_str()), (Some(7), ""));
    let (marker, others): (Vec<String>, Vec<String>) =
        place.variables().into_iter().partition(|it| it.starts_with("CODEX_HANDED_OVER="));
    let path = std::env::join_paths([place.at("ours"), place.at("theirs")]).unwrap();
    let home = place.at("home");
    let known = [("PATH", path.as_os_str()), ("HOME", home.as_os_str())];
    let mut expected: Vec<String> = set
        .into_iter()
        .chain(known)
        .map(|(name, value)| format!("{name}={}", value.to_string_lossy()))
        .collect();
    expected.sort();
    assert_eq!((others, marker.len()), (expected, 1));
}

#[test]
fn standard_input_exit_code_and_process_are_the_callers() {
    let place = Place::new();
    let mut child = place.codex().arg("exec").stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"a prompt\0\xff").unwrap();
    let pid = child.id();
    assert_eq!(child.wait().unwrap().code(), Some(7));
    assert_eq!(fs::read(place.at("theirs/input")).unwrap(), b"a prompt\0\xff");
    let seen = fs::read_to_string(place.at("theirs/pid")).unwrap();
    assert_eq!(seen.trim(), pid.to_string(), "it is the same process");
}

#[test]
fn a_death_by_a_signal_is_seen_as_one() {
    let place = Place::empty();
    place.script("theirs/codex", "#!/bin/sh\nkill -KILL $$\n");
    let status = place.codex().status().unwrap();
    assert_eq!((status.code(), status.signal()), (None, Some(9)));
}

/// What a copy of one of the system's programs shows, run by itself and by way of us. A script could not tell: its shell
/// takes part.
fn by_itself_and_handed_over(place: &Place, program: &str, argument: &str) -> Option<[Output; 2]> {
    let copy = format!(r#"exec cp "$(command -v {program})" "$1""#);
    let copied =
        Command::new("sh").args(["-c", &copy, "sh"]).arg(place.at("theirs/codex")).status();
    assert!(copied.unwrap().success());
    // With a soft limit and a descriptor that nobody has by chance.
    let start = r#"ulimit -S -c 7 2>/dev/null; umask 027; exec 9</dev/null; exec "$0" "$1""#;
    let [direct, handed_over] = ["theirs/codex", "ours/codex"].map(|name| {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", start]).arg(place.at(name)).arg(argument).env_clear();
        let path = std::env::join_paths([place.at("ours"), place.at("theirs")]).unwrap();
        command.env("PATH", path).env("HOME", place.at("home")).stdin(Stdio::null());
        command.output().unwrap()
    });
    let runs = direct.status.success();
    let missing = "the system's programs are one program that goes by its name";
    can_run((!runs).then_some(missing)).then_some([direct, handed_over])
}

#[test]
fn limits_signals_mask_and_descriptors_are_as_they_were() {
    for (program, argument) in
        [("cat", "/proc/self/limits"), ("cat", "/proc/self/status"), ("ls", "/proc/self/fd")]
    {
        let place = Place::empty();
        let Some(outputs) = by_itself_and_handed_over(&place, program, argument) else { return };
        let facts = outputs.map(|output| {
            assert!(output.status.success(), "{}", text(&output.stderr));
            // The rest of `status` is about its memory and its number.
            let names = ["Sig", "Shd", "Umask", "Groups", "Cap", "NoNewPrivs", "Seccomp", "Uid"];
            let is_fixed = |line: &&str| names.iter().any(|name| line.starts_with(name));
            let shown = text(&output.stdout);
            match argument {
                "/proc/self/status" => shown
                    .lines()
                    .filter(is_fixed)
                    .filter(|line| !line.starts_with("SigQ"))
                    .collect::<Vec<_>>()
                    .join("\n"),
                _ => shown,
            }
        });
        assert_eq!(facts[0], facts[1], "{program} {argument}");
    }
}

/// Volta and asdf have one program that goes by its name.
#[test]
fn it_is_called_by_the_name_that_was_typed() {
    let place = Place::empty();
    let Some([_, output]) = by_itself_and_handed_over(&place, "cat", "/proc/self/cmdline") else {
        return;
    };
    let typed = format!("{}\0/proc/self/cmdline\0", place.at("ours/codex").display());
    assert_eq!(text(&output.stdout), typed);
}
