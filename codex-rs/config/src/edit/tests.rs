use super::*;

const URL: &str = "http://127.0.0.1:4000/v1";
const OTHER_URL: &str = "http://127.0.0.1:5000/v1";

const OURS: &str = r#"
# Put here by `codex proxy point`. Old sessions need it: `codex proxy unpoint` leaves it, and `--purge` takes it out.
[model_providers.openai-proxy]
name = "Codex key guard"
base_url = "http://127.0.0.1:4000/v1"
wire_api = "responses"
"#;
const SELECTOR: &str =
    "model_provider = \"openai-proxy\" # by codex proxy point; codex proxy unpoint takes it out\n";
const IN_PLACE: &str = "model_provider = \"openai-proxy\" # by codex proxy point; codex proxy unpoint puts back what stands above\n";

fn pointed(text: &str) -> String {
    point(Some(text), URL).unwrap()
}

#[test]
fn a_selector_comes_first_and_a_table_last() {
    let text = "# mine\nmodel = \"gpt-5\"\n\n[tui] # screen\nx = 1\n";
    assert_eq!(pointed(text), format!("{SELECTOR}{text}{OURS}"));
    assert_eq!(pointed("#:schema x\na = 1\n"), format!("#:schema x\n{SELECTOR}a = 1\n{OURS}"));
    assert_eq!(pointed(""), format!("{SELECTOR}{OURS}"));
}

#[test]
fn a_former_selector_stays_as_a_comment() {
    let text = "a = 1\n  model_provider = 'azure' # mine\nb = 2\n";
    let expected =
        format!("a = 1\n#openai-proxy#   model_provider = 'azure' # mine\n{IN_PLACE}b = 2\n{OURS}");
    assert_eq!(pointed(text), expected);
    assert_eq!(unpoint(&expected).unwrap(), format!("{text}{OURS}"));
}

#[test]
fn line_ends_and_a_byte_order_mark_stay() {
    let text = "\u{feff}a = 1\r\n";
    let windows = |text: &str| text.replace('\n', "\r\n");
    let (selector, ours) = (windows(SELECTOR), windows(OURS));
    assert_eq!(pointed(text), format!("\u{feff}{selector}a = 1\r\n{ours}"));
    assert_eq!(pointed("a = 1"), format!("{SELECTOR}a = 1\n{}", OURS.trim_end()));
}

#[test]
fn a_table_within_an_inline_table_is_a_member_of_it() {
    let member = r#"openai-proxy = { name = "Codex key guard", base_url = "http://127.0.0.1:4000/v1", wire_api = "responses" }"#;
    for (text, expected) in [
        ("model_providers = {}\n", format!("model_providers = {{ {member}}}\n")),
        ("model_providers = { }\n", format!("model_providers = {{ {member} }}\n")),
        (
            "model_providers = { a.b = 1 } # c\n",
            format!("model_providers = {{ a.b = 1, {member} }} # c\n"),
        ),
        (
            "model_providers = { a = { b = 1 }, }\n",
            format!("model_providers = {{ a = {{ b = 1 }}, {member}, }}\n"),
        ),
    ] {
        assert_eq!(pointed(text), format!("{SELECTOR}{expected}"));
        assert_eq!(purge(&pointed(text)).unwrap().as_deref(), Some(text));
    }
}

#[test]
fn undone_it_is_as_it_was() {
    for text in [
        "",
        " ",
        "\n",
        "\n\n\n",
        "# only a comment",
        "a = 1\n   ",
        "a = 1\n\n",
        "model_provider = 'x'",
        "model_provider = \"\"\"\\\n  azure\"\"\" # t\n[a]\n",
        "\r\n[a]\r\n",
        "\u{feff}",
        "#openai-proxy# model_provider = 'stale'\n",
        "#openai-proxy# model_provider = 'stale'\nmodel_provider = 'x'\n",
        "model_providers.azure.name = 'x'\n",
        "[model_providers]\n[model_providers.azure]\nname='x'",
        "[profiles.x]\nmodel_provider = 'y'\n",
        "[[a]]\nmodel_provider = 1\n",
    ] {
        let pointed = pointed(text);
        assert_eq!(point(Some(&pointed), URL).unwrap(), pointed, "{text:?}");
        assert_eq!(purge(&pointed).unwrap().as_deref(), Some(text), "{text:?}");
        let unpointed = unpoint(&pointed).unwrap();
        assert_eq!(purge(&unpointed).unwrap().as_deref(), Some(text), "{text:?}");
        assert_eq!(point(Some(&unpointed), URL).unwrap(), pointed, "{text:?}");
        let moved = point(Some(&pointed), OTHER_URL).unwrap();
        assert_eq!(moved, pointed.replace(URL, OTHER_URL));
        assert_eq!(purge(&moved).unwrap().as_deref(), Some(text), "{text:?}");
    }
}

