//! Each row is what the real Codex was seen to do.

use std::collections::BTreeMap;

use super::*;

const HOP: &str = "http://127.0.0.1:9";

/// Names and values.
type Variables = &'static [(&'static str, &'static str)];

/// Where a request to 127.0.0.1 goes, with these variables and this `.env`: the proxy's variable, or nothing.
fn detour(variables: &[(&str, &str)], env_file: Option<&str>) -> String {
    let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
    let variable = |name: &str| variables.get(name).copied().map(str::to_owned);
    let route = Route::of(variable, env_file.map(|text| (Path::new("/h/.env"), text)));
    let name = route.proxy_variable.clone().map(|(name, place)| match place {
        Where::Environment => name,
        Where::EnvFile(file) => format!("{name} in {}", file.display()),
    });
    let is_direct = route.is_direct();
    name.filter(|_| !is_direct).unwrap_or_default()
}

#[test]
fn the_first_variable_that_is_set_names_the_proxy() {
    let rows: &[(Variables, &str)] = &[
        (&[], ""),
        (&[("HTTP_PROXY", HOP)], "HTTP_PROXY"),
        (&[("http_proxy", HOP)], "http_proxy"),
        (&[("ALL_PROXY", HOP)], "ALL_PROXY"),
        (&[("all_proxy", HOP)], "all_proxy"),
        (&[("HTTPS_PROXY", HOP), ("https_proxy", HOP)], ""),
        (&[("HTTP_PROXY", HOP), ("http_proxy", HOP), ("ALL_PROXY", HOP)], "HTTP_PROXY"),
        (&[("http_proxy", HOP), ("ALL_PROXY", HOP)], "http_proxy"),
        (&[("HTTP_PROXY", ""), ("http_proxy", HOP)], ""),
        (&[("HTTP_PROXY", ""), ("ALL_PROXY", HOP)], "ALL_PROXY"),
        (&[("HTTP_PROXY", ":::"), ("ALL_PROXY", HOP)], "ALL_PROXY"),
        (&[("HTTP_PROXY", HOP), ("REQUEST_METHOD", "GET")], ""),
        (&[("ALL_PROXY", HOP), ("REQUEST_METHOD", "")], ""),
    ];
    for (variables, expected) in rows {
        assert_eq!(detour(variables, None), *expected, "{variables:?}");
    }
}

#[test]
fn what_can_be_no_proxy_is_passed_over() {
    for (value, is_one) in [
        ("127.0.0.1:9", true),
        ("127.0.0.1", true),
        ("none", true),
        ("HTTP://127.0.0.1:9", true),
        ("https://127.0.0.1:9", true),
        ("socks4://127.0.0.1:9", true),
        ("socks5://127.0.0.1:9", true),
        ("http://user:word@127.0.0.1:9/", true),
        ("http://[::1]:9", true),
        ("http://[::1]", true),
        ("", false),
        (" ", false),
        (":::", false),
        ("http://", false),
        ("ftp://127.0.0.1:9", false),
        ("foo bar", false),
        ("host/path", false),
    ] {
        let expected = if is_one { "HTTP_PROXY" } else { "" };
        assert_eq!(detour(&[("HTTP_PROXY", value)], None), expected, "{value:?}");
    }
}

const EXEMPTING: [&str; 12] = [
    "127.0.0.1",
    "127.0.0.0/8",
    "127.0.0.9/8",
    "127.0.0.0/08",
    "127.0.0.1/32",
    "127.0.0.1/0",
    "0.0.0.0/0",
    "127.0.0.2,127.0.0.1",
    "x, 127.0.0.1 ",
    "X,,127.0.0.1",
    "*,127.0.0.1",
    "127.0.0.1,",
];

const NOT_EXEMPTING: [&str; 27] = [
    "",
    "localhost",
    "*",
    " * ",
    "**",
    "*.0.0.1",
    "127.*",
    "127.",
    "127.1",
    "127.0.0",
    ".0.0.1",
    "0.0.1",
    ".127.0.0.1",
    "127.0.0.1.",
    "127.0.0.1:4000",
    "127.0.0.1/",
    "127.0.0.1/33",
    "127.0.0.1/-1",
    "127.0.0.0/+8",
    "127.0.0.1 /8",
    "0177.0.0.1",
    "127.000.000.001",
    "http://127.0.0.1",
    "[127.0.0.1]",
    "::1",
    "::ffff:127.0.0.1",
    "x 127.0.0.1",
];

