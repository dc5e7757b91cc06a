//! A file of polkit's rules, taken apart as far as one can without running it: where each rule begins, and the texts in it.

/// A call of `addRule` or `addAdminRule`, up to the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) is_about_administrators: bool,
    /// All that stands in quotes.
    pub(super) texts: Vec<String>,
    /// The rest, without comments.
    code: String,
}

impl Rule {
    /// Whether it could grant something without an administrator's password.
    pub(super) fn grants(&self) -> bool {
        let is_result = |text: &String| matches!(&**text, "yes" | "auth_self" | "auth_self_keep");
        self.code.contains("YES")
            || self.code.contains("AUTH_SELF")
            || self.texts.iter().any(is_result)
    }

    /// Whether it makes a difference who asks.
    pub(super) fn asks_who(&self) -> bool {
        self.asks_for_groups() || self.code.contains(".user")
    }

    pub(super) fn asks_for_groups(&self) -> bool {
        self.code.contains("isInGroup") || self.code.contains(".groups")
    }
}

/// The rules of a file. What comes before the first (functions, lists) counts to each of them.
pub(super) fn rules(text: &str) -> Vec<Rule> {
    let (mut before, mut rules) = (Piece::default(), Vec::<Rule>::new());
    for piece in pieces(text) {
        if let Some(is_about_administrators) = piece.begins {
            let (texts, code) = (before.texts.clone(), before.code.clone());
            rules.push(Rule { is_about_administrators, texts, code });
        }
        match rules.last_mut() {
            Some(rule) => {
                rule.texts.extend(piece.texts);
                rule.code.push_str(&piece.code);
            }
            None => {
                before.texts.extend(piece.texts);
                before.code.push_str(&piece.code);
            }
        }
    }
    rules
}

/// What stands from the begin of a rule, or of the file, to the next one.
#[derive(Default)]
struct Piece {
    begins: Option<bool>,
    texts: Vec<String>,
    code: String,
}

fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces = vec![Piece::default()];
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let begins = [("addAdminRule", true), ("addRule", false)];
        let begin = begins.into_iter().find(|(call, _)| rest.starts_with(call));
        if let Some((call, is_about_administrators)) = begin {
            pieces.push(Piece { begins: Some(is_about_administrators), ..Piece::default() });
            rest = &rest[call.len()..];
            continue;
        }
        let Some(piece) = pieces.last_mut() else { break };
        if let Some(comment) = rest.strip_prefix("//") {
            rest = comment.find('\n').map_or("", |end| &comment[end..]);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.find("*/").map_or("", |end| &comment[end + 2..]);
            piece.code.push(' ');
        } else if matches!(letter, '"' | '\'' | '`') {
            let (text, after) = quoted(&rest[1..], letter);
            piece.texts.push(text);
            rest = after;
        } else {
            piece.code.push(letter);
            rest = &rest[letter.len_utf8()..];
        }
    }
    pieces
}

/// A text up to its end, and what comes after it. A line's end ends it too, but for backquotes: then it was none.
fn quoted(text: &str, quote: char) -> (String, &str) {
    let mut found = String::new();
    let mut letters = text.char_indices();
    while let Some((place, letter)) = letters.next() {
        if letter == quote {
            return (found, &text[place + 1..]);
        } else if letter == '\n' && quote != '`' {
            return (found, &text[place..]);
        } else if letter == '\\' {
            found.extend(letters.next().map(|(_, escaped)| escaped));
        } else {
            found.push(letter);
        }
    }
    (found, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_no_code_and_quotes_are_no_comments() {
        let text = r#"
            // polkit.addRule("no")
            /* addAdminRule("no") */
            var url = "http://x"; var it = 'it\'s';
            polkit.addAdminRule(function(action, subject) { return ["unix-group:sudo"]; });
            polkit.addRule(function() { if (subject.isInGroup("a")) return polkit.Result.YES; });
        "#;
        let found = rules(text);
        let shown: Vec<_> =
            found.iter().map(|rule| (rule.is_about_administrators, rule.texts.join(" "))).collect();
        let before = "http://x it's";
        assert_eq!(
            shown,
            [(true, format!("{before} unix-group:sudo")), (false, format!("{before} a"))]
        );
        assert!(found[1].grants() && found[1].asks_for_groups() && !found[0].grants());
    }

    #[test]
    fn whatever_the_text_is_it_is_read_to_its_end() {
        for text in ["", "'", "\"\\", "/*", "//", "addRule", "`\n`addRule('\n'ü", "ü\\"] {
            assert!(rules(text).len() <= 1, "{text:?}");
        }
    }
}
