//! What is taken for a key, and what is not.

use super::*;

fn lines(text: impl AsRef<[u8]>, form: Form) -> Vec<usize> {
    lines_with_keys(text.as_ref(), form).collect()
}

#[test]
fn what_has_the_form_of_a_key_is_found_where_a_word_begins() {
    let tail = "0123456789abcdefghij";
    for (line, found) in [
        (format!("sk-{tail}"), true),
        (format!("curl -H 'Authorization: Bearer sk-proj-{tail}'"), true),
        (format!("sk-svcacct-a_b-{tail}\r"), true),
        (format!("echo \"sk-{tail}\" | codex proxy"), true),
        (format!(r#"{{"text":"mine is\nsk-{tail}\nbye"}}"#), true),
        (format!("sk-{}", &tail[1..]), false),
        (format!("task-{tail}"), false),
        (format!("disk_sk-{tail}"), false),
        (format!("ask-sk-{tail}"), false),
        (format!("SK-{tail}"), false),
        (format!("sk-{tail}@openssh.com"), false),
        ("sk-ecdsa-sha2-nistp256-cert-v01@openssh.com".to_owned(), false),
        ("sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxx".to_owned(), false),
        ("sk-proj-********************".to_owned(), false),
        ("sk-your-openai-key-goes-here".to_owned(), false),
        ("sk-...".to_owned(), false),
        (String::new(), false),
    ] {
        assert_eq!(!lines(&line, Form::Text).is_empty(), found, "{line}");
    }
}

#[test]
fn a_value_that_is_assigned_counts_if_it_is_written_out() {
    for (line, found) in [
        ("export OPENAI_API_KEY=0123456789abcdef", true),
        ("OPENAI_API_KEY='0123456789abcdef' codex", true),
        ("AZURE_OPENAI_API_KEY = \"0123456789abcdef\"", true),
        (": 1700000000:0;OPENAI_ADMIN_KEY=\"abcdefabcd12\"", true),
        ("{\"CODEX_API_KEY\": \"0123456789abcdef\"}", true),
        ("os.environ[\"CODEX_API_KEY\"] = 'ABSK+/0123456789='", true),
        ("process.env.OPENAI_API_KEY = `0123456789abcdef`", true),
        ("- cmd: set -gx OPENAI_API_KEY 0123456789abcdef", true),
        ("setenv OPENAI_API_KEY 0123456789abcdef", true),
        ("docker run -e OPENAI_API_KEY=0123456789abcdef x", true),
        ("cmd:[\"OPENAI_API_KEY=\\\"0123456789abcdef\\\"\"]", true),
        ("unset OPENAI_API_KEY 0123456789abcdef", false),
        ("grep OPENAI_API_KEY notes-of-2026-11-22", false),
        ("export OPENAI_API_KEY=$OTHER_VARIABLE_1", false),
        ("export OPENAI_API_KEY=\"${MY_KEY_NUMBER_1}\"", false),
        ("export OPENAI_API_KEY=$(cat /run/secrets/key1)", false),
        ("export OPENAI_API_KEY=`pass show openai-key-1`", false),
        ("set -gx OPENAI_API_KEY (pass show openai-key-1)", false),
        ("OPENAI_API_KEY: ${{ secrets.OPENAI_API_KEY_1 }}", false),
        ("OPENAI_API_KEY=op://vault/openai/key1234", false),
        ("OPENAI_API_KEY=<your-key-0123456789>", false),
        ("OPENAI_API_KEY=your-key-0123456789", false),
        ("OPENAI_API_KEY=Example0123456789", false),
        ("OPENAI_API_KEY=settings.openai.key", false),
        ("OPENAI_API_KEY=sk-...", false),
        ("OPENAI_API_KEY=EMPTY", false),
        ("OPENAI_API_KEY=", false),
        ("OPENAI_API_KEY", false),
        ("[ \"$OPENAI_API_KEY\" = 0123456789abcdef ]", false),
        ("echo ${OPENAI_API_KEY:-0123456789abcdef}", false),
        ("MY_OPENAI_API_KEY=0123456789abcdef", false),
        ("OPENAI_API_KEY_FILE=/run/secrets/key1234", false),
        ("env_key = \"OPENAI_API_KEY\"", false),
    ] {
        assert_eq!(!lines(line, Form::Text).is_empty(), found, "{line}");
    }
}

#[test]
fn codexs_settings_hold_keys_in_header_fields_too() {
    let text = "\
        experimental_bearer_token = \"0123456789abcdef\"\n\
        [model_providers.one]\n\
        http_headers = { Authorization = \"Bearer 0123456789abcdef\" }\n\
        http_headers = { \"api-key\" = \"0123456789abcdef\" }\n\
        env_http_headers = { \"api-key\" = \"AZURE_OPENAI_API_KEY\" }\n\
        env_key = \"OPENAI_API_KEY\"\n\
        [mcp_servers.two]\n\
        http_headers = { Authorization = \"Bearer 0123456789abcdef\" }\n\
        env = { OPENAI_API_KEY = \"0123456789abcdef\" }\n";
    assert_eq!(lines(text, Form::CodexConfig), [1, 3, 4, 9]);
    assert_eq!(lines(text, Form::Text), [9]);
}

#[test]
fn any_bytes_will_do_and_lines_are_counted_from_one() {
    let key = b"sk-0123456789abcdefghij";
    let bytes = [&b"\xff\0\xfe\n"[..], key, b"\0\n\n\xc3", key, b"\n", key].concat();
    assert_eq!(lines(bytes, Form::Text), [2, 4, 5]);
}

#[test]
fn no_line_costs_much_more_than_its_length() {
    // Were each looked at to its end, this would take minutes.
    for piece in ["OPENAI_API_KEY=", "sk-", "sk-\\n", "set -OPENAI_API_KEY ", "Bearer ", " "] {
        let line = piece.repeat(1024 * 1024 / piece.len());
        assert!(lines(line, Form::CodexConfig).len() <= 1, "{piece}");
    }
}

#[test]
fn a_variables_value_is_a_key_unless_it_is_short_or_from_a_manual() {
    for (value, could_be) in [
        ("sk-proj-0123456789", true),
        ("0123456789abcdef", true),
        ("sk-1234", false),
        ("not-needed", false),
        ("your-key-goes-here", false),
        ("sk-XXXXXXXXXXXXXXXX", false),
        ("", false),
    ] {
        assert_eq!(could_be_key(value.as_bytes()), could_be, "{value}");
    }
}

#[test]
fn words_that_are_shown_have_no_key_in_them() {
    for (text, shown) in [
        ("sk-proj-0123456789abcdef", "sk-…"),
        ("sk-01234567", "sk-…"),
        ("sk-0123456", "sk-0123456"),
        ("a sk-0123456789, and \"sk-abcdefgh\"", "a sk-…, and \"sk-…\""),
        ("/home/a/sk-0123456789.config.toml", "/home/a/sk-….config.toml"),
        ("ls -ld '/x/sk-0123456789'", "ls -ld '/x/sk-…'"),
        ("sk-sk-01234567", "sk-…"),
        ("ésk-01234567é", "ésk-…é"),
        (r"a\nsk-01234567\n", r"a\nsk-…"),
        ("task-0123456789", "task-0123456789"),
        ("my_sk-0123456789", "my_sk-…"),
        ("sk-", "sk-"),
        ("", ""),
    ] {
        assert_eq!(masked(text), shown, "{text}");
    }
    // Were each looked at to its end, this would take minutes.
    let long = "sk-0-".repeat(200_000);
    assert_eq!(masked(&long), "sk-…");
}

#[test]
fn of_a_setting_that_holds_a_key_the_name_is_shown() {
    for (line, expected) in [
        (
            "experimental_bearer_token = \"ABCDEFGHIJKLMNOP0123456789\"",
            "experimental_bearer_token = …",
        ),
        ("x = \"a_sk-proj-ABCDEFGH12345678\"", "x = \"a_sk-…\""),
        ("x = \"my-sk-proj-ABCDEFGH12345678\"", "x = \"my-sk-…\""),
        ("x = \"sk-\\u0070roj-ABCDEFGH12345678\"", "x = \"sk-…\""),
        ("model = \"gpt-5\"", "model = \"gpt-5\""),
        (
            "folder = \"/task-force/disk-images-of-mine\"",
            "folder = \"/task-force/disk-images-of-mine\"",
        ),
    ] {
        assert_eq!(masked_setting(line), expected);
    }
}
