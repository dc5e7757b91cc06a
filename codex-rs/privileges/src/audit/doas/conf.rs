//! A file of doas's rules, and what they come to.
//!
//! Source: doas.conf(5).

use std::collections::BTreeSet;

use crate::account::Account;
use crate::group_file::Lists;

const ROOT: &str = "root";

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// Where it begins, from 1 on.
    pub(super) line: usize,
    /// It, in words with single spaces.
    pub(super) text: String,
    permits: bool,
    identity: String,
    /// `None`: as anybody.
    target: Option<String>,
    /// `None`: any.
    pub(super) command: Option<String>,
    /// `None`: any.
    arguments: Option<Vec<String>>,
}

/// Who asks, and with which groups.
#[derive(Clone, Debug)]
pub(super) struct Asker<'a> {
    pub(super) account: &'a Account,
    pub(super) gids: BTreeSet<u32>,
    pub(super) lists: &'a Lists,
}

impl Asker<'_> {
    fn is_meant(&self, identity: &str) -> bool {
        match identity.strip_prefix(':') {
            Some(group) => self.is_in(group),
            None => {
                let same_uid = |entry: &crate::group_file::Entry| entry.uid == self.account.uid;
                identity == self.account.name
                    || identity.parse::<u32>().is_ok_and(|uid| uid == self.account.uid)
                    || self.lists.entry(identity).is_some_and(same_uid)
            }
        }
    }

    fn is_in(&self, group: &str) -> bool {
        let mut known = self.account.groups.iter();
        let mut listed = self.lists.groups.iter();
        let has = |gid: u32| self.gids.contains(&gid);
        known.any(|known| known.name.as_deref() == Some(group) && has(known.gid))
            || listed.any(|listed| listed.name == group && has(listed.gid))
            || group.parse::<u32>().is_ok_and(has)
    }
}

/// The rules that let somebody become root: one for any program, else those for named ones.
pub(super) fn permits<'a>(rules: &'a [Rule], asker: &Asker<'_>) -> Vec<&'a Rule> {
    let meant = |rule: &&Rule| {
        let as_root = rule.target.as_deref().is_none_or(|target| matches!(target, ROOT | "0"));
        as_root && asker.is_meant(&rule.identity)
    };
    let meant: Vec<&Rule> = rules.iter().filter(meant).collect();
    // What no rule names: the last one that names nothing.
    let general = meant.iter().rev().find(|rule| rule.command.is_none());
    if let Some(rule) = general
        && rule.permits
    {
        return vec![*rule];
    }
    let permitted = |(place, rule): (usize, &&'a Rule)| {
        let is_permitted = rule.permits && rule.command.is_some();
        let is_covered = meant[place + 1..].iter().any(|later| later.covers(rule));
        (is_permitted && !is_covered).then_some(*rule)
    };
    meant.iter().enumerate().filter_map(permitted).collect()
}

impl Rule {
    /// Whether it matches whenever the other does.
    fn covers(&self, other: &Self) -> bool {
        match (&self.command, &self.arguments) {
            (None, _) => true,
            (command, None) => *command == other.command,
            (command, arguments) => *command == other.command && *arguments == other.arguments,
        }
    }
}

/// A word, and whether it was quoted: then it is no keyword.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Word {
    text: String,
    is_quoted: bool,
}

/// All rules; an error is the number of a line that can't be made out.
pub(super) fn read(text: &str) -> Result<Vec<Rule>, usize> {
    let lines = lines(text)?;
    lines.into_iter().map(|(line, words)| rule(line, &words).ok_or(line)).collect()
}

fn rule(line: usize, words: &[Word]) -> Option<Rule> {
    let mut rest = words;
    let permits = match keyword(&mut rest)? {
        "permit" => true,
        "deny" => false,
        _ => return None,
    };
    if permits {
        options(&mut rest)?;
    }
    let identity = next(&mut rest)?;
    let target = if take(&mut rest, "as") { Some(next(&mut rest)?) } else { None };
    let (mut command, mut arguments) = (None, None);
    if take(&mut rest, "cmd") {
        command = Some(next(&mut rest)?);
        if take(&mut rest, "args") {
            arguments = Some(rest.iter().map(|word| word.text.clone()).collect());
            rest = &[];
        }
    }
    let text: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
    let text = text.join(" ");
    rest.is_empty().then_some(Rule { line, text, permits, identity, target, command, arguments })
}

/// What says how, and not who or what.
fn options(rest: &mut &[Word]) -> Option<()> {
    loop {
        if take(rest, "setenv") {
            let end = rest.iter().position(|word| !word.is_quoted && word.text == "}")?;
            *rest = &rest[end + 1..];
        } else if !["nopass", "persist", "keepenv", "nolog"].iter().any(|option| take(rest, option))
        {
            return Some(());
        }
    }
}

fn keyword<'a>(rest: &mut &'a [Word]) -> Option<&'a str> {
    let (word, after) = rest.split_first()?;
    *rest = after;
    (!word.is_quoted).then_some(word.text.as_str())
}

fn take(rest: &mut &[Word], keyword: &str) -> bool {
    match rest.split_first() {
        Some((word, after)) if !word.is_quoted && word.text == keyword => {
            *rest = after;
            true
        }
        _ => false,
    }
}

fn next(rest: &mut &[Word]) -> Option<String> {
    let (word, after) = rest.split_first()?;
    *rest = after;
    let is_brace = !word.is_quoted && matches!(&*word.text, "{" | "}");
    (!is_brace).then(|| word.text.clone())
}

