//! What a command line names: what it runs, where that looks for code, and what it is merely given. Text in, paths out;
//! nothing is looked up.
//!
//! A command of root's is not attacked with this, only read: what is written there was written by root. So a guess is
//! enough where a shell's grammar goes further, and what is only known when it is run (`$x`, `*`, systemd's `%i`) ends the
//! certain part of a path.

use std::path::{Path, PathBuf};

use crate::audit::interpreters::{is_interpreter, is_shell};

/// How a command uses a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum How {
    /// It is a program, or a script for one.
    Run,
    /// Code is looked for there.
    Searched,
    /// It is an argument, or where output goes.
    Given,
}

/// Variables whose paths decide which code runs.
const CODE_VARIABLES: &[&str] = &[
    "PATH",
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "PYTHONPATH",
    "NODE_PATH",
    "PERL5LIB",
    "RUBYLIB",
    "BASH_ENV",
    "ENV",
    SHELL,
];

/// The one that is a program itself.
const SHELL: &str = "SHELL";

/// Words that a shell has before a command, and that are none.
const RESERVED: &[&str] =
    &["if", "then", "else", "elif", "fi", "do", "done", "while", "until", "!", "{", "}"];

/// A shell in a shell in a shell.
const DEEPEST: u8 = 4;

/// What a shell's text names. Relative paths count from `folder`, where that is known.
pub(crate) fn of_shell(text: &str, folder: Option<&Path>) -> Vec<(PathBuf, How)> {
    let mut reader = Reader { folder: folder.map(Path::to_owned), depth: 0, found: Vec::new() };
    reader.shell(text);
    reader.found
}

/// The same of words that a program gets as they are.
pub(crate) fn of_words(words: &[String], folder: Option<&Path>) -> Vec<(PathBuf, How)> {
    let mut reader = Reader { folder: folder.map(Path::to_owned), depth: 0, found: Vec::new() };
    reader.command(words);
    reader.found
}

/// The paths of a `NAME=VALUE` that decides which code runs.
pub(crate) fn of_assignment(text: &str) -> Vec<(PathBuf, How)> {
    let Some((name, value)) = assignment(text) else { return Vec::new() };
    if !CODE_VARIABLES.contains(&name) {
        return Vec::new();
    }
    let how = if name == SHELL { How::Run } else { How::Searched };
    value.split([':', ' ']).filter_map(certain).map(|path| (path, how)).collect()
}

/// As much of an absolute path as is certain before it is run. `None`: nothing below the root.
pub(crate) fn certain(word: &str) -> Option<PathBuf> {
    if !word.starts_with('/') {
        return None;
    }
    let is_certain = |part: &&str| !part.contains(['$', '*', '?', '[', '{', '`', '%']);
    let parts =
        word.split('/').filter(|part| !part.is_empty() && *part != ".").take_while(is_certain);
    let path: PathBuf = std::iter::once("/").chain(parts).collect();
    (path != Path::new("/")).then_some(path)
}

/// `NAME=VALUE`.
fn assignment(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.split_once('=')?;
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let begins = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    (begins && name.chars().all(is_name)).then_some((name, value))
}

/// What kind of program it is, by its name.
enum Kind {
    /// Runs a script, or the text after `-c`.
    Shell,
    /// Runs a script, or text that is not a shell's.
    Interpreter,
    /// Runs all that it is given.
    Sourcing,
    /// Runs the command that follows.
    Wrapper,
    /// The same, after the name of a lock.
    Flock,
    /// Sets variables.
    Declaring,
    /// Goes elsewhere.
    Cd,
    /// Does nothing with what it is given that would matter here.
    Harmless,
    Other,
}

fn kind(program: &str) -> Kind {
    let name = program.rsplit('/').next().unwrap_or(program);
    if name == "." {
        return Kind::Sourcing;
    }
    match name {
        _ if is_shell(name) => Kind::Shell,
        _ if is_interpreter(name) => Kind::Interpreter,
        "source" | "run-parts" => Kind::Sourcing,
        "env" | "nice" | "ionice" | "chrt" | "nohup" | "timeout" | "setsid" | "stdbuf" | "exec"
        | "time" | "xargs" | "busybox" | "chronic" | "command" | "builtin" | "eval"
        | "systemd-cat" | "systemd-inhibit" => Kind::Wrapper,
        "flock" => Kind::Flock,
        "export" | "declare" | "readonly" | "typeset" => Kind::Declaring,
        "cd" => Kind::Cd,
        "test" | "[" | "[[" | "echo" | "printf" | "true" | "false" | ":" | "sleep" | "for"
        | "case" | "logger" | "agetty" => Kind::Harmless,
        _ => Kind::Other,
    }
}

struct Reader {
    folder: Option<PathBuf>,
    depth: u8,
    found: Vec<(PathBuf, How)>,
}

impl Reader {
    fn shell(&mut self, text: &str) {
        if self.depth == DEEPEST {
            return;
        }
        self.depth += 1;
        for command in commands(text) {
            command.streams.iter().for_each(|stream| self.give(stream));
            self.command(&command.words);
        }
        self.depth -= 1;
    }

