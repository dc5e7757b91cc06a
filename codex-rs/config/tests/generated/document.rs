//! A configuration of odd pieces: TOML nearly always, and without anything of ours.

use crate::chance::Chance;

const COMMENTS: &[&str] = &[
    "# a comment",
    "#",
    "#!shebang",
    "#:schema https://example.org/a.json",
    "# model_provider = \"x\"",
    "#openai-proxy# model_provider = \"former\"",
    "#openai-proxy# ",
    "#openai-proxy+ goes on",
    "# [model_providers.openai-proxy]",
    "# ends like a string \"\"\" '''",
    "# ends with a backslash \\",
    "#\ttabs\t",
    "# ünïcödé ☃ 🦀 \u{2028} \u{85}",
    "# Put here by `codex proxy point`. Old sessions need it: `codex proxy unpoint` leaves it, and `--purge` takes it out.",
    "# Put here with this file by `codex proxy point`. Old sessions need it: `codex proxy unpoint` leaves it, and `--purge` takes it out.",
];

const BEHIND: &[&str] = &[
    "",
    "",
    "",
    " ",
    "\t",
    " # behind",
    "#right behind",
    "\t# \"quoted\" [not a header]",
    " # by codex proxy point; codex proxy unpoint takes it out",
    " # by codex proxy point; codex proxy unpoint puts back what stands above",
];

const EQUALS: &[&str] = &[" = ", " = ", "=", "  =  ", "\t=\t", "= ", " ="];
const INDENTS: &[&str] = &["", "", "", "", "  ", "\t"];

const VALUES: &[&str] = &[
    "1",
    "+1_000",
    "-9223372036854775808",
    "0xDEAD_beef",
    "0o755",
    "0b1010",
    "-0.0",
    "6.02e23",
    "inf",
    "-nan",
    "true",
    "false",
    "1979-05-27T07:32:00Z",
    "1979-05-27 00:32:00.999999-07:00",
    "1979-05-27",
    "07:32:00",
    "\"text\"",
    "\"\"",
    "'C:\\temp\\'",
    "\"# no comment\"",
    "\"model_provider = \\\"openai-proxy\\\"\"",
    "\"esc \\\" \\u00e9 \\t \\U0001F600 \\\\\"",
    "\"☃ \u{feff} \u{2028}\"",
    "\"\"\"one line\"\"\"",
    "\"\"\"\nmodel_provider = \"openai-proxy\"\n[model_providers.openai-proxy]\nname = \"x\"\n\"\"\"",
    "'''\n#openai-proxy# model_provider = \"y\"\n\n[table]\n'''",
    "'''\n\n# Put here by `codex proxy point`. Old sessions need it: `codex proxy unpoint` leaves it, and `--purge` takes it out.\n[model_providers.openai-proxy]'''",
    "\"\"\"continued \\\n\n   here\"\"\"",
    "\"\"\"\"two quotes\"\"\"\"",
    "[]",
    "[1, 2, 3]",
    "[ \"a\", 'b', ]",
    "[\n  \"a\", # the first\n  # between\n  \"b\"\n\n]",
    "[[1, 2], [\"a\"], [[]]]",
    "{}",
    "{ }",
    "{ a = 1, b.c = 2, d = { e = [] } }",
    "{ model_provider = \"inner\", \"model_providers\" = {} }",
    "[{ a = 1 }, { a = 2 }]",
];

const SELECTOR_KEYS: &[&str] = &[
    "model_provider",
    "model_provider",
    "\"model_provider\"",
    "'model_provider'",
    "\"model\\u005fprovider\"",
];

const SELECTORS: &[&str] = &[
    "\"azure\"",
    "\"azure\"",
    "\"azure\"",
    "'azure'",
    "\"openai\"",
    "\"\"",
    "\"a # b\"",
    "\"\"\"azure\"\"\"",
    "'''\nazure'''",
    "\"\"\"\nazure\\\n\n   \"\"\"",
    "\"\"\"\n#openai-proxy# model_provider = \"x\"\n[a]\n\"\"\"",
];

/// Members of the table of providers. None has our id.
const PROVIDERS: &[&str] =
    &["azure", "local", "\"a.b\"", "'openai-proxy-2'", "\"openai-proxy \"", "\"Ünï\""];

/// What is broken in the few that are no TOML.
const BROKEN: &[&str] =
    &["no value =", "= 1", "[never closed", "x = \"open", "[]", "a.b.c", "\u{7}", "<<<<<<<"];

/// The document of a seed.
pub(crate) fn generate(seed: u64) -> String {
    let mut writer = Writer { chance: Chance::of(seed), lines: Vec::new(), names: 0 };
    writer.document();
    let Writer { mut chance, lines, .. } = writer;
    let lines = lines.join("\n");
    let style = chance.below(6);
    let mut text = if chance.one_in(5) { String::from('\u{feff}') } else { String::new() };
    for line in lines.split_inclusive('\n') {
        let is_dos = style < 2 || style == 2 && chance.one_in(2);
        match line.strip_suffix('\n') {
            Some(line) if is_dos => text.extend([line, "\r\n"]),
            _ => text.push_str(line),
        }
    }
    if !chance.one_in(4) {
        text.push_str(if style < 2 { "\r\n" } else { "\n" });
    }
    text
}

struct Writer {
    chance: Chance,
    lines: Vec<String>,
    /// How many names there are: each has its number.
    names: usize,
}