#[test]
fn the_address_itself_has_to_be_exempted() {
    let with = |no_proxy: &str| detour(&[("HTTP_PROXY", HOP), ("NO_PROXY", no_proxy)], None);
    for no_proxy in EXEMPTING {
        assert_eq!(with(no_proxy), "", "{no_proxy:?}");
        assert_eq!(exempting_loopback(Some(no_proxy)), no_proxy);
    }
    for no_proxy in NOT_EXEMPTING {
        assert_eq!(with(no_proxy), "HTTP_PROXY", "{no_proxy:?}");
        let exempting = exempting_loopback(Some(no_proxy));
        assert!(exempting.starts_with(no_proxy), "{exempting:?} has lost {no_proxy:?}");
        assert_eq!(with(&exempting), "", "{exempting:?}");
    }
    assert_eq!(exempting_loopback(None), "127.0.0.1");
    assert_eq!(exempting_loopback(Some("")), "127.0.0.1");
    assert_eq!(exempting_loopback(Some("a,*")), "a,*,127.0.0.1");
}

#[test]
fn of_the_two_spellings_the_capitals_count() {
    let rows: &[(Variables, &str)] = &[
        (&[("no_proxy", "127.0.0.1")], ""),
        (&[("NO_PROXY", "x"), ("no_proxy", "127.0.0.1")], "HTTP_PROXY"),
        (&[("NO_PROXY", ""), ("no_proxy", "127.0.0.1")], "HTTP_PROXY"),
        (&[("NO_PROXY", "127.0.0.1"), ("no_proxy", "x")], ""),
    ];
    for (variables, expected) in rows {
        let mut all = vec![("HTTP_PROXY", HOP)];
        all.extend_from_slice(variables);
        assert_eq!(detour(&all, None), *expected, "{variables:?}");
    }
}

#[test]
fn codexs_own_file_is_stronger_than_the_environment() {
    let rows: &[(Variables, &str, &str)] = &[
        (&[], "HTTP_PROXY=http://a", "HTTP_PROXY in /h/.env"),
        (&[], "all_proxy=http://a\n", "all_proxy in /h/.env"),
        (&[("HTTP_PROXY", HOP)], "HTTP_PROXY=http://a\n", "HTTP_PROXY in /h/.env"),
        (&[("HTTP_PROXY", HOP)], "HTTP_PROXY=\n", ""),
        (&[("HTTP_PROXY", "")], "HTTP_PROXY=http://a\n", "HTTP_PROXY in /h/.env"),
        (&[("HTTP_PROXY", HOP)], "NO_PROXY=127.0.0.1\n", ""),
        (&[("HTTP_PROXY", HOP), ("NO_PROXY", "127.0.0.1")], "NO_PROXY=x\n", "HTTP_PROXY"),
        (&[("HTTP_PROXY", HOP), ("NO_PROXY", "x")], "NO_PROXY=127.0.0.1\n", ""),
        (&[("HTTP_PROXY", HOP), ("NO_PROXY", "127.0.0.1")], "no_proxy=x\n", ""),
        (&[("HTTP_PROXY", HOP), ("no_proxy", "127.0.0.1")], "NO_PROXY=x\n", "HTTP_PROXY"),
        (&[], "REQUEST_METHOD=GET\nHTTP_PROXY=http://a\n", ""),
    ];
    for (variables, text, expected) in rows {
        assert_eq!(detour(variables, Some(text)), *expected, "{variables:?} {text:?}");
    }
}

