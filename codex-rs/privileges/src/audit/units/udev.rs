//! The rules of udev, as text: the programs that it runs as root when a device comes.
//!
//! Source: udev(7).

use std::path::{Path, PathBuf};

use super::commands::{How, of_shell};

/// Where udev looks for a program that is named without a folder.
const OWN_FOLDER: &str = "/usr/lib/udev";

/// What runs a program. `RUN{builtin}` and other kinds of `IMPORT` run none.
const KEYS: [&str; 4] = ["RUN", "RUN{program}", "PROGRAM", "IMPORT{program}"];

/// What the rules of one file name.
pub(crate) fn named(text: &str) -> Vec<(PathBuf, How)> {
    let text = text.replace("\\\n", " ");
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines.flat_map(commands).flat_map(|command| of_command(&command)).collect()
}

fn of_command(command: &str) -> Vec<(PathBuf, How)> {
    let mut found = of_shell(command, None);
    let program = command.split_whitespace().next().unwrap_or_default();
    if !program.is_empty() && !program.contains(['/', '$', '%', '\'']) {
        found.push((Path::new(OWN_FOLDER).join(program), How::Run));
    }
    found
}

/// The values of a line's keys that run something. `KEY OP "VALUE"`, and a comma between two.
fn commands(line: &str) -> Vec<String> {
    let (mut all, mut rest) = (Vec::new(), line);
    while let Some((before, after)) = rest.split_once('"') {
        let mut value = String::new();
        let mut letters = after.char_indices();
        let mut end = after.len();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '\\' => value.extend(letters.next().map(|(_, next)| next)),
                '"' => {
                    end = at + 1;
                    break;
                }
                letter => value.push(letter),
            }
        }
        let key = before
            .trim_start_matches([',', ' ', '\t'])
            .trim_end_matches(['=', '+', ':', '!', ' ', '\t']);
        if KEYS.contains(&key) {
            all.push(value);
        }
        rest = &after[end..];
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_rule_runs_is_found() {
        for (text, expected) in [
            (r#"ACTION=="add", RUN+="/opt/x $name""#, "/opt/x"),
            (r#"RUN{program}+="/opt/x", RUN+="/opt/y""#, "/opt/x /opt/y"),
            (r#"PROGRAM=="/bin/sh -c '/opt/x %k'", SYMLINK+="/no""#, "/bin/sh /opt/x"),
            (r#"IMPORT{program}="/opt/x --y""#, "/opt/x"),
            ("RUN+=\"/opt/x\",\\\n RUN+=\"/opt/y\"", "/opt/x /opt/y"),
            (r#"RUN+="hdparm-rule""#, "/usr/lib/udev/hdparm-rule"),
            (r#"RUN{builtin}+="kmod load", IMPORT{db}="/no", ENV{RUN}="/no""#, ""),
            (r##"# RUN+="/opt/x""##, ""),
            (r#"RUN+=""#, ""),
            (r#"RUN+="/opt/x"#, "/opt/x"),
        ] {
            let found: Vec<String> = named(text)
                .into_iter()
                .filter(|(_, how)| *how == How::Run)
                .map(|(path, _)| path.display().to_string())
                .collect();
            assert_eq!(found.join(" "), expected, "{text}");
        }
    }
}
