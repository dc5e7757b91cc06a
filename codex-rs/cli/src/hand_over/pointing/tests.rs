//! Each rule of the decision, as a table.

use std::path::PathBuf;

use codex_config::{Problem, Said};

use super::*;

const URL: &str = "http://127.0.0.1:4000/v1";
const OTHER: &str = "http://127.0.0.1:4100/v1";

fn user() -> Layer {
    Layer::User(PathBuf::from("/home/a/.codex/config.toml"))
}

fn managed() -> Layer {
    Layer::Managed(PathBuf::from("/etc/codex/managed_config.toml"))
}

fn line(words: &[&str]) -> CommandLine {
    let words: Vec<OsString> = words.iter().map(OsString::from).collect();
    CommandLine::read(&words)
}

/// What one layer alone says.
fn says(layer: Layer, provider: &str, base_url: Option<&str>) -> Effective {
    let (provider, base_url) = (provider.to_owned(), base_url.map(str::to_owned));
    let said =
        Said { layer: layer.clone(), provider: Some(provider.clone()), base_url: base_url.clone() };
    Effective { provider, decided_by: layer, base_url, said: vec![said], problems: Vec::new() }
}

fn pointed_by(layer: Layer) -> Pointed {
    Pointed { base_url: URL.to_owned(), port: 4_000, chosen_by: layer.clone(), named_by: layer }
}

fn proxies(urls: &[&str]) -> Proxies {
    let usable = |url: &&str| Usable { pid: 17, base_url: (*url).to_owned() };
    Proxies { usable: urls.iter().map(usable).collect(), silent: None }
}

fn words(arguments: &[OsString]) -> Vec<&str> {
    arguments.iter().map(|word| word.to_str().unwrap()).collect()
}

#[test]
fn the_variable_is_0_or_1_or_nothing() {
    for (value, expected) in [
        (None, Some(Wish::AsPointed)),
        (Some(""), Some(Wish::AsPointed)),
        (Some("0"), Some(Wish::Never)),
        (Some("1"), Some(Wish::Always)),
        (Some("true"), None),
        (Some("01"), None),
        (Some("http://proxy:3128"), None),
    ] {
        assert_eq!(Wish::parse(value.map(OsStr::new)), expected, "{value:?}");
    }
}

#[test]
fn who_is_pointed_goes_through_the_proxy_and_nobody_else() {
    let ours = says(user(), PROVIDER, Some(URL));
    let other = says(user(), "openai", None);
    let far = says(user(), PROVIDER, Some("https://proxy.example/v1"));
    let nowhere = says(user(), PROVIDER, None);
    let plain = line(&["exec", "hi"]);
    let pointed = || Aim::Pointed(pointed_by(user()));
    for (wish, line, effective, expected) in [
        (Wish::AsPointed, &plain, Some(&ours), pointed()),
        (Wish::Always, &plain, Some(&ours), pointed()),
        (Wish::Never, &plain, Some(&ours), Aim::Elsewhere),
        (Wish::AsPointed, &plain, Some(&other), Aim::Elsewhere),
        (Wish::Always, &plain, Some(&other), Aim::Wanted),
        (Wish::AsPointed, &plain, Some(&far), Aim::Elsewhere),
        (Wish::AsPointed, &plain, Some(&nowhere), Aim::Elsewhere),
        (Wish::Always, &plain, Some(&nowhere), Aim::Wanted),
        (Wish::AsPointed, &plain, None, Aim::Elsewhere),
        (Wish::Always, &plain, None, Aim::Wanted),
        (Wish::AsPointed, &line(&["--oss", "hi"]), Some(&ours), Aim::Elsewhere),
        (
            Wish::AsPointed,
            &line(&["exec", "--ignore-user-config", "hi"]),
            Some(&ours),
            Aim::Elsewhere,
        ),
    ] {
        let seen = aim(wish, line, effective).unwrap();
        assert_eq!(seen, expected, "{wish:?} {line:?} {effective:?}");
    }
}

/// Codex goes there, and nobody would have looked who listens.
#[test]
fn this_machine_under_another_name_is_refused_unless_nothing_is_to_be_looked_at() {
    let plain = line(&["exec", "hi"]);
    let by_name = says(user(), PROVIDER, Some("http://localhost:4000/v1"));
    for wish in [Wish::AsPointed, Wish::Always] {
        let error = aim(wish, &plain, Some(&by_name)).unwrap_err();
        assert!(
            matches!(&error, HandOverError::OddAddress { layer } if *layer == user()),
            "{error:?}"
        );
        assert!(error.hint().starts_with("write it as http://127.0.0.1:PORT/v1"), "{error:?}");
    }
    assert_eq!(aim(Wish::Never, &plain, Some(&by_name)).unwrap(), Aim::Elsewhere);
    let other = says(user(), "mine", Some("http://localhost:4000/v1"));
    assert_eq!(aim(Wish::AsPointed, &plain, Some(&other)).unwrap(), Aim::Elsewhere);
}

