//! Words for a shell.

/// A word as a shell has to be given it, so that a hint can be typed as it stands.
pub fn shell_word(text: &str) -> String {
    let is_harmless =
        |letter: char| letter.is_ascii_alphanumeric() || "_-./:=@%+,".contains(letter);
    if !text.is_empty() && text.chars().all(is_harmless) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_one_word_for_a_shell() {
        for (text, expected) in [
            ("/home/a/.codex/config.toml", "/home/a/.codex/config.toml"),
            ("/home/a b/$(x)", "'/home/a b/$(x)'"),
            ("/it's", r"'/it'\''s'"),
            ("", "''"),
        ] {
            assert_eq!(shell_word(text), expected);
        }
    }
}
