//! A unit of systemd, as text: what of it runs as root, and which paths that names.
//!
//! Source: systemd.syntax(7), systemd.service(5) "COMMAND LINES", systemd.exec(5).

use std::path::{Path, PathBuf};

use super::commands::{certain, of_assignment, of_words};
use super::uses::{Role, Use};

/// What systemd runs of a service, or of a socket.
const COMMANDS: &[&str] = &[
    "ExecStart",
    "ExecStartPre",
    "ExecStartPost",
    "ExecCondition",
    "ExecReload",
    "ExecStop",
    "ExecStopPre",
    "ExecStopPost",
];

/// What may come more than once, and is forgotten by an empty one.
const LISTS: &[&str] = &["EnvironmentFile", "Environment", "ExecSearchPath"];

/// What a unit says, its drop-ins included.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Unit {
    /// Keys and values, in order.
    settings: Vec<(String, String)>,
}

impl Unit {
    /// Adds what a file of it says, which comes after what is known.
    pub(crate) fn add(&mut self, text: &str) {
        for (key, value) in settings(text) {
            let is_list = LISTS.contains(&key.as_str()) || COMMANDS.contains(&key.as_str());
            if !is_list || value.is_empty() {
                self.settings.retain(|(known, _)| *known != key);
            }
            if !value.is_empty() {
                self.settings.push((key, value));
            }
        }
    }