/// The words of each line that has some, with its number. A backslash at a line's end goes on with the next.
fn lines(text: &str) -> Result<Vec<(usize, Vec<Word>)>, usize> {
    let mut found: Vec<(usize, Vec<Word>)> = Vec::new();
    let mut reading: (usize, Vec<Word>) = (1, Vec::new());
    let mut line = 1;
    let mut letters = text.chars().peekable();
    loop {
        match letters.next() {
            letter @ (None | Some('\n')) => {
                line += 1;
                let (begun, words) = std::mem::replace(&mut reading, (line, Vec::new()));
                if !words.is_empty() {
                    found.push((begun, words));
                }
                if letter.is_none() {
                    return Ok(found);
                }
            }
            Some('#') => while letters.next_if(|letter| *letter != '\n').is_some() {},
            Some(' ' | '\t' | '\r') => {}
            Some('\\') if letters.next_if_eq(&'\n').is_some() => line += 1,
            Some(brace @ ('{' | '}')) => {
                reading.1.push(Word { text: brace.to_string(), is_quoted: false });
            }
            Some(first) => reading.1.push(word(first, &mut letters).ok_or(line)?),
        }
    }
}

/// A word that begins with this letter. `None`: its quotes don't end.
fn word(first: char, letters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Word> {
    let mut word = Word { text: String::new(), is_quoted: false };
    let mut in_quotes = false;
    let mut at = Some(first);
    while let Some(letter) = at {
        match letter {
            '"' => {
                in_quotes = !in_quotes;
                word.is_quoted = true;
            }
            '\\' if letters.next_if_eq(&'\n').is_some() => {}
            '\\' => word.text.extend(letters.next()),
            '\n' => return None, // Only within quotes.
            _ => word.text.push(letter),
        }
        let goes_on = |letter: &char| in_quotes || !" \t\r\n#{}".contains(*letter);
        at = letters.next_if(goes_on);
    }
    (!in_quotes).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::testing::subject;

    fn permitted(text: &str) -> Vec<usize> {
        let us = subject(61_500, &[100, 27]);
        let lists =
            Lists::of("wheel:x:27:\nops:x:28:\n", "", "tst_alias:x:61500:100::/:/bin/sh\n", "");
        let asker = Asker { account: &us.account, gids: us.account.gids(), lists: &lists };
        permits(&read(text).unwrap(), &asker).into_iter().map(|rule| rule.line).collect()
    }

    #[test]
    fn the_last_rule_that_matches_counts() {
        for (text, expected) in [
            ("", &[][..]),
            ("permit tst_u", &[1]),
            ("permit nopass keepenv setenv { A B=c \"-D }\" } tst_u\n", &[1]),
            ("permit 61500", &[1]),
            ("permit tst_alias", &[1]), // The same number.
            ("permit :wheel", &[1]),
            ("permit :g27", &[1]), // The name that the system has for it.
            ("permit :27", &[1]),
            ("permit :ops", &[]),
            ("permit bob", &[]),
            ("permit tst_u as root", &[1]),
            ("permit tst_u as 0", &[1]),
            ("permit tst_u as postgres", &[]),
            ("permit tst_u\ndeny tst_u", &[]),
            ("deny tst_u\npermit :wheel", &[2]),
            ("# permit tst_u\n\n  permit \\\n tst_u # yes\n", &[3]),
            ("permit :wheel\ndeny tst_u as root", &[]),
            ("permit :wheel\ndeny tst_u as bob", &[1]),
            ("permit \"tst_u\"", &[1]),
            ("permit tst\\_u", &[1]),
        ] {
            assert_eq!(permitted(text), expected, "{text}");
        }
    }

    #[test]
    fn commands_that_are_named_count_where_not_all_is_allowed() {
        for (text, expected) in [
            ("permit tst_u cmd vim", &[1][..]),
            ("permit tst_u cmd vim args -R /etc/hosts\npermit tst_u cmd ls", &[1, 2]),
            ("permit tst_u\npermit tst_u cmd vim", &[1]),
            ("permit tst_u\ndeny tst_u cmd vim", &[1]),
            ("permit tst_u cmd vim\ndeny tst_u", &[]),
            ("permit tst_u cmd vim\ndeny tst_u cmd vim", &[]),
            ("permit tst_u cmd vim\ndeny tst_u cmd vim args -R", &[1]),
            ("permit tst_u cmd vim args -R\ndeny tst_u cmd vim args -R", &[]),
            ("permit tst_u cmd vim args\ndeny tst_u cmd vim args", &[]),
            ("permit tst_u cmd vim args -R\ndeny tst_u cmd vim", &[]),
            ("deny tst_u\npermit tst_u cmd vim", &[2]),
            ("permit tst_u as bob cmd vim", &[]),
        ] {
            assert_eq!(permitted(text), expected, "{text}");
        }
    }

    #[test]
    fn what_cant_be_made_out_is_told_by_its_line() {
        for (text, line) in [
            ("allow tst_u", 1),
            ("\npermit", 2),
            ("permit tst_u as", 1),
            ("permit tst_u cmd", 1),
            ("permit tst_u cmd ls more", 1),
            ("permit setenv { A tst_u", 1),
            ("permit \"tst_u", 1),
            ("permit {", 1),
            ("\"permit\" tst_u", 1),
            ("permit a\npermit \"b\nc\"", 2),
        ] {
            assert_eq!(read(text), Err(line), "{text}");
        }
        assert_eq!(
            read("permit a cmd \"as\" args cmd x").unwrap()[0].text,
            "permit a cmd as args cmd x"
        );
    }
}