impl Writer {
    fn document(&mut self) {
        if self.chance.one_in(5) {
            self.lines.push("#:schema https://example.org/config.json".to_owned());
        }
        self.keys(2);
        if !self.chance.one_in(3) {
            let (key, value) = (self.chance.pick(SELECTOR_KEYS), self.chance.pick(SELECTORS));
            self.statement(key, value);
        }
        self.keys(2);
        let form = self.chance.below(10);
        self.providers_of_the_root(form);
        self.keys(1);
        if self.chance.one_in(30) {
            let broken = self.chance.pick(BROKEN);
            self.lines.push(broken.to_owned());
        }
        self.sections(1);
        self.providers_below_headers(form);
        self.sections(1);
    }

    /// As dotted keys or inline: before any header.
    fn providers_of_the_root(&mut self, form: usize) {
        let (one, other) = self.two_providers();
        match form {
            0 => {
                for member in [one, other] {
                    self.statement(&format!("model_providers.{member}.name"), "\"N\"");
                    self.keys(1);
                    let key = format!("\"model_providers\" . {member}.base_url");
                    self.statement(&key, "\"https://x.example/v1\"");
                }
            }
            1 => {
                let value = self.chance.pick(VALUES);
                let table = format!("{{ name = 'N', extra = {value} }}");
                self.statement(&format!("model_providers.{one}"), &table);
            }
            2 => {
                let forms = [
                    "{}".to_owned(),
                    "{  }".to_owned(),
                    format!("{{{one}={{}}}}"),
                    format!("{{ {one} = {{ name = \"}}, {{\" }}, {other}.name = \"N\" }}"),
                    format!("{{ {one}.name = \"N\", {one}.list = [ 1, # one\n 2 ] }}"),
                    format!("{{ {one} = {{ name = \"N\" }}  }}"),
                ];
                let value = forms[self.chance.below(forms.len())].clone();
                self.statement("model_providers", &value);
            }
            _ => {}
        }
    }

    fn providers_below_headers(&mut self, form: usize) {
        let (one, other) = self.two_providers();
        match form {
            3 => self.header("[model_providers]"),
            4 => {
                self.header("[ \"model_providers\" ]");
                self.statement(&format!("{one}.name"), "\"N\"");
                self.statement(other, "{ name = \"N\" }");
            }
            5 | 6 => {
                self.header(&format!("[model_providers.{one}]"));
                self.keys(2);
                if self.chance.one_in(2) {
                    self.header(&format!("[ model_providers . {one}.deeper ]"));
                    self.keys(2);
                }
                self.sections(1);
                self.header(&format!("[model_providers\t.\t{other}]"));
                self.keys(2);
            }
            7 => {
                self.header(&format!("['model_providers'.{one}]"));
                self.sections(1);
                self.header("[model_providers]");
            }
            _ => {}
        }
    }

    /// Two that are not the same.
    fn two_providers(&mut self) -> (&'static str, &'static str) {
        let one = self.chance.below(PROVIDERS.len());
        let other = (one + 1 + self.chance.below(PROVIDERS.len() - 1)) % PROVIDERS.len();
        (PROVIDERS[one], PROVIDERS[other])
    }

    /// Other tables, some with keys that look like the selector.
    fn sections(&mut self, at_most: usize) {
        for _ in 0..self.chance.below(at_most + 1) {
            let name = self.name();
            match self.chance.below(5) {
                0 => self.header(&format!("[{name}]")),
                1 => self.header(&format!("[profiles.{name}]")),
                2 => self.header(&format!("[ a{} . {name} . \"x y\" ]", self.names)),
                3 => {
                    self.header(&format!("[[{name}]]"));
                    self.keys(2);
                    self.header(&format!("[[{name}]]"));
                }
                _ => {
                    self.header(&format!("[[{name}.deeper]]"));
                    self.keys(1);
                    self.header(&format!("[{name}.beside]"));
                }
            }
            if self.chance.one_in(3) {
                self.statement("model_provider", "\"openai-proxy\"");
            }
            self.keys(2);
        }
    }

    fn keys(&mut self, at_most: usize) {
        for _ in 0..self.chance.below(at_most + 1) {
            self.between();
            let name = self.name();
            let dotted = self.chance.one_in(5);
            let value = self.chance.pick(VALUES);
            let key = if dotted { format!("{name} . inner.\"last one\"") } else { name };
            self.statement(&key, value);
        }
    }

    /// A name that no other key has.
    fn name(&mut self) -> String {
        self.names += 1;
        let number = self.names;
        match self.chance.below(7) {
            0 => format!("\"quoted {number}\""),
            1 => format!("'lit.eral{number}'"),
            2 => format!("\"ключ # {number}\""),
            3 => format!("{number}"),
            4 => format!("model_provider_{number}"),
            5 => format!("-{number}_"),
            _ => format!("key{number}"),
        }
    }

    fn header(&mut self, header: &str) {
        self.between();
        let (indent, behind) = (self.chance.pick(INDENTS), self.chance.pick(BEHIND));
        self.lines.push(format!("{indent}{header}{behind}"));
    }

    fn statement(&mut self, key: &str, value: &str) {
        let (indent, equals) = (self.chance.pick(INDENTS), self.chance.pick(EQUALS));
        let behind = self.chance.pick(BEHIND);
        self.lines.push(format!("{indent}{key}{equals}{value}{behind}"));
    }

    /// Blank lines and comments.
    fn between(&mut self) {
        while self.chance.one_in(3) {
            let indent = self.chance.pick(INDENTS);
            let comment = if self.chance.one_in(2) { self.chance.pick(COMMENTS) } else { "" };
            self.lines.push(format!("{indent}{comment}"));
        }
    }
}