    fn all<'u>(&'u self, key: &'u str) -> impl Iterator<Item = &'u str> {
        self.settings.iter().filter(move |(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    fn has(&self, key: &str, values: &[&str]) -> bool {
        self.all(key).any(|value| values.contains(&value.to_ascii_lowercase().as_str()))
    }

    /// Whether its commands run as root, if nothing else is said of one.
    fn is_roots(&self) -> bool {
        let is_another = self.all("User").any(|user| user != "root" && user != "0");
        !is_another && !self.has("DynamicUser", &["yes", "true", "on", "1"])
    }

    /// The paths that it uses as root. `by`: "the unit x.service".
    pub(crate) fn uses(&self, by: &str) -> Vec<Use> {
        let folder =
            self.all("WorkingDirectory").last().map(|folder| folder.trim_start_matches('-'));
        let folder = folder.and_then(certain);
        let only_start = self.has("PermissionsStartOnly", &["yes", "true", "on", "1"]);
        let mut uses = Vec::new();
        for &key in COMMANDS {
            let is_roots = self.is_roots() || (only_start && key != "ExecStart");
            for line in self.all(key) {
                uses.extend(of_line(
                    line,
                    is_roots,
                    folder.as_deref().unwrap_or(Path::new("/")),
                    by,
                ));
            }
        }
        if !uses.is_empty() {
            uses.extend(self.surroundings(folder, by));
        }
        uses
    }

    /// What decides how its commands run.
    fn surroundings(&self, folder: Option<PathBuf>, by: &str) -> Vec<Use> {
        let files = self.all("EnvironmentFile").map(|file| file.trim_start_matches('-'));
        let files = files.filter_map(certain).map(|path| Use::new(path, Role::Environment, by));
        let tops = self.all("RootDirectory").chain(self.all("RootImage")).filter_map(certain);
        let tops = tops.map(|path| Use::new(path, Role::Searches, by));
        let searched = self.all("ExecSearchPath").flat_map(|list| list.split(':'));
        let searched = searched.filter_map(certain).map(|path| Use::new(path, Role::Searches, by));
        let variables = self.all("Environment").flat_map(words);
        let variables = variables.flat_map(|text| Use::of_command(of_assignment(&text), by));
        let folder = folder.into_iter().map(|path| Use::new(path, Role::Works, by));
        files.chain(tops).chain(searched).chain(variables).chain(folder).collect()
    }
}

/// The commands of one line: a `;` of its own stands between two.
fn of_line(line: &str, is_roots: bool, folder: &Path, by: &str) -> Vec<Use> {
    let words = words(line);
    let commands = words.split(|word| word == ";");
    commands.flat_map(|words| of_command(words, is_roots, folder, by)).collect()
}

fn of_command(words: &[String], is_roots: bool, folder: &Path, by: &str) -> Vec<Use> {
    let Some((first, rest)) = words.split_first() else { return Vec::new() };
    let program = first.trim_start_matches(['@', '-', ':', '+', '!', '|']);
    let prefix = &first[..first.len() - program.len()];
    // `!!` is for kernels without ambient capabilities, and means nothing on any other.
    let is_raised = prefix.contains('+') || (prefix.contains('!') && !prefix.contains("!!"));
    if !is_roots && !is_raised {
        return Vec::new();
    }
    // After `@` comes the name that the program is to find as its own.
    let rest = if prefix.contains('@') { rest.get(1..).unwrap_or_default() } else { rest };
    let command: Vec<String> =
        std::iter::once(program).map(str::to_owned).chain(rest.iter().cloned()).collect();
    Use::of_command(of_words(&command, Some(folder)), by)
}

/// Keys and values, in order. Sections don't matter: no key of ours means two things.
fn settings(text: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let mut begun = String::new();
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with(['#', ';']) {
            continue; // Also between continued lines.
        }
        match line.strip_suffix('\\') {
            Some(part) => {
                begun.push_str(part);
                begun.push(' ');
                continue;
            }
            None => begun.push_str(line),
        }
        if let Some((key, value)) = begun.split_once('=') {
            all.push((key.trim().to_owned(), value.trim().to_owned()));
        }
        begun.clear();
    }
    if let Some((key, value)) = begun.split_once('=') {
        all.push((key.trim().to_owned(), value.trim().to_owned()));
    }
    all
}

/// Words as systemd divides them.
fn words(line: &str) -> Vec<String> {
    let (mut all, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            ('\\', _) => {
                let next = match letters.next() {
                    Some('s') => ' ',
                    Some('t') => '\t',
                    Some('n') => '\n',
                    Some(other) => other,
                    None => '\\',
                };
                word.get_or_insert_default().push(next);
            }
            ('"' | '\'', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (letter, Some(open)) if letter == open => quote = None,
            (letter, None) if letter.is_whitespace() => all.extend(word.take()),
            (letter, _) => word.get_or_insert_default().push(letter),
        }
    }
    all.extend(word);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(texts: &[&str]) -> String {
        let mut unit = Unit::default();
        texts.iter().for_each(|text| unit.add(text));
        let word = |used: Use| format!("{:?}:{}", used.role, used.path.display());
        unit.uses("x").into_iter().map(word).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_runs_as_root_is_found_with_what_it_names() {
        for (text, expected) in [
            ("[Service]\nExecStart=/opt/x", "Runs:/opt/x"),
            ("ExecStart = /opt/x --conf /etc/x", "Runs:/opt/x Given:/etc/x"),
            ("ExecStart=@-/opt/x name /y", "Runs:/opt/x Given:/y"),
            ("ExecStart=/bin/sh -c '/opt/x && \"/opt/y\"'", "Runs:/bin/sh Runs:/opt/x Runs:/opt/y"),
            ("ExecStart=/opt/x ; /opt/y\nExecStop=+/opt/z", "Runs:/opt/x Runs:/opt/y Runs:/opt/z"),
            ("ExecStart=/opt/x \\\n  # no\n /opt/y", "Runs:/opt/x Given:/opt/y"),
            ("ExecStart=/opt/x\\", "Runs:/opt/x"),
            ("#ExecStart=/opt/x\n;ExecStart=/opt/y", ""),
            ("ExecStart=/opt/%i/run", "Runs:/opt"),
            ("ExecStart=x", ""),
            ("User=nobody\nExecStart=/opt/x", ""),
            ("User=%i\nExecStart=/opt/x", ""),
            ("User=\nExecStart=/opt/x", "Runs:/opt/x"),
            ("User=0\nExecStart=/opt/x", "Runs:/opt/x"),
            ("DynamicUser=yes\nExecStart=/opt/x", ""),
            ("User=nobody\nExecStart=/opt/x\nExecStartPre=-+/opt/y", "Runs:/opt/y"),
            ("User=nobody\nExecStart=!/opt/x", "Runs:/opt/x"),
            ("User=nobody\nExecStart=!!/opt/x", ""),
            ("ExecStart=!!/opt/x", "Runs:/opt/x"),
            (
                "User=a\nPermissionsStartOnly=true\nExecStart=/opt/x\nExecReload=/opt/y",
                "Runs:/opt/y",
            ),
        ] {
            assert_eq!(used(&[text]), expected, "{text}");
        }
    }

    #[test]
    fn what_decides_how_it_runs_counts_too() {
        for (text, expected) in [
            ("EnvironmentFile=-/etc/x", "Runs:/opt/x Environment:/etc/x"),
            ("EnvironmentFile=/etc/x/*.env", "Runs:/opt/x Environment:/etc/x"),
            ("Environment=A=b \"PATH=/a:/b\"", "Runs:/opt/x Searches:/a Searches:/b"),
            ("RootDirectory=/srv/x", "Runs:/opt/x Searches:/srv/x"),
            ("ExecSearchPath=/a:/b", "Runs:/opt/x Searches:/a Searches:/b"),
            ("WorkingDirectory=-/srv", "Runs:/opt/x Works:/srv"),
            ("WorkingDirectory=~", "Runs:/opt/x"),
            (
                "WorkingDirectory=/srv\nExecStop=python3 x.py",
                "Runs:/opt/x Runs:/srv/x.py Works:/srv",
            ),
        ] {
            assert_eq!(used(&["ExecStart=/opt/x", text]), expected, "{text}");
        }
        assert_eq!(used(&["User=a\nExecStart=/opt/x\nEnvironmentFile=/etc/x"]), "");
    }

    #[test]
    fn a_drop_in_comes_after_the_unit_and_an_empty_value_forgets() {
        for (unit, drop_in, expected) in [
            ("ExecStart=/opt/x", "ExecStart=\nExecStart=/opt/y", "Runs:/opt/y"),
            ("ExecStart=/opt/x", "ExecStartPre=/opt/y", "Runs:/opt/x Runs:/opt/y"),
            ("ExecStart=/opt/x", "User=nobody", ""),
            ("User=nobody\nExecStart=/opt/x", "User=", "Runs:/opt/x"),
            ("User=nobody\nExecStart=/opt/x", "User=root", "Runs:/opt/x"),
        ] {
            assert_eq!(used(&[unit, drop_in]), expected, "{unit:?} {drop_in:?}");
        }
    }
}
