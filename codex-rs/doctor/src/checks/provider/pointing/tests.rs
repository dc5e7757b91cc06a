//! Real files, and what is said of how they are pointed.

use std::fs;

use codex_config::Said;

use super::*;

/// What is known where this file decides.
fn pointing(layer: fn(PathBuf) -> Layer, text: Option<&str>) -> (tempfile::TempDir, Pointing) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    if let Some(text) = text {
        fs::write(&file, text).unwrap();
    }
    let effective = Effective {
        provider: PROVIDER.to_owned(),
        decided_by: layer(file.clone()),
        base_url: None,
        said: Vec::new(),
        problems: Vec::new(),
    };
    (folder, Pointing::of(effective, file))
}

#[test]
fn point_is_what_helps_where_it_would_do_it_and_nothing_is_written() {
    let ours = codex_config::edit::point(None, "http://127.0.0.1:4321/v1").unwrap();
    let selector = format!("model_provider = {PROVIDER:?}\n");
    for text in [None, Some(""), Some("model = \"x\"\n"), Some(&*selector), Some(&*ours)] {
        let (folder, pointing) = pointing(Layer::User, text);
        assert_eq!(pointing.begin(), "point it at the proxy: codex proxy point");
        assert_eq!(pointing.repair(), "point again: codex proxy point");
        assert_eq!(pointing.undo(), "undo it: codex proxy unpoint");
        assert_eq!(fs::read_to_string(&pointing.file).ok().as_deref(), text);
        let expected = usize::from(text.is_some());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), expected);
    }
}

#[test]
fn point_is_not_recommended_where_it_would_refuse() {
    let theirs = format!("model_provider = {PROVIDER:?}\n[model_providers.{PROVIDER}]\n");
    let conflict = format!("{theirs}name = \"mine\"\n");
    let damaged = format!("{theirs}name = {:?}\n", codex_config::PROVIDER_NAME);
    for (text, error, hint, is_undone_by_hand) in [
        (
            &conflict,
            "it has a table [model_providers.openai-proxy] that is not ours (its name is \"mine\")",
            "give that table another name",
            true,
        ),
        (
            &damaged,
            "its table [model_providers.openai-proxy] has no base_url that is a string",
            "take it out with `codex proxy unpoint --purge`",
            false,
        ),
    ] {
        let (_folder, user) = pointing(Layer::User, Some(text));
        let file = user.file.display().to_string();
        let expected =
            format!("mend {file}, so that `codex proxy point` can change it: {error}; {hint}");
        for remedy in [user.begin(), user.repair()] {
            assert!(remedy.starts_with(&expected), "{remedy}");
        }
        let undo = match is_undone_by_hand {
            true => format!("undo it: take model_provider out of {file}"),
            false => "undo it: codex proxy unpoint".to_owned(),
        };
        assert_eq!(user.undo(), undo);
        let (_folder, profile) = pointing(Layer::Profile, Some(text));
        let expected = format!("so that `codex proxy point --profile` can change it: {error}");
        assert!(profile.repair().contains(&expected), "{}", profile.repair());
    }
}

#[test]
fn the_layer_that_decides_says_how_it_is_mended_and_undone() {
    let again = "point again: codex proxy point";
    for (layer, repair, undo) in [
        (Layer::User as fn(PathBuf) -> Layer, again, "undo it: codex proxy unpoint"),
        (
            Layer::Profile,
            "point again: codex proxy point --profile",
            "undo it: codex proxy unpoint --profile",
        ),
        (Layer::System, again, "change FILE"),
        (Layer::Managed, "change FILE", "change FILE"),
        (Layer::Requirements, "change FILE", "change FILE"),
    ] {
        let (_folder, pointing) = pointing(layer, None);
        let file = pointing.file.display().to_string();
        let expected = [repair, undo].map(|words| words.replace("FILE", &file));
        assert_eq!([pointing.repair(), pointing.undo()], expected);
    }
}

#[test]
fn an_address_is_mended_where_it_stands() {
    let says = |layer: Layer| Said { layer, provider: None, base_url: Some(base_url(ANY_PORT)) };
    let (_folder, mut users) = pointing(Layer::User, None);
    assert!(!users.is_fixed());
    users.effective.said = vec![says(Layer::Managed("/m".into())), says(Layer::User("/u".into()))];
    assert!(users.is_fixed());
    assert_eq!(users.repair(), "change /m");
    // An administrator's choice of the provider, with the user's own address.
    let (_folder, mut chosen) = pointing(Layer::Managed, None);
    chosen.effective.said = vec![says(Layer::User("/u".into()))];
    assert!(!chosen.is_fixed());
    assert_eq!(chosen.repair(), "point again: codex proxy point");
}