#[test]
fn that_file_is_read_as_codex_reads_it() {
    for (text, expected) in [
        ("FOO=x", Some("x")),
        ("FOO=x\r\n", Some("x")),
        ("\t FOO\t=\tx\t\n", Some("x")),
        ("FOO==x\n", Some("=x")),
        ("FOO=\n", Some("")),
        ("FOO=x  \t# c\n", Some("x")),
        ("FOO=a#b\n", Some("a#b")),
        ("FOO=a b\n", None),
        ("FOO= \"a#b\" # c\n", Some("a#b")),
        ("FOO=\"a\" b\n", None),
        ("FOO=\"x\"y\n", Some("xy")),
        ("FOO=x'y z'\n", Some("xy z")),
        ("FOO='it''s'\n", Some("its")),
        ("FOO='a$BAR'\n", Some("a$BAR")),
        ("FOO=\"a\\$BAR\"\n", Some("a$BAR")),
        ("FOO=a\\ b\n", Some("a b")),
        ("FOO=\"a\\nb\"\n", Some("a\nb")),
        ("FOO=\"a\nb\"\n", Some("a\nb")),
        ("FOO=a\\\n", Some("a")),
        ("FOO=${BAR}x\n", Some("barx")),
        ("FOO=$BAR\n", Some("bar")),
        ("FOO=${NONE}x\n", Some("x")),
        ("FOO=${BAR:-d}x\n", Some("x")),
        ("FOO=$BARx\n", Some("")),
        ("FOO=a$\n", Some("a")),
        ("FOO=$(x)\n", Some("(x)")),
        ("BAZ=b\nFOO=$BAZ\n", Some("b")),
        ("FOO=x,y,127.0.0.1\n", Some("x,y,127.0.0.1")),
        ("export  FOO = x\n", Some("x")),
        ("FOO=1\nFOO=2\n", Some("2")),
        ("#FOO=1\nFOO=2", Some("2")),
        ("export FOO\nFOO=q\n", Some("q")),
        ("1FOO=x\nthis is no line\nFOO=y\n", Some("y")),
        ("FOO=\"unterminated\nBAR=1\nFOO=z\n", None),
        ("FOO: x\n", None),
        ("FOO BAR=x\n", None),
        ("exportFOO=1\n", None),
        ("foo=1\n", None),
        ("\u{feff}FOO=x\n", None),
        ("", None),
        ("FOO", None),
        ("FOO=ü\n\n", Some("ü")),
    ] {
        let is_used = text.contains("$BAR") || text.contains("${BAR");
        let variables = variables(&format!("{}{text}", if is_used { "BAR=bar\n" } else { "" }));
        assert_eq!(variables.get("FOO").map(String::as_str), expected, "{text:?}");
    }
    let variables = variables("CODEX_HOME=/x\ncodex_a=1\nCODEXA=1\n");
    assert_eq!(Vec::from_iter(variables.keys()), ["CODEXA"]);
}

#[test]
fn what_mends_it_is_said_where_it_counts_and_keeps_what_is_there() {
    let mend = |variables: Variables, env_file: Option<&str>| {
        let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
        let variable = |name: &str| variables.get(name).copied().map(str::to_owned);
        let file = Path::new("/h/.env");
        let route = Route::of(variable, env_file.map(|text| (file, text)));
        let mended = route.mend().cloned();
        // And done, it is mended.
        if let Some(mend) = &mended {
            let (environment, env_file) = match mend {
                Mend::Environment { no_proxy } => (Some(no_proxy), env_file.map(str::to_owned)),
                Mend::EnvFile { no_proxy, .. } => {
                    let text = env_file.unwrap_or_default();
                    (None, Some(format!("{text}\nNO_PROXY='{no_proxy}'\n")))
                }
            };
            let variable = |name: &str| match environment {
                Some(no_proxy) if name == "NO_PROXY" => Some(no_proxy.clone()),
                _ => variable(name),
            };
            assert!(Route::of(variable, env_file.as_deref().map(|text| (file, text))).is_direct());
        }
        mended
    };
    let environment = |no_proxy: &str| Some(Mend::Environment { no_proxy: no_proxy.to_owned() });
    let in_file = |no_proxy: &str| {
        Some(Mend::EnvFile { file: "/h/.env".into(), no_proxy: no_proxy.to_owned() })
    };
    assert_eq!(mend(&[], None), None);
    assert_eq!(mend(&[("HTTP_PROXY", HOP)], None), environment("127.0.0.1"));
    assert_eq!(
        mend(&[("HTTP_PROXY", HOP), ("no_proxy", "a, .b")], None),
        environment("a, .b,127.0.0.1")
    );
    assert_eq!(mend(&[], Some("HTTP_PROXY=http://a\n")), environment("127.0.0.1"));
    assert_eq!(
        mend(&[("HTTP_PROXY", HOP), ("NO_PROXY", "127.0.0.1")], Some("NO_PROXY=a.example\n")),
        in_file("a.example,127.0.0.1")
    );
    assert_eq!(mend(&[("HTTP_PROXY", HOP)], Some("NO_PROXY=127.0.0.1\n")), None);
}
