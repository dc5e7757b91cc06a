//! Where root's shells look for programs, as far as files of root's say so.

use std::fs;
use std::path::PathBuf;

use codex_config::regular::read_regular;

const LIMIT_BYTES: u64 = 256 * 1024;

/// Files in a folder that are looked at.
const MOST_FILES: usize = 200;

/// All of them that are certain.
pub(super) fn path_folders() -> Vec<PathBuf> {
    const FILES: [&str; 14] = [
        "/etc/login.defs",
        "/etc/environment",
        "/etc/profile",
        "/etc/bash.bashrc",
        "/etc/bashrc",
        "/etc/zsh/zshenv",
        "/etc/zsh/zprofile",
        "/etc/zshenv",
        "/etc/sudoers",
        "/root/.profile",
        "/root/.bash_profile",
        "/root/.bashrc",
        "/root/.zshrc",
        "/root/.zshenv",
    ];
    const ALWAYS: [&str; 7] = [
        "/usr/local/sbin",
        "/usr/local/bin",
        "/usr/sbin",
        "/usr/bin",
        "/sbin",
        "/bin",
        "/snap/bin",
    ];
    let files = FILES.iter().map(PathBuf::from);
    let more = ["/etc/profile.d", "/etc/sudoers.d"].into_iter().flat_map(files_in);
    let text = |file: PathBuf| {
        let bytes = read_regular(&file, LIMIT_BYTES).ok().flatten()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    let texts = files.chain(more).filter_map(text);
    let mut folders: Vec<PathBuf> = texts.flat_map(|text| folders_of(&text)).collect();
    folders.extend(ALWAYS.map(PathBuf::from));
    folders.sort();
    folders.dedup();
    folders
}

fn files_in(folder: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    // What has another ending no login reads; of sudo's, names have none.
    files.retain(|file| file.extension().is_none_or(|ending| ending == "sh"));
    files.sort();
    files.truncate(MOST_FILES);
    files
}

/// The folders that a text sets PATH to: `PATH=/a:/b`, `ENV_SUPATH PATH=/a`, `export PATH="/a:$PATH"`,
/// `Defaults secure_path="/a:/b"`.
fn folders_of(text: &str) -> Vec<PathBuf> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    // Of login.defs, the line that is for other accounts.
    let lines = lines.filter(|line| !line.starts_with("ENV_PATH"));
    let is_certain = |part: &&str| part.len() > 1 && part.starts_with('/') && !part.contains('$');
    let folders = |value: &str| {
        let value = value.trim_start().trim_start_matches(['"', '\'']);
        let end = value.find(['"', '\'', ' ', '\t', ';', ',']).unwrap_or(value.len());
        let parts = value[..end].split(':').filter(is_certain).map(PathBuf::from);
        parts.collect::<Vec<_>>()
    };
    lines
        .filter_map(|line| secure_path(line).or_else(|| set_path(line)))
        .flat_map(folders)
        .collect()
}

/// What a shell's line sets PATH to.
fn set_path(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("PATH=").or_else(|| line.split_once("PATH+="))?;
    (before.is_empty() || before.ends_with([' ', '\t', ';'])).then_some(after)
}

/// What sudo runs with, if that is so for everybody.
fn secure_path(line: &str) -> Option<&str> {
    let options = line.strip_prefix("Defaults")?.strip_prefix([' ', '\t'])?;
    let (_, after) = options.split_once("secure_path")?;
    after.trim_start().strip_prefix('=')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_path_are_read_from_what_sets_it() {
        for (text, expected) in [
            ("PATH=\"/a:/b\"", "/a /b"),
            ("export PATH=/a:$PATH", "/a"),
            ("ENV_SUPATH\tPATH=/a:/b\nENV_PATH PATH=/no", "/a /b"),
            ("  PATH='/a:$HOME/bin:/b'; export PATH", "/a /b"),
            ("MANPATH=/no\n# PATH=/no\nLD_LIBRARY_PATH=/no", ""),
            ("PATH=bin:.:/", ""),
            ("PATH+=:/a", "/a"),
            ("Defaults\tsecure_path=\"/a:/b\"", "/a /b"),
            ("Defaults env_reset, secure_path = /a:/b, !lecture", "/a /b"),
            ("Defaults:someone secure_path=/no\nDefaults !secure_path", ""),
        ] {
            let found: Vec<String> =
                folders_of(text).iter().map(|path| path.display().to_string()).collect();
            assert_eq!(found.join(" "), expected, "{text:?}");
        }
    }
}
