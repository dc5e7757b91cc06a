use serde_json::{Value, json};

use super::*;

fn told(state: State) -> Told {
    Told {
        state,
        file: "/h/.codex/config.toml".to_owned(),
        place: "/h/.codex/config.toml".to_owned(),
        found: Found { is_there: true, ..Found::default() },
        ..Told::default()
    }
}

fn pointed() -> Told {
    Told {
        base_url: Some("http://127.0.0.1:4000/v1".to_owned()),
        pid: Some(17),
        has_effect: Some(true),
        ..told(State::Pointed)
    }
}

fn azure() -> Option<InEffect> {
    Some(InEffect {
        provider: "azure".to_owned(),
        decided_by: "/h/.codex/config.toml".to_owned(),
        base_url: None,
        is_default: false,
    })
}

#[test]
fn a_pointing_ends_with_what_to_type() {
    let headline =
        "pointed: /h/.codex/config.toml now makes Codex use http://127.0.0.1:4000/v1 (pid 17)";
    assert_eq!(pointing_lines(&pointed()), [headline, "next: codex"]);
    let full = Told {
        backup: Some("/d/config.toml.before-openai-proxy".to_owned()),
        is_backup_new: true,
        place: "/d/config.toml".to_owned(),
        account: Some("alice (uid 1000)".to_owned()),
        warnings: vec!["it rains\u{1b}[2J".to_owned()],
        notes: vec!["it is late".to_owned()],
        ..pointed()
    };
    assert_eq!(
        pointing_lines(&full),
        [
            headline,
            "written: /d/config.toml, which /h/.codex/config.toml leads to",
            "backup: /d/config.toml.before-openai-proxy",
            "warning: it rains\\u{1b}[2J",
            "note: it is late",
            "next, as alice (uid 1000): codex",
        ]
    );
    let later = Told { is_backup_new: false, ..full };
    assert_eq!(
        pointing_lines(&later)[2],
        "backup: /d/config.toml.before-openai-proxy (of an earlier point)"
    );
    let profile = Told { profile: true, state: State::AlreadyPointed, ..pointed() };
    assert_eq!(
        pointing_lines(&profile),
        [
            "nothing to do: /h/.codex/config.toml already makes `codex -p openai-proxy` use http://127.0.0.1:4000/v1 (pid 17)",
            "next: codex -p openai-proxy",
        ]
    );
}

#[test]
fn a_pointing_without_effect_says_so() {
    let in_vain = Told { has_effect: Some(false), ..pointed() };
    let end = "It has no effect: change that first, or ask whoever decides there.";
    assert_eq!(
        pointing_lines(&in_vain),
        ["written: /h/.codex/config.toml points at http://127.0.0.1:4000/v1 (pid 17)", end]
    );
    assert_eq!(
        pointing_lines(&Told { state: State::AlreadyPointed, ..in_vain }),
        [
            "nothing to do: /h/.codex/config.toml already points at http://127.0.0.1:4000/v1 (pid 17)",
            end,
        ]
    );
}

#[test]
fn lines_are_broken_between_words_and_go_on_further_in() {
    let lines = ["next: codex", "note: once the proxy has ended any account can take port 4000"];
    let lines = lines.map(str::to_owned);
    assert_eq!(fitted(&lines, None), lines);
    assert_eq!(fitted(&lines, Some(61)), lines);
    assert_eq!(
        fitted(&lines, Some(30)),
        ["next: codex", "note: once the proxy has", "  ended any account can take", "  port 4000",]
    );
    assert!(fitted(&lines, Some(1)).iter().all(|line| line.trim().width() == 1));
}

#[test]
fn an_unpointing_says_what_stays_and_what_counts_now() {
    let unpointed = Told { effective: azure(), ..told(State::Unpointed) };
    assert_eq!(
        unpointing_lines(&unpointed),
        [
            "unpointed: /h/.codex/config.toml; the table [model_providers.openai-proxy] stays, so that old sessions still open (CODEX_PROXY=1 codex resume ID, or -c model_provider=openai-proxy); --purge takes it out",
            "now: Codex uses \"azure\", as /h/.codex/config.toml says",
        ]
    );
    let profile = unpointing_lines(&Told { profile: true, ..told(State::Unpointed) });
    assert!(
        profile[0].contains(", or -p openai-proxy -c model_provider=openai-proxy); "),
        "{profile:?}"
    );
    let default = InEffect {
        provider: "openai".to_owned(),
        decided_by: "Codex itself".to_owned(),
        base_url: None,
        is_default: true,
    };
    let goes = Found { goes: true, is_there: true, ..Found::default() };
    let purged = Told { effective: Some(default), found: goes, ..told(State::Purged) };
    assert_eq!(
        unpointing_lines(&purged),
        [
            "purged: /h/.codex/config.toml is gone, because all that was in it was ours",
            "now: Codex uses \"openai\", its own default",
        ]
    );
    assert_eq!(
        unpointing_lines(&told(State::Purged)),
        ["purged: nothing of ours is left in /h/.codex/config.toml"]
    );
}

#[test]
fn where_nothing_is_to_do_it_says_why() {
    for (found, expected) in [
        (Found::default(), "nothing to do: there is no /h/.codex/config.toml"),
        (
            Found { is_there: true, ..Found::default() },
            "nothing to do: /h/.codex/config.toml does not point Codex at the proxy",
        ),
        (
            Found {
                is_there: true,
                foreign_selector: Some("azure".to_owned()),
                has_table: true,
                ..Found::default()
            },
            "nothing to do: /h/.codex/config.toml selects \"azure\", which is not ours; the table [model_providers.openai-proxy] stays (--purge takes it out)",
        ),
    ] {
        let told = Told { found, effective: azure(), ..told(State::NotPointed) };
        assert_eq!(unpointing_lines(&told), [expected]);
    }
}

#[test]
fn programs_get_all_of_it_by_stable_names() {
    let seen: Value = serde_json::from_str(&as_json(&pointed()).unwrap()).unwrap();
    assert_eq!(
        seen,
        json!({
            "state": "pointed", "file": "/h/.codex/config.toml",
            "place": "/h/.codex/config.toml", "backup": null,
            "base_url": "http://127.0.0.1:4000/v1", "pid": 17, "profile": false,
            "account": null, "effective": null, "has_effect": true, "warnings": [],
            "notes": [], "diff": null, "verified": null
        })
    );
    for (state, word) in [
        (State::AlreadyPointed, "already_pointed"),
        (State::Unpointed, "unpointed"),
        (State::Purged, "purged"),
        (State::NotPointed, "not_pointed"),
        (State::WouldChange, "would_change"),
    ] {
        assert_eq!(serde_json::to_value(state).unwrap(), word);
    }
}
