//! No public Codex CLI: what is ours still works, and the rest says how to install it.

use super::*;

#[test]
fn help_and_version_are_ours_then_and_say_how_to_install_it() {
    let place = Place::empty();
    for words in [&["--help"][..], &["-h"], &["help"]] {
        let (code, shown, said) = ended(place.codex().args(words));
        assert_eq!((code, said.as_str()), (Some(0), ""), "{words:?}");
        assert!(shown.contains("responses-api-proxy") && shown.contains("Usage: codex"), "{shown}");
        let end = shown.trim_end().lines().last().unwrap();
        assert!(end.contains("npm install -g @openai/codex"), "{shown}");
    }
    for word in ["--version", "-V"] {
        let version = format!("codex {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(ended(place.codex().arg(word)), (Some(0), version, String::new()));
    }
    let (code, _, said) = ended(&mut place.codex());
    assert_eq!(code, Some(2));
    assert!(said.contains("Usage: codex"), "{said}");
    let first = said.lines().next().unwrap();
    assert!(first.starts_with("codex: the public Codex CLI is not installed: "), "{said}");
    assert!(first.contains("; install it: npm install -g @openai/codex"), "{said}");
}

#[test]
fn all_else_is_told_how_to_install_it() {
    let place = Place::empty();
    for words in
        [&["exec", "hi"][..], &["fix the tests"], &["login"], &["--", "proxy"], &["exec", "--help"]]
    {
        let (code, shown, said) = ended(place.codex().args(words));
        assert_eq!((code, shown.as_str()), (Some(1), ""), "{words:?}");
        let program = place.at("ours/codex");
        let expected = format!(
            "error: the public Codex CLI is not installed: the only `codex` on PATH is this program ({program:?})\n\
             hint: install it: npm install -g @openai/codex (or name it: CODEX_REAL_BIN=/path/to/codex)\n"
        );
        assert_eq!(said, expected, "{words:?}");
    }
}

#[test]
fn what_is_ours_needs_no_public_codex() {
    let place = Place::empty();
    let (code, shown, _) = ended(place.codex().args(["proxy", "--help"]));
    assert_eq!(code, Some(0));
    assert!(shown.contains("--upstream-url"), "{shown}");
}
