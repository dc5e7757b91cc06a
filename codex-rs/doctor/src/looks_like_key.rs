//! Finds what looks like an API key in bytes of any kind, and tells only in which lines; and takes it out of words that are
//! shown.
//!
//! It can be mistaken both ways: it knows the form of OpenAI's keys (`sk-…`), and others by the name that they are
//! assigned to. It keeps nothing, and looks at each byte a bounded number of times.

/// Variables by which programs are given a key.
pub(crate) const KEY_VARIABLES: [&str; 4] =
    ["OPENAI_API_KEY", "CODEX_API_KEY", "OPENAI_ADMIN_KEY", "AZURE_OPENAI_API_KEY"];

/// What holds a key in Codex's own settings, and header fields that do.
const KEY_SETTINGS: [&str; 3] = ["experimental_bearer_token", "api-key", "x-api-key"];
const SCHEMES: [&[u8]; 2] = [b"Bearer ", b"bearer "];

/// Behind `sk-` of a key of OpenAI's, in bytes. Theirs have had 48 and more.
const TAIL_BYTES: usize = 20;
/// Behind `sk-` in words that are shown, in bytes: a part of a key is one too many.
const MASKED_TAIL_BYTES: usize = 8;
/// No provider's key is shorter, in bytes; `EMPTY`, `dummy` and `sk-1234` are.
const SHORTEST_BYTES: usize = 12;
/// So much of a value, in bytes, shows whether it is one.
const LOOK_AHEAD_BYTES: usize = 128;
/// And so much before a name, whether a shell's `set` stands there.
const LOOK_BACK_BYTES: usize = 64;

/// How those begin that stand in a manual in a key's place.
const PLACEHOLDERS: [&[u8]; 7] =
    [b"your", b"example", b"placeholder", b"replace", b"changeme", b"insert", b"dummy"];

/// What the bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A history, a shell's file, a list of variables, anything.
    Text,
    /// Codex's own settings: there a header field may be a key too.
    CodexConfig,
}

/// The numbers, from 1, of the lines in which something looks like a key.
pub(crate) fn lines_with_keys(bytes: &[u8], form: Form) -> impl Iterator<Item = usize> {
    let mut form_here = form;
    let mut looks_so = move |line: &[u8]| {
        // What a tool's server is sent is no key of OpenAI's, unless it has a key's form or name.
        if form == Form::CodexConfig && line.trim_ascii_start().starts_with(b"[") {
            let is_tool = line.trim_ascii_start().starts_with(b"[mcp_servers");
            form_here = if is_tool { Form::Text } else { form };
        }
        has_key(line, form_here)
    };
    let lines = bytes.split(|byte| *byte == b'\n').zip(1_usize..);
    lines.filter(move |(line, _)| looks_so(line)).map(|(_, number)| number)
}

/// Whether this value of a variable could be a key: it is long enough, and not a manual's.
pub(crate) fn could_be_key(value: &[u8]) -> bool {
    value.len() >= SHORTEST_BYTES && !is_placeholder(value)
}

/// The same words without what could be a key, or a good part of one: `sk-` and a longer word behind it become `sk-…`.
///
/// A path with such a name in it is no path any more: rather that than a key on a screen.
pub fn masked(text: &str) -> String {
    let (mut shown, mut done) = (String::new(), 0);
    for (at, prefix) in text.match_indices("sk-") {
        if at < done || follows_a_letter(&text.as_bytes()[..at]) {
            continue;
        }
        let tail = at + prefix.len();
        let length =
            text[tail..].bytes().take_while(|byte| is_word(*byte) || *byte == b'\\').count();
        if length >= MASKED_TAIL_BYTES {
            shown.push_str(&text[done..tail]);
            shown.push('…');
            done = tail + length;
        }
    }
    shown.push_str(&text[done..]);
    shown
}

/// The same for a line of Codex's settings, in which a key may have any form: of a setting that holds one its name is left.
pub fn masked_setting(line: &str) -> String {
    let shown = masked(line);
    match shown.find(['=', ':']) {
        Some(place) if has_key(shown.as_bytes(), Form::CodexConfig) => {
            format!("{} …", &shown[..=place])
        }
        _ => shown,
    }
}