    fn command(&mut self, words: &[String]) {
        let mut words = words;
        let (program, rest) = loop {
            let Some((first, rest)) = words.split_first() else { return };
            if assignment(first).is_some() {
                self.found.extend(of_assignment(first));
            } else if !RESERVED.contains(&first.as_str()) {
                break (first, rest);
            }
            words = rest;
        };
        self.run(program);
        match kind(program) {
            Kind::Shell => self.script(rest, true),
            Kind::Interpreter => self.script(rest, false),
            Kind::Sourcing => rest.iter().for_each(|word| self.run(word)),
            Kind::Wrapper => self.command(wrapped(rest)),
            Kind::Flock => match after_options(rest).get(1..) {
                Some([dash_c, text, ..]) if dash_c == "-c" => self.shell(text),
                Some(rest) => self.command(rest),
                None => {}
            },
            Kind::Declaring => {
                rest.iter().for_each(|word| self.found.extend(of_assignment(word)));
            }
            Kind::Cd => {
                let into = rest.iter().find(|word| word.starts_with('/'));
                self.folder = into.map(|word| certain(word).unwrap_or_else(|| "/".into()));
            }
            Kind::Harmless => {}
            Kind::Other => rest.iter().for_each(|word| self.give(word)),
        }
    }

    /// What a shell or an interpreter runs: its first word that looks like a file's name, or what comes with `-c`.
    fn script(&mut self, words: &[String], is_shell: bool) {
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let is_option = word.starts_with('-');
            let is_text = match (is_option, is_shell) {
                (false, _) => false,
                (true, true) => !word.starts_with("--") && word.contains('c'),
                (true, false) => ["-c", "-e", "-m", "-r"].contains(&word.as_str()),
            };
            if is_text {
                let text = words.next();
                if let (Some(text), true) = (text, is_shell) {
                    self.shell(text);
                }
                break;
            }
            if !is_option && word.contains(['/', '.']) {
                // A list, such as java's `-cp a.jar:b.jar`.
                word.split(':')
                    .filter(|part| !part.is_empty())
                    .for_each(|part| self.run_file(part));
                break;
            }
        }
        words.for_each(|word| self.give(word));
    }

    /// A program: a name without a folder is looked for in those of PATH, which are looked at for themselves.
    fn run(&mut self, word: &str) {
        if word.contains('/') {
            self.run_file(word);
        }
    }

    fn run_file(&mut self, word: &str) {
        let path = match &self.folder {
            Some(folder) if !word.starts_with('/') => certain(&folder.join(word).to_string_lossy()),
            _ => certain(word),
        };
        self.found.extend(path.map(|path| (path, How::Run)));
    }

    fn give(&mut self, word: &str) {
        let value = match word.split_once('=') {
            Some((_, value)) if !word.starts_with('/') => value,
            _ => word,
        };
        self.found.extend(certain(value).map(|path| (path, How::Given)));
    }
}

/// `-n`, and what belongs to it: `10`, `A=b`, `5m`.
fn is_option(word: &str) -> bool {
    word.starts_with(|first: char| first == '-' || first.is_ascii_digit())
        || assignment(word).is_some()
}

/// Past options.
fn after_options(words: &[String]) -> &[String] {
    let options = words.iter().take_while(|word| is_option(word)).count();
    &words[options..]
}

/// The command that a program is to run. After an option may come a word of its own (`-s KILL`): then it begins with the
/// first word that can only be a program, if there is one.
fn wrapped(words: &[String]) -> &[String] {
    let rest = after_options(words);
    let options = &words[..words.len() - rest.len()];
    if !options.last().is_some_and(|word| word.starts_with('-') && word != "--") {
        return rest;
    }
    let is_program = |word: &String| {
        !is_option(word)
            && (word.contains('/') || !matches!(kind(word), Kind::Other | Kind::Harmless))
    };
    rest.iter().position(is_program).map_or(rest, |begin| &rest[begin..])
}

/// One command of a shell's text.
#[derive(Debug, Default)]
struct Command {
    words: Vec<String>,
    /// Where its output goes, and its input comes from.
    streams: Vec<String>,
}

fn commands(text: &str) -> Vec<Command> {
    let (mut all, mut command) = (Vec::new(), Command::default());
    let (mut word, mut is_stream) = (None::<String>, false);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some('\n') | None => {}
                Some(next) => word.get_or_insert_default().push(next),
            },
            '\'' => {
                word.get_or_insert_default().extend(letters.by_ref().take_while(|c| *c != '\''))
            }
            '"' => {
                let word = word.get_or_insert_default();
                while let Some(inner) = letters.next().filter(|inner| *inner != '"') {
                    let escaped = (inner == '\\').then(|| letters.next()).flatten();
                    word.push(escaped.unwrap_or(inner));
                }
            }
            '#' if word.is_none() => while letters.next_if(|next| *next != '\n').is_some() {},
            '<' | '>' => {
                // `2>` is one word.
                let is_number = |word: &String| word.chars().all(|c| c.is_ascii_digit());
                command.end_word(word.take().filter(|word| !is_number(word)), is_stream);
                while letters.next_if(|next| "<>&|".contains(*next)).is_some() {}
                is_stream = true;
            }
            ';' | '&' | '|' | '\n' | '(' | ')' | '`' => {
                command.end_word(word.take(), is_stream);
                is_stream = false;
                all.push(std::mem::take(&mut command));
            }
            letter if letter.is_whitespace() => {
                if word.is_some() {
                    command.end_word(word.take(), is_stream);
                    is_stream = false;
                }
            }
            letter => word.get_or_insert_default().push(letter),
        }
    }
    command.end_word(word, is_stream);
    all.push(command);
    all.retain(|command| !command.words.is_empty() || !command.streams.is_empty());
    all
}

impl Command {
    fn end_word(&mut self, word: Option<String>, is_stream: bool) {
        let words = if is_stream { &mut self.streams } else { &mut self.words };
        words.extend(word);
    }
}

#[cfg(test)]
mod tests;