#[test]
fn a_file_that_we_made_goes_with_us() {
    let made = point(None, URL).unwrap();
    assert_eq!(purge(&made).unwrap(), None);
    assert_eq!(purge(&unpoint(&made).unwrap()).unwrap(), None);
    assert_eq!(purge(&format!("{made}[a]\n")).unwrap().as_deref(), Some("[a]\n"));
    assert_eq!(purge("").unwrap().as_deref(), Some(""));
}

#[test]
fn what_came_later_stays() {
    let text = "a = 1\nmodel_provider = 'x'\n";
    let later = pointed(text).replace("a = 1", "a = 2") + "\n[later]\nb = 1\n";
    assert_eq!(purge(&later).unwrap().unwrap(), "a = 2\nmodel_provider = 'x'\n\n[later]\nb = 1\n");
    let chosen = pointed(text).replace(&SELECTOR[..31], "model_provider = \"mine\"        ");
    assert_eq!(unpoint(&chosen).unwrap(), chosen);
}

#[test]
fn our_table_is_found_as_other_tools_write_it() {
    let all = r#"name = "Codex key guard", base_url = "http://127.0.0.1:4000/v1", wire_api = "responses""#;
    for (text, without) in [
        (format!("model_provider = \"openai-proxy\"\n[model_providers]\nopenai-proxy = {{ {all} }}\n"), "[model_providers]\n"),
        (format!("[model_providers]\na = {{}}\n{}\n", "openai-proxy.name = \"Codex key guard\"\nopenai-proxy.base_url = \"u\""), "[model_providers]\na = {}\n"),
        (format!("model_providers = {{ openai-proxy = {{ {all} }}, a = 1 }}\n"), "model_providers = { a = 1 }\n"),
        ("[model_providers.openai-proxy]\nname = \"Codex key guard\"\nbase_url = \"u\"\n[model_providers.openai-proxy.http_headers]\na = 'b'\n[c]\n".to_owned(), "[c]\n"),
    ] {
        assert!(read(&text).unwrap().has_table, "{text}");
        assert_eq!(purge(&text).unwrap().as_deref(), Some(without), "{text}");
    }
}

#[test]
fn what_is_in_the_way_is_named() {
    for (text, expected) in [
        ("a = 1\nb = \n", "it is no TOML: line 2, column 5: "),
        ("model_provider = 3\n", "`model_provider` is no string in it, but of the type integer"),
        (
            "[[model_providers]]\n",
            "`model_providers` is no table in it, but of the type array of tables",
        ),
        (
            "[model_providers.openai-proxy]\nname = \"x\\ny\"\n",
            r#"it has a table [model_providers.openai-proxy] that is not ours (its name is "x\ny")"#,
        ),
        (
            "model_providers.openai-proxy = 1\n",
            "it has a table [model_providers.openai-proxy] that is not ours (its name is not set)",
        ),
        (
            "[model_providers.openai-proxy]\nname = \"Codex key guard\"\n",
            "its table [model_providers.openai-proxy] has no base_url that is a string",
        ),
    ] {
        let error = point(Some(text), URL).unwrap_err();
        assert!(error.to_string().starts_with(expected), "{error}");
        assert!(!error.hint().is_empty());
    }
}

#[test]
fn a_table_of_somebody_else_is_left_alone() {
    let text = "model_provider = \"openai-proxy\"\n[model_providers.openai-proxy]\nname = 'mine'\n";
    assert_eq!(unpoint(text).unwrap(), text);
    assert_eq!(purge(text).unwrap().as_deref(), Some(text));
}