/// Whether `task-…` is meant, rather than a key behind something else. (`\n` before it is a line's end in JSON.)
fn follows_a_letter(before: &[u8]) -> bool {
    match before {
        [.., b'\\', b'n' | b'r' | b't'] => false,
        [.., last] => last.is_ascii_alphanumeric(),
        [] => false,
    }
}

fn has_key(line: &[u8], form: Form) -> bool {
    (0..line.len()).any(|at| match line[at] {
        b's' => is_openai_key(line, at),
        b'O' | b'C' | b'A' => KEY_VARIABLES.iter().any(|name| is_assigned(line, at, name)),
        b'e' | b'a' | b'x' | b'B' | b'b' if form == Form::CodexConfig => {
            KEY_SETTINGS.iter().any(|name| is_assigned(line, at, name))
                || SCHEMES
                    .iter()
                    .any(|scheme| line[at..].strip_prefix(*scheme).is_some_and(is_literal))
        }
        _ => false,
    })
}

/// Whether `sk-` and enough behind it begins here.
fn is_openai_key(line: &[u8], at: usize) -> bool {
    let Some(tail) = line[at..].strip_prefix(b"sk-") else { return false };
    if !begins_here(line, at) {
        return false;
    }
    let length = tail.iter().take_while(|byte| is_word(**byte)).count();
    // `sk-ecdsa-sha2-nistp256-cert-v01@openssh.com` is an algorithm.
    let is_algorithm = tail.get(length) == Some(&b'@');
    length >= TAIL_BYTES && !is_algorithm && !is_placeholder(&tail[..length])
}

/// Whether a word begins here, be it behind a line's end that is written as `\n`, as in JSON.
fn begins_here(line: &[u8], at: usize) -> bool {
    match line[..at] {
        [.., b'\\', b'n' | b'r' | b't'] => true,
        [.., before] => !is_word(before),
        [] => true,
    }
}

/// Whether this name stands here, and is given a value that is written out.
fn is_assigned(line: &[u8], at: usize, name: &str) -> bool {
    let Some(rest) = line[at..].strip_prefix(name.as_bytes()) else { return false };
    // `$NAME` and `${NAME:-…}` use it.
    if !begins_here(line, at) || matches!(line[..at], [.., b'$'] | [.., b'$', b'{']) {
        return false;
    }
    let is_set = matches!(rest, [b' ' | b'\t', ..]) && follows_set(&line[..at]);
    match skip(rest, b" \t\"'`]\\") {
        [b'=' | b':', value @ ..] => is_literal(value),
        value => is_set && is_literal(value),
    }
}

/// Whether the last word but options is `set`, as in fish, or `setenv`, as in csh.
fn follows_set(before: &[u8]) -> bool {
    let near = &before[before.len().saturating_sub(LOOK_BACK_BYTES)..];
    let mut words = near.rsplit(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let command = words.find(|word| !word.starts_with(b"-"));
    matches!(command, Some(b"set" | b"setenv"))
}

/// Whether the value that begins here is written out: no variable, command, path of a vault, or text for people.
fn is_literal(value: &[u8]) -> bool {
    let value = skip(value, b" \t\"'`\\");
    let ends = |byte: u8| byte.is_ascii_whitespace() || b"\"'`\\;,&|)}]".contains(&byte);
    let length = value.iter().take(LOOK_AHEAD_BYTES).take_while(|byte| !ends(**byte)).count();
    let value = &value[..length];
    // RFC 6750 has no other characters; and names of things, unlike keys, seldom have digits.
    let is_credential = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
    could_be_key(value) && value.iter().all(is_credential) && value.iter().any(u8::is_ascii_digit)
}

fn is_placeholder(value: &[u8]) -> bool {
    let mut value = value;
    for prefix in [&b"sk-"[..], b"proj-", b"svcacct-", b"admin-"] {
        value = value.strip_prefix(prefix).unwrap_or(value);
    }
    let begins =
        |word: &[u8]| value.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    value.iter().all(|byte| b"xX.*_-".contains(byte)) || PLACEHOLDERS.into_iter().any(begins)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

fn skip<'b>(bytes: &'b [u8], these: &[u8]) -> &'b [u8] {
    let length = bytes.iter().take_while(|byte| these.contains(byte)).count();
    &bytes[length..]
}

#[cfg(test)]
mod tests;
