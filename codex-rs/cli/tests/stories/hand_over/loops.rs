//! Programs on PATH that are us, or call us: each `codex` ends at the public one or with an error.

use super::*;

/// Calls `codex` in its own place.
const BY_EXEC: &str = "#!/bin/sh\nexec codex \"$@\"\n";

/// Calls `codex` and waits for it.
const BY_SPAWN: &str = "#!/bin/sh\ncodex \"$@\"\nexit $?\n";

fn with_folders(place: &Place, names: &[&str]) {
    names.iter().for_each(|name| fs::create_dir(place.at(name)).unwrap());
}

#[test]
fn links_to_us_and_copies_of_us_are_passed_over() {
    let place = Place::new();
    with_folders(&place, &["links", "copies", "more-copies"]);
    symlink(place.at("ours/codex"), place.at("links/codex")).unwrap();
    for name in ["copies/codex", "more-copies/codex"] {
        copy_program(&place.at(name));
    }
    let path = ["ours", "links", "copies", "more-copies", "theirs"];
    let (code, _, said) = ended(place.codex_along(&path).args(["exec", "hi"]));
    assert_eq!((code, said.as_str()), (Some(7), ""));
    assert_eq!(place.argument_texts(), ["exec", "hi"]);
    let (code, _, said) = ended(place.codex_along(&path[..4]).args(["exec", "hi"]));
    assert_eq!(code, Some(1));
    assert!(said.starts_with("error: the public Codex CLI is not installed: "), "{said}");
    for name in ["ours/codex", "copies/codex", "more-copies/codex"] {
        assert!(said.contains(str(&place.at(name))), "{name}: {said}");
    }
}

#[test]
fn a_wrapper_that_execs_us_is_passed_over_the_second_time() {
    let place = Place::new();
    with_folders(&place, &["wrapper"]);
    place.script("wrapper/codex", BY_EXEC);
    let mut command = place.codex_along(&["ours", "wrapper", "theirs"]);
    let (code, _, said) = ended(command.args(["exec", "hi"]));
    assert_eq!((code, said.as_str()), (Some(7), ""));
    assert_eq!(place.argument_texts(), ["exec", "hi"]);
    // And where there is nothing behind it, that is the end.
    let (code, _, said) = ended(place.codex_along(&["ours", "wrapper"]).args(["exec", "hi"]));
    assert_eq!(code, Some(1));
    assert!(said.contains("is not installed") && said.contains("wrapper/codex"), "{said}");
}

#[test]
fn a_wrapper_that_starts_us_ends_with_an_error() {
    let place = Place::new();
    with_folders(&place, &["wrapper"]);
    place.script("wrapper/codex", BY_SPAWN);
    let mut command = place.codex_along(&["ours", "wrapper", "theirs"]);
    let (code, _, said) = ended(command.args(["exec", "hi"]));
    assert_eq!(code, Some(1));
    let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("error: ")).collect();
    let program = format!("{:?}", place.at("wrapper/codex"));
    assert_eq!(errors, [format!("error: `codex` calls itself through {program}, 8 times by now")]);
    assert!(said.contains("hint: name the public Codex CLI itself: CODEX_REAL_BIN="), "{said}");
    assert!(said.contains("unset CODEX_HANDED_OVER"), "{said}");
    assert!(!place.was_run());
}

/// Without its environment, and so without the marker. It used to go on until there were no processes left.
#[test]
fn a_wrapper_that_starts_us_without_our_environment_ends_with_an_error_too() {
    let place = Place::new();
    with_folders(&place, &["wrapper"]);
    let again = "#!/bin/sh\n/usr/bin/env -i PATH=\"$PATH\" HOME=\"$HOME\" codex \"$@\"\nexit $?\n";
    place.script("wrapper/codex", again);
    let mut command = place.codex_along(&["ours", "wrapper", "theirs"]);
    command.args(["exec", "hi"]).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let output = end(command.spawn().unwrap(), b"");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("error: ")).collect();
    let program = format!("{:?}", place.at("wrapper/codex"));
    assert_eq!(errors, [format!("error: `codex` calls itself through {program}, 8 times by now")]);
    assert!(!place.was_run());
}

/// As an agent does that runs `codex` itself.
#[test]
fn a_codex_within_a_codex_is_no_loop() {
    let place = Place::empty();
    let again = "#!/bin/sh\n[ \"$1\" = 0 ] && exit 7\ncodex $(($1 - 1))\n";
    place.script("theirs/codex", again);
    assert_eq!(ended(place.codex().arg("4")).0, Some(7));
}

#[test]
fn the_variable_names_the_public_codex() {
    let place = Place::new();
    with_folders(&place, &["elsewhere"]);
    place.script(
        "elsewhere/real",
        RECORDER.replace("here=${0%/*}", &format!("here={}", str(&place.at("theirs")))).as_str(),
    );
    place.script("theirs/codex", "#!/bin/sh\nexit 1\n");
    let mut command = place.codex();
    let (code, _, said) =
        ended(command.arg("exec").env("CODEX_REAL_BIN", place.at("elsewhere/real")));
    assert_eq!((code, said.as_str()), (Some(7), ""));
    assert_eq!(place.argument_texts(), ["exec"]);
}

#[test]
fn a_variable_that_names_no_public_codex_is_an_error() {
    let place = Place::new();
    with_folders(&place, &["elsewhere"]);
    place.script("elsewhere/wrapper", BY_EXEC);
    place.script("elsewhere/no-interpreter", "#!/no/such/interpreter\n");
    for (names, says) in [
        (place.at("ours/codex"), "which leads back to this program"),
        (place.at("elsewhere/wrapper"), "which leads back to this program"),
        (place.at("none"), "which can't be looked at"),
        (place.at("theirs"), "which is no program that this account may run"),
        (PathBuf::from("theirs/codex"), "which is no absolute path"),
        (place.at("elsewhere/no-interpreter"), "can't be run"),
    ] {
        let mut command = place.codex();
        command.arg("exec").env("CODEX_REAL_BIN", &names).current_dir(place.folder.path());
        let (code, _, said) = ended(&mut command);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.starts_with("error: ") && said.contains(says), "{says}: {said}");
        assert!(said.contains("\nhint: "), "{said}");
        assert!(!place.was_run());
    }
}

/// What lies in the current folder is whatever the agent has written there.
#[test]
fn what_path_names_by_a_relative_path_is_not_run() {
    let place = Place::new();
    with_folders(&place, &["work"]);
    place.script("work/codex", "#!/bin/sh\nexit 3\n");
    for before in [".", "", "../work"] {
        let folders = [Path::new(before).to_owned(), place.at("ours"), place.at("theirs")];
        let mut command = place.codex();
        command.env("PATH", std::env::join_paths(folders).unwrap()).current_dir(place.at("work"));
        assert_eq!(ended(&mut command).0, Some(7), "{before:?}");
    }
}
