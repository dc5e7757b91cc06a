//! Which sudo is installed, and where it reads its rules.
//!
//! Source: what `sudo -V` says when root asks (sudo(8)); sudoers(5), "Including other files from within sudoers".

use std::path::{Path, PathBuf};

use codex_config::regular::read_regular;

use crate::tools::{self, Ran, ToolError};

const SUDOERS_LIMIT_BYTES: u64 = 1024 * 1024;

/// sudo, and the tools that come with it.
#[derive(Clone, Debug)]
pub(crate) struct Sudo {
    pub(crate) program: PathBuf,
    pub(crate) visudo: PathBuf,
    cvtsudoers: PathBuf,
    pub(crate) version: String,
    /// The main file of its rules.
    pub(crate) sudoers: PathBuf,
    /// Where it keeps who has given a password lately.
    pub(crate) tickets: PathBuf,
}

/// Why it can't be worked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// There is none.
    NotInstalled,
    /// It is another one, or lacks a tool.
    Unsupported(String),
    /// Its rules can't be read as they are.
    Broken(String),
}

impl Sudo {
    /// As root only: others are told less.
    pub(crate) fn find() -> Result<Self, Unusable> {
        let program = tools::find("sudo").ok_or_else(not_found)?;
        let unsupported = |error: ToolError| Unusable::Unsupported(error.to_string());
        let said = tools::run(&program, ["-V"]).map_err(unsupported)?.text();
        let (Some(version), Some(sudoers), Some(tickets)) = (
            value(&said, "Sudo version"),
            value(&said, "Sudoers path:"),
            value(&said, "Path to authentication timestamp dir:"),
        ) else {
            let first = said.lines().next().unwrap_or("nothing");
            let because = format!("`sudo -V` says {first:?}, and not where its rules are");
            return Err(Unusable::Unsupported(because));
        };
        let visudo = tools::need("visudo").map_err(unsupported)?;
        let cvtsudoers = tools::need("cvtsudoers").map_err(unsupported)?;
        let (sudoers, tickets) = (PathBuf::from(sudoers), PathBuf::from(tickets));
        Ok(Self { program, visudo, cvtsudoers, version: version.to_owned(), sudoers, tickets })
    }

    /// Its rules, each alias written out, those of included files in their places, as JSON.
    pub(crate) fn rules_as_json(&self) -> Result<Vec<u8>, Unusable> {
        let sudoers = self.sudoers.as_os_str();
        let arguments = ["-e".as_ref(), "-f".as_ref(), "json".as_ref(), sudoers];
        let ran = tools::run(&self.cvtsudoers, arguments);
        match ran {
            Ok(ran) if ran.is_success() => Ok(ran.out),
            Ok(ran) => Err(Unusable::Broken(format!("cvtsudoers says: {}", ran.words()))),
            Err(error) => Err(Unusable::Unsupported(error.to_string())),
        }
    }

    /// Whether visudo(8) is content with all of its files.
    pub(crate) fn check(&self) -> Result<(), Unusable> {
        let arguments = ["-c".as_ref(), "-f".as_ref(), self.sudoers.as_os_str()];
        // visudo(8) looks at owner and mode only of the system's own file, which has no -f.
        let is_usual = self.sudoers == Path::new("/etc/sudoers");
        let ran = tools::run(&self.visudo, if is_usual { &arguments[..1] } else { &arguments });
        match ran {
            Ok(ran) if ran.is_success() => Ok(()),
            Ok(ran) => Err(Unusable::Broken(format!("visudo -c says: {}", trouble(&ran)))),
            Err(error) => Err(Unusable::Unsupported(error.to_string())),
        }
    }

    /// The folder whose files it reads, as the last of those that the main file names.
    pub(crate) fn folder(&self) -> Result<PathBuf, Unusable> {
        let bytes = read_regular(&self.sudoers, SUDOERS_LIMIT_BYTES);
        let text = bytes
            .ok()
            .flatten()
            .ok_or_else(|| Unusable::Broken(format!("{} can't be read", self.sudoers.display())))?;
        included_folder(&String::from_utf8_lossy(&text)).ok_or_else(|| {
            let sudoers = self.sudoers.display();
            Unusable::Unsupported(format!("{sudoers} includes no folder: it has no @includedir"))
        })
    }
}

/// One that is elsewhere, or that others could exchange, works all the same.
fn not_found() -> Unusable {
    const PLACES: [&str; 4] =
        ["/usr/bin/sudo", "/bin/sudo", "/usr/local/bin/sudo", "/run/wrappers/bin/sudo"];
    match PLACES.iter().find(|place| Path::new(place).exists()) {
        Some(place) => {
            Unusable::Unsupported(format!("{place} is not where root alone could have put it"))
        }
        None => Unusable::NotInstalled,
    }
}

/// What comes after this at the beginning of a line.
fn value<'t>(said: &'t str, name: &str) -> Option<&'t str> {
    let value = said.lines().find_map(|line| line.strip_prefix(name))?.trim();
    (!value.is_empty()).then_some(value)
}

/// Those of its lines that are not content.
fn trouble(ran: &Ran) -> String {
    let out = ran.text();
    let lines = ran.err.lines().chain(out.lines());
    let lines = lines.filter(|line| !line.ends_with("parsed OK") && !line.trim().is_empty());
    lines.take(3).collect::<Vec<_>>().join("; ")
}

fn included_folder(text: &str) -> Option<PathBuf> {
    let folder = |line: &str| {
        let line = line.trim();
        let rest =
            ["@includedir", "#includedir"].iter().find_map(|word| line.strip_prefix(word))?;
        let rest = rest.strip_prefix([' ', '\t'])?.trim();
        // Quoted it may have blanks in it; else a comment may come after it.
        let path = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next()?,
            None => rest.split_whitespace().next()?,
        };
        // `%h` stands for the host's name, and a backslash for what comes after it.
        let is_plain = path.starts_with('/') && !path.contains(['%', '\\']);
        is_plain.then(|| PathBuf::from(path))
    };
    text.lines().filter_map(folder).next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_the_last_one_that_is_included() {
        for (text, expected) in [
            ("", None),
            ("root ALL=(ALL) ALL\n# includedir /etc/a\n", None),
            ("@includedir /etc/sudoers.d\n", Some("/etc/sudoers.d")),
            ("#includedir\t/etc/sudoers.d", Some("/etc/sudoers.d")),
            ("@includedir \"/etc/a b\" # all\n", Some("/etc/a b")),
            ("@includedir /etc/sudoers.d # all\n", Some("/etc/sudoers.d")),
            ("@includedir /etc/a\n@includedir /etc/b\n", Some("/etc/b")),
            ("@includedir relative\n@includedir /etc/%h.d\n", None),
            ("@include /etc/a\n@includedirs /etc/b\n", None),
        ] {
            assert_eq!(included_folder(text), expected.map(PathBuf::from), "{text:?}");
        }
    }

    #[test]
    fn what_sudo_says_of_itself_is_read_by_the_beginning_of_a_line() {
        let said =
            "Sudo version 1.9.13p3\nx Sudoers path: /no\nSudoers path: /etc/sudoers\nPath:\n";
        assert_eq!(value(said, "Sudo version"), Some("1.9.13p3"));
        assert_eq!(value(said, "Sudoers path:"), Some("/etc/sudoers"));
        assert_eq!(value(said, "Path:"), None);
    }
}
