//! Shells and interpreters, by their names: what runs the code in a file that it is given.

/// They run a script, or the text after `-c`.
const SHELLS: &[&str] = &[
    "ash", "bash", "csh", "dash", "fish", "ksh", "mksh", "rbash", "sash", "sh", "tcsh", "yash",
    "zsh",
];
/// They run a script, or text that is not a shell's.
const INTERPRETERS: &[&str] = &[
    "bun", "deno", "expect", "guile", "java", "lua", "luajit", "node", "nodejs", "perl", "php",
    "pypy", "python", "ruby", "tclsh", "wish",
];

pub(crate) fn is_shell(name: &str) -> bool {
    SHELLS.contains(&without_version(name))
}

/// Of another language than a shell's.
pub(crate) fn is_interpreter(name: &str) -> bool {
    INTERPRETERS.contains(&without_version(name))
}

/// `python3.11` is a `python`.
pub(crate) fn without_version(name: &str) -> &str {
    name.trim_end_matches(|letter: char| letter.is_ascii_digit() || ".-".contains(letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_counts_with_and_without_a_version() {
        for (name, shell, interpreter) in [
            ("sh", true, false),
            ("ksh93", true, false),
            ("python", false, true),
            ("python3.11", false, true),
            ("node-20", false, true),
            ("python3-config", false, false),
            ("nodes", false, false),
            ("ssh", false, false),
            ("3", false, false),
            ("", false, false),
        ] {
            assert_eq!((is_shell(name), is_interpreter(name)), (shell, interpreter), "{name}");
        }
    }
}
