//! The table in words: as bytes to send, and as text to compare and to read.

use super::cases::*;
use super::recorder::Upward;

impl Case {
    pub(crate) fn allows(&self, got: &str) -> bool {
        let (answers, connection) = self.client.split_once("; ").unwrap();
        answers.split(" or ").any(|answers| got == format!("{answers}; {connection}"))
    }

    pub(crate) fn upstream_sees(&self) -> String {
        let seen = self.upstream.iter().map(|sees| match sees {
            Sees::ByLength(body, fields) => phrase(body, "by its length", fields),
            Sees::InChunks(body, fields) => phrase(body, "in chunks", fields),
            Sees::NoneWhole => "nothing whole".to_owned(),
        });
        one_after_the_other(seen.collect())
    }

    /// Whether hyper can't parse the last head that is sent. That leaves one record for the connection.
    pub(crate) fn has_a_bad_head(&self) -> bool {
        let (answers, _) = self.client.split_once("; ").unwrap();
        let last = answers.rsplit(", then ").next();
        matches!(last, Some("400" | "431" | "no answer"))
    }
}

/// One request's phrase. The fields are as [`shown`] gives them.
pub(crate) fn phrase(body: &str, framing: &str, fields: &[impl AsRef<str>]) -> String {
    let mut phrase = match body {
        "" => format!("an empty body {framing}"),
        body => format!("`{}` {framing}", shown(body)),
    };
    for (place, field) in fields.iter().enumerate() {
        phrase += if place == 0 { ", with " } else { ", " };
        phrase += &format!("`{}`", field.as_ref());
    }
    phrase
}

pub(crate) fn one_after_the_other(phrases: Vec<String>) -> String {
    if phrases.is_empty() { "nothing".to_owned() } else { phrases.join(", then ") }
}

pub(crate) fn saw(connections: &[Upward]) -> String {
    one_after_the_other(connections.iter().map(Upward::phrase).collect())
}

/// Each byte as the character of its number: then bytes can be searched and replaced like text.
pub(crate) fn characters(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

pub(crate) fn bytes(characters: &str) -> Vec<u8> {
    characters.chars().map(|character| u8::try_from(character).unwrap()).collect()
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// On one line, in ASCII.
pub(crate) fn shown(characters: &str) -> String {
    let mut shown = String::new();
    for character in characters.chars() {
        match character {
            '\r' => shown += "\\r",
            '\n' => shown += "\\n",
            '\t' => shown += "\\t",
            '\\' => shown += "\\\\",
            ' '..='~' => shown.push(character),
            _ => shown += &format!("\\x{:02x}", u32::from(character)),
        }
    }
    shown
}

/// What a case sends, but for what is to be waited for. See [`characters`].
pub(crate) fn expanded(sent: &[u8], port: u16) -> String {
    let mut expanded = characters(sent);
    for (name, meaning) in SHORT {
        expanded = expanded.replace(name, meaning);
    }
    for (name, unit) in REPEATED {
        while let Some(begin) = expanded.find(name) {
            let end = begin + expanded[begin..].find('}').unwrap();
            let count = expanded[begin + name.len()..end].parse().unwrap();
            expanded.replace_range(begin..=end, &unit.repeat(count));
        }
    }
    expanded.replace("{PORT}", &port.to_string())
}

pub(crate) fn table_as_markdown() -> String {
    let mut page = "\n| in the table | stands for |\n|---|---|\n".to_owned();
    for (name, meaning) in SHORT {
        page += &format!("| `{name}` | `{}` |\n", shown(meaning));
    }
    for (title, cases) in TABLE {
        page += &format!("\n### {title}\n\n");
        page +=
            "| request | its bytes | the client gets | the upstream sees |\n|---|---|---|---|\n";
        for case in *cases {
            let sent = shown(&characters(case.sent)).replace('|', "\\|");
            let sees = case.upstream_sees();
            page += &format!("| {} | `{sent}` | {} | {sees} |\n", case.name, case.client);
        }
    }
    page + "\n"
}
