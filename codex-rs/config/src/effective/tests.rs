//! Each row is what the real Codex was seen to do.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::*;

/// A machine of its own: the user's folder and everybody's.
struct Machine {
    folder: TempDir,
    home: CodexHome,
}

impl Machine {
    /// Files by name: `home/…` or `etc/…`.
    fn with(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["home", "etc"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let home = CodexHome::at(folder.path().join("home"));
        Self { folder, home }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn effective(&self, profile: Option<&str>, overrides: &[&str]) -> Effective {
        let overrides: Vec<String> = overrides.iter().copied().map(str::to_owned).collect();
        let system_folder = self.path("etc");
        effective(&Layers {
            home: &self.home,
            system_folder: &system_folder,
            profile,
            overrides: &overrides,
        })
    }

    /// Provider, address and who decides, as `etc/…`, `home/…`, `-c` or nothing.
    fn outcome(&self, profile: Option<&str>, overrides: &[&str]) -> (String, String, String) {
        let Effective { provider, decided_by, base_url, problems, .. } =
            self.effective(profile, overrides);
        assert_eq!(problems, []);
        (provider, base_url.unwrap_or_default(), self.short(&decided_by))
    }

    fn short(&self, layer: &Layer) -> String {
        match layer {
            Layer::Managed(file)
            | Layer::Requirements(file)
            | Layer::Profile(file)
            | Layer::User(file)
            | Layer::System(file) => {
                file.strip_prefix(self.folder.path()).unwrap().display().to_string()
            }
            Layer::CommandLine => "-c".to_owned(),
            Layer::BuiltIn => String::new(),
        }
    }
}

fn selector(id: &str) -> String {
    format!("model_provider = {id:?}\n")
}

/// A provider's table with an address like `u:A`.
fn table(id: &str, address: &str) -> String {
    format!("[model_providers.{id}]\nname = \"K\"\nbase_url = {address:?}\n")
}

#[test]
fn the_strongest_layer_decides() {
    let weakest_first = [
        ("etc/config.toml", "system"),
        ("home/config.toml", "user"),
        ("home/p.config.toml", "profile"),
        ("-c", "line"),
        ("etc/managed_config.toml", "managed"),
        ("etc/requirements.toml", "required"),
    ];
    for count in 0..=weakest_first.len() {
        let present = &weakest_first[..count];
        let files: Vec<(&str, String)> =
            present.iter().map(|(name, id)| (*name, selector(id))).collect();
        let files: Vec<(&str, &str)> = files
            .iter()
            .filter(|(name, _)| *name != "-c")
            .map(|(name, text)| (*name, text.as_str()))
            .collect();
        let overrides: &[&str] = if count > 3 { &["model_provider=line"] } else { &[] };
        let machine = Machine::with(&files);
        let (name, id) = present.last().copied().unwrap_or(("", "openai"));
        let seen = machine.outcome(Some("p"), overrides);
        assert_eq!(seen, (id.to_owned(), String::new(), name.to_owned()));
        assert_eq!(machine.effective(Some("p"), overrides).said.len(), count);
    }
}

#[test]
fn tables_are_merged_and_one_in_the_requirements_takes_the_place_of_all() {
    let user = selector("openai-proxy") + &table("openai-proxy", "u:user");
    let bare = selector("openai-proxy") + "[model_providers.openai-proxy]\nname = \"K\"\n";
    let address = |of: &str| format!("[model_providers.openai-proxy]\nbase_url = \"u:{of}\"\n");
    let nameless = "[model_providers.openai-proxy]\nname = \"K\"\n".to_owned();
    let rows: &[(&str, &str, &str, &[&str], &str)] = &[
        (&user, "etc/none.toml", "", &[], "u:user"),
        (&user, "etc/managed_config.toml", &address("managed"), &[], "u:managed"),
        (&user, "home/p.config.toml", &address("profile"), &[], "u:profile"),
        (&user, "etc/config.toml", &address("system"), &[], "u:user"),
        (&bare, "etc/config.toml", &address("system"), &[], "u:system"),
        (&user, "etc/requirements.toml", &address("required"), &[], "u:required"),
        (&user, "etc/requirements.toml", &nameless, &[], ""),
        (&user, "etc/requirements.toml", &table("other", "u:other"), &[], "u:user"),
        (&user, "", "", &["model_providers.openai-proxy.base_url=\"u:line\""], "u:line"),
        (
            &user,
            "etc/managed_config.toml",
            &address("managed"),
            &["model_providers.openai-proxy.base_url=u:line"],
            "u:managed",
        ),
    ];
    for (config, name, text, overrides, expected) in rows {
        let mut files = vec![("home/config.toml", *config)];
        if !name.is_empty() {
            files.push((*name, *text));
        }
        let (provider, base_url, _) = Machine::with(&files).outcome(Some("p"), overrides);
        assert_eq!((&*provider, &*base_url), ("openai-proxy", *expected), "{name} {text}");
    }
}

#[test]
fn a_configuration_may_be_written_in_many_ways() {
    for text in [
        "model_provider = 'openai-proxy'\n[model_providers.openai-proxy]\nbase_url = 'u:A'\n",
        "\u{feff}model_provider='openai-proxy'\r\n[model_providers.openai-proxy]\r\nbase_url='u:A'\r\n",
        "model_provider = 'openai-proxy'\nmodel_providers = { openai-proxy = { base_url = 'u:A' } }\n",
        "model_provider = 'openai-proxy'\nmodel_providers.openai-proxy.base_url = 'u:A'\n",
        "'model_provider' = \"openai-proxy\"\n['model_providers'.\"openai-proxy\"]\nbase_url = 'u:A'\n",
        "model_provider = 'openai-proxy'\n[model_providers]\nopenai-proxy.base_url = 'u:A'\n",
    ] {
        let machine = Machine::with(&[("home/config.toml", text)]);
        let user = "home/config.toml".to_owned();
        assert_eq!(
            machine.outcome(None, &[]),
            ("openai-proxy".to_owned(), "u:A".to_owned(), user),
            "{text}"
        );
    }
    let elsewhere = Machine::with(&[
        ("home/managed_config.toml", &selector("a")),
        ("home/requirements.toml", &selector("b")),
        ("home/config.toml", "[profiles.x]\nmodel_provider = 'c'\n[x]\nmodel_provider = 'd'\n"),
        ("home/openai.toml", ""),
    ]);
    assert_eq!(elsewhere.outcome(None, &[]).0, "openai", "these are no layers");
}

#[test]
fn the_command_line_is_read_as_codex_reads_it() {
    let address = "model_providers.openai-proxy.base_url";
    let rows: &[(&[&str], &str, &str)] = &[
        (&["model_provider=x"], "x", ""),
        (&["model_provider='x'"], "x", ""),
        (&["model_provider=\"x\" # so"], "x", ""),
        (&[" model_provider = x "], "x", ""),
        (&["model_provider=\"x"], "x", ""),
        (&["model_provider=a=b"], "a=b", ""),
        (&["\"model_provider\"=x"], "openai-proxy", "u:file"),
        (&["model_provider=x", "model_provider=y"], "y", ""),
        (&["openai_base_url=u:A", "model_provider=openai"], "openai", "u:A"),
        (&["model_providers={openai-proxy={base_url=\"u:A\"}}"], "openai-proxy", "u:A"),
        (&["model_providers.openai-proxy={base_url=\"u:A\"}"], "openai-proxy", "u:A"),
        // A later one of the same key replaces what stood under it on the command line, and no more.
        (
            &[&format!("{address}=u:A"), "model_providers.openai-proxy={name=\"K\"}"],
            "openai-proxy",
            "u:file",
        ),
        (&[&format!("{address}=u:A"), "model_providers={x={}}"], "openai-proxy", "u:file"),
        (&[&format!("{address}=u:A"), &format!("{address}=u:B")], "openai-proxy", "u:B"),
        (&["model_providers.\"openai-proxy\".base_url=u:A"], "openai-proxy", "u:file"),
    ];
    let file = selector("openai-proxy") + &table("openai-proxy", "u:file");
    let machine = Machine::with(&[("home/config.toml", &file)]);
    for (overrides, provider, base_url) in rows {
        let (seen, address, _) = machine.outcome(None, overrides);
        assert_eq!((&*seen, &*address), (*provider, *base_url), "{overrides:?}");
    }
}

#[test]
fn what_is_broken_is_named_and_the_rest_still_counts() {
    let rows: &[(&str, &[u8], &str)] = &[
        ("etc/managed_config.toml", b"a = 1\n= x\n", "is no TOML: line 2: "),
        ("etc/requirements.toml", b"x", "is no TOML: line 1: "),
        (
            "etc/config.toml",
            b"model_provider = 5\n",
            "`model_provider` is no string in it, but of the type integer",
        ),
        (
            "home/p.config.toml",
            b"model_providers = 'x'\n",
            "`model_providers` is no table in it, but of the type string",
        ),
        (
            "home/p.config.toml",
            b"[model_providers]\nx = 1\n",
            "`model_providers.…` is no table in it, but of the type integer",
        ),
        (
            "home/p.config.toml",
            b"[[model_providers.x]]\n",
            "`model_providers.…` is no table in it, but of the type array of tables",
        ),
        (
            "home/p.config.toml",
            b"[model_providers.x]\nbase_url = []\n",
            "`model_providers.….base_url` is no string in it, but of the type array",
        ),
        ("home/p.config.toml", b"# \xff\n", "is not UTF-8: byte 2"),
        (
            "home/p.config.toml",
            b"profile = 'x'\n",
            "has the key `profile`, which Codex no longer takes",
        ),
    ];
    for (name, bytes, what) in rows {
        let machine = Machine::with(&[("home/config.toml", &selector("mine"))]);
        fs::write(machine.path(name), bytes).unwrap();
        let effective = machine.effective(Some("p"), &[]);
        assert_eq!(effective.provider, "mine", "{name}");
        let [problem] = &effective.problems[..] else { panic!("{name}: {effective:?}") };
        assert_eq!(problem.file, machine.path(name));
        assert!(problem.what.starts_with(what), "{problem:?} is not {what:?}");
    }
}

#[test]
fn what_is_no_file_or_no_name_is_named_too() {
    let machine = Machine::with(&[("home/config.toml", &selector("mine"))]);
    fs::create_dir(machine.path("home/p.config.toml")).unwrap();
    let what = |profile, overrides: &[&str]| {
        let effective = machine.effective(profile, overrides);
        assert_eq!(effective.provider, "mine");
        let [problem] = &effective.problems[..] else { panic!("{effective:?}") };
        (problem.file.display().to_string(), problem.what.clone())
    };
    assert_eq!(what(Some("p"), &[]).1, "is no regular file");
    assert_eq!(what(None, &["x"]), ("-c".to_owned(), "one has no `=`".to_owned()));
    for name in ["", "../config", "a.b", "a b", "ä"] {
        let expected = format!("{name:?} is no name of a profile");
        assert_eq!(what(Some(name), &[]), ("-p".to_owned(), expected));
    }
    assert_eq!(machine.effective(Some("absent"), &[]).problems, []);
    let closed = fs::Permissions::from_mode(0o000);
    fs::set_permissions(machine.path("home/config.toml"), closed).unwrap();
    // Root reads it nevertheless.
    if fs::read(machine.path("home/config.toml")).is_err() {
        let effective = machine.effective(None, &[]);
        assert!(effective.problems[0].what.starts_with("can't be read: "), "{effective:?}");
    }
}

#[test]
fn who_overrides_the_users_file_is_named() {
    let ours = selector("openai-proxy") + &table("openai-proxy", "u:user");
    let same = table("openai-proxy", "u:user");
    let moved = table("openai-proxy", "u:moved");
    let rows: &[(&str, &str, &[&str], &str)] = &[
        ("etc/managed_config.toml", &selector("x"), &[], "etc/managed_config.toml"),
        ("etc/requirements.toml", &selector("x"), &[], "etc/requirements.toml"),
        ("home/p.config.toml", &selector("x"), &[], "home/p.config.toml"),
        ("etc/config.toml", &selector("x"), &[], ""),
        ("etc/config.toml", &moved, &[], ""),
        ("etc/managed_config.toml", &selector("openai-proxy"), &[], ""),
        ("etc/managed_config.toml", &same, &[], ""),
        ("etc/managed_config.toml", &moved, &[], "etc/managed_config.toml"),
        ("etc/requirements.toml", &moved, &[], "etc/requirements.toml"),
        ("etc/config.toml", "", &["model_provider=x"], "-c"),
        ("etc/config.toml", "", &["model_providers.openai-proxy.base_url=u:x"], "-c"),
    ];
    for (name, text, overrides, expected) in rows {
        let machine = Machine::with(&[("home/config.toml", ours.as_str()), (*name, *text)]);
        let effective = machine.effective(Some("p"), overrides);
        let named = effective.overriding().map(|layer| machine.short(layer)).unwrap_or_default();
        assert_eq!(named, *expected, "{name} {text} {overrides:?}");
    }
    let pointed_profile = selector("openai-proxy") + &moved;
    let machine = Machine::with(&[("home/p.config.toml", &pointed_profile)]);
    let named = machine.effective(Some("p"), &[]).overriding().cloned();
    assert_eq!(named, Some(Layer::Profile(machine.path("home/p.config.toml"))));
    assert_eq!(machine.effective(None, &[]).overriding(), None);
}

#[test]
fn a_port_is_read_from_our_kind_of_address_alone() {
    for (base_url, port) in [
        ("http://127.0.0.1:4000/v1", Some(4000)),
        ("http://127.0.0.1:4000/v1/", Some(4000)),
        ("http://127.0.0.1:65536/v1", None),
        ("http://127.0.0.1:0/v1", None),
        ("http://127.0.0.1:+5/v1", None),
        ("http://127.0.0.1:/v1", None),
        ("http://127.0.0.1/v1", None),
        ("http://127.0.0.1:4000", None),
        ("http://127.0.0.1:4000/v1?x", None),
        ("https://127.0.0.1:4000/v1", None),
        ("http://localhost:4000/v1", None),
        ("http://127.0.0.1:4000@evil.example/v1", None),
        ("", None),
    ] {
        let text = selector("openai-proxy") + &table("openai-proxy", base_url);
        let machine = Machine::with(&[("home/config.toml", &text)]);
        let effective = machine.effective(None, &[]);
        assert_eq!((effective.port(), effective.is_ours()), (port, true), "{base_url}");
    }
}

#[test]
fn layers_have_words() {
    let file = || PathBuf::from("/x/n.toml");
    for (layer, words) in [
        (Layer::Managed(file()), "/x/n.toml"),
        (Layer::Requirements(file()), "/x/n.toml"),
        (Layer::User(file()), "/x/n.toml"),
        (Layer::System(file()), "/x/n.toml"),
        (Layer::Profile(file()), "the profile /x/n.toml"),
        (Layer::CommandLine, "the command line (-c)"),
        (Layer::BuiltIn, "Codex itself"),
    ] {
        assert_eq!(layer.to_string(), words);
    }
}

fn with_address(base_url: &str) -> Effective {
    let (provider, base_url) = (PROVIDER.to_owned(), Some(base_url.to_owned()));
    let decided_by = Layer::BuiltIn;
    Effective { provider, decided_by, base_url, said: vec![], problems: vec![] }
}

#[test]
fn an_address_is_shown_without_what_may_be_a_secret() {
    for (base_url, expected) in [
        ("http://127.0.0.1:4000/v1", "http://127.0.0.1:4000/v1"),
        ("https://me:word@gw.example:8443/v1?key=abc", "https://gw.example:8443/…"),
        ("https://gw.example/k/sk-proj-1/v1", "https://gw.example/…"),
        ("gw.example", "http://gw.example/…"),
        ("sk proj", "an address that is no URL"),
    ] {
        assert_eq!(with_address(base_url).shown_address().as_deref(), Some(expected));
    }
}

#[test]
fn this_machine_is_known_however_it_is_written() {
    for (base_url, is_odd) in [
        ("http://127.0.0.1:4000/v1", false),
        ("http://127.0.0.1:4000/v1/", false),
        ("http://localhost:4000/v1", true),
        ("http://127.1:4000/v1", true),
        (" http://127.0.0.1:4000/v1", true),
        ("HTTP://127.0.0.1:4000/v1", true),
        ("http://127.0.0.1:4000/v1//", true),
        ("http://127.0.0.1:4000/v1/../", true),
        ("http://127.0.0.1:4000", true),
        ("http://a:b@127.0.0.1:4000/v1", true),
        ("http://[::1]:4000/v1", true),
        ("http://[::ffff:127.0.0.1]:4000/v1", true),
        ("http://0.0.0.0:4000/v1", true),
        ("https://api.example.com/v1", false),
        ("http://127.0.0.1.example.com/v1", false),
        ("no address", false),
    ] {
        assert_eq!(with_address(base_url).is_odd_loopback(), is_odd, "{base_url:?}");
    }
}

/// As Codex has it: its own name for the value decides what a second line does.
#[test]
fn a_value_of_several_lines_means_what_it_means_to_codex() {
    let home = CodexHome::at("/none".into());
    let text = "model_providers.openai-proxy.base_url=\"http://127.0.0.1:4000/v1\"\nvalue=\"x\"";
    let overrides = ["model_provider=openai-proxy".to_owned(), text.to_owned()];
    let layers = Layers {
        home: &home,
        system_folder: Path::new("/none"),
        profile: None,
        overrides: &overrides,
    };
    assert_eq!(effective(&layers).port(), Some(4_000));
}