/// Codex may read what we can't, and go where nobody has looked who listens.
#[test]
fn a_layer_that_is_not_read_is_no_layer_that_says_nothing() {
    let home = CodexHome::at("/home/a/.codex".into());
    let problem = |file: &str, is_unread| Problem {
        file: file.into(),
        what: "is no regular file".to_owned(),
        is_unread,
    };
    let (users, systems) = ("/home/a/.codex/config.toml", "/etc/codex/config.toml");
    for (file, is_unread, words, is_error) in [
        (users, true, &["exec", "hi"][..], true),
        (systems, true, &["exec", "hi"], true),
        (users, true, &["app-server"], true),
        (users, false, &["exec", "hi"], false),
        (users, true, &["login"], false),
        (users, true, &["--oss", "hi"], false),
        (users, true, &["exec", "--ignore-user-config", "hi"], false),
        (systems, true, &["exec", "--ignore-user-config", "hi"], true),
    ] {
        let problems = vec![problem(file, is_unread)];
        let effective = Effective { problems, ..says(Layer::BuiltIn, "openai", None) };
        let error = unread(&line(words), Some(&home), &effective);
        assert_eq!(error.is_some(), is_error, "{file} {words:?}");
        if let Some(error) = error {
            let expected = format!(
                "{file} can't be looked at (it is no regular file), so whether it points at the proxy is not known"
            );
            assert_eq!(error.to_string(), expected);
            assert!(error.hint().contains("CODEX_PROXY=0 codex …"), "{}", error.hint());
        }
    }
}

#[test]
fn a_wish_that_a_stronger_layer_denies_is_an_error() {
    for layer in [managed(), Layer::CommandLine] {
        let other = says(layer.clone(), "azure", None);
        let error = aim(Wish::Always, &line(&[]), Some(&other)).unwrap_err();
        let expected = format!("CODEX_PROXY=1, but {layer} chooses the provider \"azure\"");
        assert_eq!(error.to_string(), expected);
        assert_eq!(aim(Wish::AsPointed, &line(&[]), Some(&other)).unwrap(), Aim::Elsewhere);
    }
}

/// The layers, the strongest first, each with the provider that it chooses.
fn chosen(layers: &[(Layer, &str)]) -> Effective {
    let said = |(layer, provider): &(Layer, &str)| Said {
        layer: layer.clone(),
        provider: Some((*provider).to_owned()),
        base_url: None,
    };
    let said: Vec<Said> = layers.iter().map(said).collect();
    Effective { said, ..says(layers[0].0.clone(), layers[0].1, None) }
}

#[test]
fn a_pointing_that_an_administrator_overrules_is_told_of_and_no_other() {
    let requirements = || Layer::Requirements(PathBuf::from("/etc/codex/requirements.toml"));
    let system = || Layer::System(PathBuf::from("/etc/codex/config.toml"));
    let profile = || Layer::Profile(PathBuf::from("/home/a/.codex/p.config.toml"));
    let plain = line(&["exec", "hi"]);
    for (layers, expected) in [
        (vec![(managed(), "azure"), (user(), PROVIDER)], Some("/etc/codex/managed_config.toml")),
        (
            vec![(requirements(), "azure"), (managed(), "openai"), (user(), PROVIDER)],
            Some("/etc/codex/requirements.toml"),
        ),
        (
            vec![(managed(), "azure"), (profile(), PROVIDER), (user(), "mine")],
            Some("/etc/codex/managed_config.toml"),
        ),
        (
            vec![(managed(), "azure"), (Layer::CommandLine, PROVIDER)],
            Some("/etc/codex/managed_config.toml"),
        ),
        (vec![(managed(), "azure"), (Layer::CommandLine, "mine"), (user(), PROVIDER)], None),
        (vec![(managed(), "azure"), (user(), "mine")], None),
        (vec![(managed(), "azure"), (system(), PROVIDER)], None),
        (vec![(managed(), "azure")], None),
        (vec![(managed(), PROVIDER), (user(), PROVIDER)], None),
        (vec![(Layer::CommandLine, "mine"), (user(), PROVIDER)], None),
        (vec![(user(), "mine")], None),
    ] {
        let seen = overruled(&plain, &chosen(&layers));
        let expected = expected.map(|layer| {
            format!(
                "codex: warning: {layer} decides otherwise: Codex uses \"azure\", not the proxy"
            )
        });
        assert_eq!(seen, expected, "{layers:?}");
    }
    let pointed = chosen(&[(managed(), "azure"), (user(), PROVIDER)]);
    for words in
        [&["login"][..], &["--help"], &["--oss", "hi"], &["exec", "--ignore-user-config", "hi"]]
    {
        assert_eq!(overruled(&line(words), &pointed), None, "{words:?}");
    }
    assert!(overruled(&line(&["app-server"]), &pointed).is_some());
}

