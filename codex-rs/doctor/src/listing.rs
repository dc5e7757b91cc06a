//! Things in a sentence: several of them, some of many, and paths and values as a shell reads them.

use std::path::Path;

use codex_config::shell_word;

/// `a, b and c`; of more than `most`, the first ones and how many more there are.
pub(crate) fn and(items: &[String], most: usize) -> String {
    let shown = &items[..items.len().min(most)];
    match (items.len() - shown.len(), shown) {
        (0, []) => "none".to_owned(),
        (0, [only]) => only.clone(),
        (0, [first @ .., last]) => format!("{} and {last}", first.join(", ")),
        (more, []) => format!("{more} of them"),
        (more, _) => format!("{} and {more} more", shown.join(", ")),
    }
}

/// A path as a word of a command.
pub(crate) fn quoted(path: &Path) -> String {
    shell_word(&path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_things_are_told_with_and_and_many_are_counted() {
        for (items, expected) in [
            ("", "none"),
            ("a", "a"),
            ("a b", "a and b"),
            ("a b c", "a, b and c"),
            ("a b c d", "a, b, c and 1 more"),
            ("a b c d e", "a, b, c and 2 more"),
        ] {
            let items: Vec<String> = items.split_whitespace().map(str::to_owned).collect();
            assert_eq!(and(&items, 3), expected);
        }
        assert_eq!(and(&["a".to_owned()], 0), "1 of them");
    }
}
