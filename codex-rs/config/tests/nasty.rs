//! Configurations made by hand to be hard to edit: each keeps every byte, or is refused in words that help.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../src/properties.rs"]
pub mod properties;
#[path = "../../../fuzz/replay.rs"]
mod replay;

use std::collections::BTreeMap;
use std::error::Error;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::{fs, str};

// For `properties` too, which is a module of the crate itself elsewhere.
use codex_config::{Change, Deed, PROVIDER, PROVIDER_NAME, edit};

const BASE_URL: &str = "http://127.0.0.1:4000/v1";

/// What is said of each file in `refused/`.
const REFUSED: &[(&str, &str)] = &[
    ("array_of_our_id.toml", "[model_providers.openai-proxy] that is not ours"),
    ("bare_carriage_returns.toml", "is no TOML: line 1"),
    ("control_character_in_a_comment.toml", "is no TOML: line 2"),
    ("header_never_closed.toml", "is no TOML"),
    ("invalid_value.toml", "is no TOML: line 2"),
    ("json.toml", "is no TOML: line 1"),
    ("left_by_a_merge.toml", "is no TOML: line 1"),
    ("nested_too_deep.toml", "is no TOML"),
    ("nul_bytes.toml", "is no TOML"),
    ("our_id_for_somebody_elses_dotted_table.toml", "is not ours (its name is \"Mine\")"),
    ("our_id_for_somebody_elses_inline_table.toml", "is not ours (its name is \"Mine\")"),
    ("our_id_for_somebody_elses_table.toml", "is not ours (its name is \"My proxy\")"),
    ("our_id_for_a_number.toml", "is not ours (its name is not set)"),
    ("our_id_for_a_table_without_a_name.toml", "is not ours (its name is not set)"),
    ("our_table_whose_address_is_a_number.toml", "has no base_url"),
    ("our_table_without_its_address.toml", "has no base_url"),
    ("providers_are_a_number.toml", "`model_providers` is no table"),
    ("providers_are_a_string.toml", "`model_providers` is no table"),
    ("providers_are_an_array.toml", "`model_providers` is no table"),
    ("providers_are_an_array_of_tables.toml", "`model_providers` is no table"),
    ("selector_is_a_number.toml", "`model_provider` is no string"),
    ("selector_is_a_table.toml", "`model_provider` is no string"),
    ("selector_is_an_array.toml", "`model_provider` is no string"),
    ("selector_twice.toml", "is no TOML: line 3"),
    ("string_never_closed.toml", "is no TOML"),
    ("table_twice.toml", "is no TOML"),
    ("two_byte_order_marks.toml", "is no TOML: line 1"),
    ("utf_16.toml", "UTF-8"),
    ("wrong_byte.toml", "UTF-8"),
];

#[test]
fn no_nasty_file_loses_a_byte() {
    let broken: Vec<String> = files("nasty")
        .into_iter()
        .filter(|(_, bytes)| catch_unwind(|| properties::edits_lose_nothing(bytes)).is_err())
        .map(|(name, _)| name)
        .collect();
    assert!(broken.is_empty(), "{broken:#?}"); // What each broke stands above.
}

#[test]
fn every_nasty_file_can_be_pointed_and_is_what_its_name_says() {
    let files = files("nasty");
    assert!(files.len() >= 50, "{}", files.len());
    for (name, bytes) in files {
        let text = str::from_utf8(&bytes).unwrap();
        let said = edit::read(text).unwrap();
        let is_ours = said.has_table || said.selector.as_deref() == Some(PROVIDER);
        assert_eq!(is_ours, name.starts_with("ours_"), "{name}: {said:?}");
        let pointed = edit::point(Some(text), BASE_URL);
        assert!(pointed.is_ok(), "{name}: {pointed:?}");
    }
}

#[test]
fn nothing_in_a_nasty_file_is_taken_for_ours() {
    for (name, bytes) in files("nasty") {
        if !name.starts_with("ours_") {
            let text = str::from_utf8(&bytes).unwrap();
            assert_eq!(edit::unpoint(text).as_deref(), Ok(text), "{name}");
            assert_eq!(edit::purge(text), Ok(Some(text.to_owned())), "{name}");
        }
    }
}

#[test]
fn what_can_not_be_edited_is_left_alone_and_the_reason_said() {
    let said: BTreeMap<&str, &str> = REFUSED.iter().copied().collect();
    let files = files("refused");
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    assert_eq!(names, said.keys().copied().collect::<Vec<_>>(), "each file has its reason");
    let folder = tempfile::tempdir().unwrap();
    let deed = Deed::Point { base_url: BASE_URL.to_owned() };
    for (name, bytes) in &files {
        properties::edits_lose_nothing(bytes);
        let file = folder.path().join("config.toml");
        fs::write(&file, bytes).unwrap();
        let error = match Change::plan(&file, &deed) {
            Ok(change) => panic!("{name}: {:?}", change.after()),
            Err(error) => with_sources(&error),
        };
        assert!(error.contains(said[name.as_str()]), "{name}: {error}");
        assert_eq!(&fs::read(&file).unwrap(), bytes, "{name}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "{name}");
    }
}

#[test]
fn the_table_of_somebody_else_has_another_name_than_ours() {
    for (name, bytes) in files("refused") {
        if name.contains("somebody_elses") {
            assert!(!String::from_utf8(bytes).unwrap().contains(PROVIDER_NAME), "{name}");
        }
    }
}

#[test]
fn the_corpus_breaks_no_property() {
    replay::replay("config_edits", properties::edits_lose_nothing);
}

/// All files of a folder of tests, by name.
fn files(folder: &str) -> BTreeMap<String, Vec<u8>> {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let named = |path: PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(name.ends_with(".toml"), "what is {name}?");
        (name, fs::read(path).unwrap())
    };
    fs::read_dir(folder).unwrap().map(|entry| named(entry.unwrap().path())).collect()
}

fn with_sources(error: &dyn Error) -> String {
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        said = format!("{said}: {error}");
        source = error.source();
    }
    said
}