#[test]
fn a_proxy_that_moved_is_followed_and_that_is_said() {
    let led = follow(&pointed_by(user()), &Trouble::NothingListens, &proxies(&[OTHER])).unwrap();
    let expected = r#"model_providers.openai-proxy.base_url="http://127.0.0.1:4100/v1""#;
    assert_eq!(words(&led.arguments), ["-c", expected]);
    assert_eq!(
        led.notice.unwrap(),
        "codex: the proxy has moved to http://127.0.0.1:4100/v1; followed (make it so for good: codex proxy point)"
    );
    let owner = "mallory (uid 1001)".to_owned();
    let led = follow(&pointed_by(user()), &Trouble::Foreign { owner }, &proxies(&[OTHER])).unwrap();
    assert_eq!(words(&led.arguments), ["-c", expected]);
    let notice = led.notice.unwrap();
    assert!(notice.starts_with("codex: port 4000 belongs to mallory (uid 1001); "), "{notice}");
    // It came while it was looked for; or took the port over, and who was found to serve there is vouched for.
    let owner = "mallory (uid 1001)".to_owned();
    for trouble in [Trouble::NothingListens, Trouble::Foreign { owner }] {
        let led = follow(&pointed_by(user()), &trouble, &proxies(&[URL])).unwrap();
        assert_eq!(led, Led::default(), "{trouble:?}");
    }
}

#[test]
fn a_dead_proxy_is_told_with_what_starts_it_and_what_undoes_it() {
    let hint = |layer| {
        let error = follow(&pointed_by(layer), &Trouble::NothingListens, &proxies(&[]));
        let error = error.unwrap_err();
        assert_eq!(error.to_string(), format!("pointed at {URL}, but nothing listens there"));
        error.hint()
    };
    let start = "start it: printenv OPENAI_API_KEY | codex proxy --daemon --port 4000, or";
    assert_eq!(hint(user()), format!("{start} undo it: codex proxy unpoint"));
    assert_eq!(hint(Layer::CommandLine), format!("{start} leave out that -c"));
    assert_eq!(hint(managed()), format!("{start} change /etc/codex/managed_config.toml"));

    let silent = Proxies { silent: Some(4_200), ..Proxies::default() };
    let error = follow(&pointed_by(user()), &Trouble::NothingListens, &silent).unwrap_err();
    let expected = "; if the proxy on port 4200 is yours: codex proxy point --port 4200";
    assert!(error.hint().ends_with(expected), "{}", error.hint());
}

#[test]
fn somebody_elses_port_is_never_used() {
    let trouble = Trouble::Foreign { owner: "mallory (uid 1001)".to_owned() };
    let error = follow(&pointed_by(user()), &trouble, &proxies(&[])).unwrap_err();
    let expected = "port 4000 belongs to mallory (uid 1001), not to your proxy";
    assert_eq!(error.to_string(), expected);
    assert!(error.hint().contains("ss -ltnp 'sport = :4000'"), "{}", error.hint());
}

#[test]
fn several_proxies_are_a_choice_that_nobody_makes_for_the_user() {
    let several = proxies(&[OTHER, "http://127.0.0.1:4200/v1"]);
    let error = follow(&pointed_by(user()), &Trouble::NothingListens, &several).unwrap_err();
    let lines = "  http://127.0.0.1:4100/v1  pid 17\n  http://127.0.0.1:4200/v1  pid 17";
    let expected =
        format!("pointed at {URL}, but nothing listens there, and 2 proxies run:\n{lines}");
    assert_eq!(error.to_string(), expected);
    let error = lead(&several).unwrap_err();
    assert_eq!(error.to_string(), format!("CODEX_PROXY=1, and 2 proxies run:\n{lines}"));
}

/// A `-c` of ours would not win.
#[test]
fn an_address_that_a_stronger_layer_fixes_is_not_followed() {
    for layer in [managed(), Layer::CommandLine] {
        let pointed = Pointed { named_by: layer.clone(), ..pointed_by(user()) };
        let error = follow(&pointed, &Trouble::NothingListens, &proxies(&[OTHER])).unwrap_err();
        let hint = error.hint();
        assert!(hint.contains(OTHER) && hint.contains(&layer.to_string()), "{hint}");
    }
}

#[test]
fn who_is_not_pointed_is_led_with_the_whole_table() {
    let led = lead(&proxies(&[OTHER])).unwrap();
    let table = r#"model_providers.openai-proxy={name="Codex key guard",base_url="http://127.0.0.1:4100/v1",wire_api="responses"}"#;
    let expected = ["-c", r#"model_provider="openai-proxy""#, "-c", table];
    assert_eq!(words(&led.arguments), expected);
    assert_eq!(led.notice, None);
    let error = lead(&proxies(&[])).unwrap_err();
    assert_eq!(error.to_string(), "CODEX_PROXY=1, but no proxy runs");
    assert_eq!(error.hint(), START_ONE);
}
