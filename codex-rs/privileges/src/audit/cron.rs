//! What cron, anacron and at run as root: their tables, the folders of those, and all that the commands name.
//!
//! A table that the account could change is open as it is, and is not read. Whether a cron runs here is not asked.
//!
//! Source: crontab(5), anacrontab(5), at(1).

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use codex_config::regular::{Links, open_regular, read_regular};

use super::units::commands::{of_assignment, of_shell};
use super::units::names;
use super::units::uses::{self, Role, Use, Ways};
use crate::finding::Finding;
use crate::subject::Subject;

const CHECK: &str = "cron";

/// Tables of the system, in which each line names its account.
const TABLES: &[&str] = &["/etc/crontab"];
/// A folder of such tables.
const TABLE_FOLDER: &str = "/etc/cron.d";
/// Folders whose programs root runs.
const PROGRAM_FOLDERS: [&str; 5] = [
    "/etc/cron.hourly",
    "/etc/cron.daily",
    "/etc/cron.weekly",
    "/etc/cron.monthly",
    "/etc/cron.yearly",
];
/// Root's own tables, as the families of systems have them.
const ROOTS: [&str; 4] = [
    "/var/spool/cron/crontabs/root",
    "/var/spool/cron/root",
    "/var/spool/cron/tabs/root",
    "/etc/crontabs/root",
];
const ANACRON: &str = "/etc/anacrontab";
/// Jobs of at(1): whose the file is, that account's the job is.
const JOB_FOLDERS: [&str; 3] = ["/var/spool/cron/atjobs", "/var/spool/at", "/var/spool/atjobs"];

const LIMIT_BYTES: u64 = 256 * 1024;
const ROOTS_HOME: &str = "/root";

pub(crate) fn look(subject: &Subject) -> Vec<Finding> {
    let roots = roots();
    let is_root = |name: &str| roots.iter().any(|root| root == name);
    let mut looked = Looked { ways: Ways::new(subject), uses: Vec::new(), unread: Vec::new() };
    let tables = looked.names(Path::new(TABLE_FOLDER)).into_iter();
    let tables: Vec<PathBuf> = tables.map(|name| Path::new(TABLE_FOLDER).join(name)).collect();
    looked.folder(TABLE_FOLDER);
    for path in TABLES.iter().map(PathBuf::from).chain(tables) {
        looked.file(&path, |text, by| table(text, Some(&is_root), by));
    }
    for path in ROOTS.map(PathBuf::from) {
        looked.file(&path, |text, by| table(text, None, by));
    }
    looked.file(Path::new(ANACRON), anacron);
    for folder in PROGRAM_FOLDERS {
        looked.folder(folder);
        for name in looked.names(Path::new(folder)) {
            looked.uses.push(Use::new(Path::new(folder).join(name), Role::Runs, "cron"));
        }
    }
    for folder in JOB_FOLDERS {
        looked.jobs(Path::new(folder));
    }
    let Looked { uses, unread, .. } = looked;
    let mut findings = uses::look_at(CHECK, subject, uses);
    findings.extend(uses::unread(
        CHECK,
        subject,
        "tables of cron and jobs of at that can't be read",
        &unread,
    ));
    findings
}

/// The names of uid 0.
fn roots() -> Vec<String> {
    let passwd = read_regular(Path::new("/etc/passwd"), LIMIT_BYTES).ok().flatten();
    roots_of(&String::from_utf8_lossy(&passwd.unwrap_or_default()))
}

fn roots_of(passwd: &str) -> Vec<String> {
    let of_line = |line: &str| {
        let mut fields = line.split(':');
        let (name, uid) = (fields.next()?, fields.nth(1)?);
        (uid == "0").then(|| name.to_owned())
    };
    std::iter::once("root".to_owned()).chain(passwd.lines().filter_map(of_line)).collect()
}

/// A table of cron. `is_root` says of an account's name whether it is root; `None`: the table is root's own, and its lines
/// name nobody.
fn table(text: &str, is_root: Option<&dyn Fn(&str) -> bool>, by: &str) -> Vec<Use> {
    let mut uses = Vec::new();
    for line in lines(text) {
        if let Some(variable) = variable(line) {
            uses.extend(Use::of_command(of_assignment(&variable), by));
            continue;
        }
        let times = if line.starts_with('@') { 1 } else { 5 };
        let Some(mut command) = after_fields(line, times) else { continue };
        if let Some(is_root) = is_root {
            let user = command.split_whitespace().next().unwrap_or_default();
            // Some have `user:group` there, or `user/class`.
            if !is_root(user.split([':', '/']).next().unwrap_or_default()) {
                continue;
            }
            let Some(rest) = after_fields(command, 1) else { continue };
            command = rest;
        }
        let found = of_shell(&until_percent(command), Some(Path::new(ROOTS_HOME)));
        uses.extend(Use::of_command(found, by));
    }
    uses
}

fn anacron(text: &str, by: &str) -> Vec<Use> {
    let mut uses = Vec::new();
    for line in lines(text) {
        let found = match variable(line) {
            Some(variable) => of_assignment(&variable),
            // Its period, its delay and its name.
            None => {
                after_fields(line, 3).map(|command| of_shell(command, None)).unwrap_or_default()
            }
        };
        uses.extend(Use::of_command(found, by));
    }
    uses
}

/// A job of at's: first the environment and the folder that it was asked for in, then what was asked for.
fn job(text: &str, by: &str) -> Vec<Use> {
    let (surroundings, asked) = text.split_once("\n}\n").unwrap_or(("", text));
    let folder = surroundings.lines().find_map(|line| line.strip_prefix("cd "));
    let folder = folder.and_then(|line| line.split_whitespace().next()).map(Path::new);
    Use::of_command(of_shell(asked, folder), by)
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// `NAME=VALUE`, without blanks around the sign and quotes around the rest.
fn variable(line: &str) -> Option<String> {
    let (name, value) = line.split_once('=')?;
    let name = name.trim().trim_matches(['"', '\'']);
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let begins = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    let value = value.trim().trim_matches(['"', '\'']);
    (begins && name.chars().all(is_name)).then(|| format!("{name}={value}"))
}

/// What comes after so many words.
fn after_fields(line: &str, fields: usize) -> Option<&str> {
    let mut rest = line.trim_start();
    for _ in 0..fields {
        rest = rest.split_once(char::is_whitespace)?.1.trim_start();
    }
    (!rest.is_empty()).then_some(rest)
}

/// From the first `%` on it is the command's input; `\%` is a plain one.
fn until_percent(command: &str) -> String {
    let mut kept = String::new();
    let mut letters = command.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '%' => break,
            '\\' if letters.peek() == Some(&'%') => kept.extend(letters.next()),
            letter => kept.push(letter),
        }
    }
    kept
}

struct Looked<'s> {
    ways: Ways<'s>,
    uses: Vec<Use>,
    unread: Vec<String>,
}

impl Looked<'_> {
    fn folder(&mut self, folder: &str) {
        if fs::symlink_metadata(folder).is_ok() {
            self.uses.push(Use::new(folder, Role::Defines, "cron"));
        }
    }

    /// A table, if there is one: what it says, unless the account could change that.
    fn file(&mut self, path: &Path, uses_of: impl Fn(&str, &str) -> Vec<Use>) {
        match fs::symlink_metadata(path) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return self.miss(path, &error);
            }
            Err(_) => return,
        }
        self.uses.push(Use::new(path, Role::Defines, "cron"));
        if self.ways.is_any(path) {
            return;
        }
        match read_regular(path, LIMIT_BYTES) {
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned();
                self.uses.extend(uses_of(&text, &format!("cron (by {})", path.display())));
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
            Err(error) => self.miss(path, &error),
        }
    }

    fn jobs(&mut self, folder: &Path) {
        for name in self.names(folder) {
            let path = folder.join(&name);
            // The folder is at's own, who is not root: no link in it is followed.
            let opened = open_regular(&path, Links::Refused);
            let Ok(Some(file)) = opened else { continue };
            if !file.metadata().is_ok_and(|job| job.uid() == 0) {
                continue;
            }
            let mut bytes = Vec::new();
            let read = io::Read::read_to_end(&mut io::Read::take(file, LIMIT_BYTES), &mut bytes);
            match read {
                Ok(_) => {
                    let by = format!("at (job {name})");
                    self.uses.extend(job(&String::from_utf8_lossy(&bytes), &by));
                }
                Err(error) => self.miss(&path, &error),
            }
        }
    }

    fn names(&mut self, folder: &Path) -> Vec<String> {
        names(folder).unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotADirectory {
                self.miss(folder, &error);
            }
            Vec::new()
        })
    }

    fn miss(&mut self, path: &Path, error: &io::Error) {
        self.unread.push(format!("{}: {error}", path.display()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(uses: Vec<Use>) -> String {
        let word = |used: Use| format!("{:?}:{}", used.role, used.path.display());
        uses.into_iter().map(word).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_table_of_the_system_is_read_for_roots_lines() {
        let is_root = |name: &str| ["root", "toor"].contains(&name);
        for (text, expected) in [
            (
                "17 * * * * root cd / && run-parts --report /etc/cron.hourly",
                "Runs:/etc/cron.hourly",
            ),
            ("* * * * * root /opt/x --y", "Runs:/opt/x"),
            ("* * * * *\ttoor\t/opt/x", "Runs:/opt/x"),
            ("* * * * * root:wheel /opt/x", "Runs:/opt/x"),
            ("* * * * * alice /opt/x", ""),
            ("@reboot root /opt/x", "Runs:/opt/x"),
            ("@daily alice /opt/x", ""),
            ("*/5 1-2 * jan mon root sh bin/x.sh", "Runs:/root/bin/x.sh"),
            ("* * * * * root /opt/x %/opt/no", "Runs:/opt/x"),
            ("* * * * * root /opt/x /opt/a\\%b", "Runs:/opt/x Given:/opt"),
            ("* * * * * root A=/no /opt/x", "Runs:/opt/x"),
            (
                "PATH=/opt/bin:/usr/bin\nSHELL = /bin/sh",
                "Searches:/opt/bin Searches:/usr/bin Runs:/bin/sh",
            ),
            ("PATH = \"/opt/bin\"", "Searches:/opt/bin"),
            ("# * * * * * root /opt/x\n\n * * * *", ""),
            ("* * * * * root", ""),
            ("@reboot", ""),
        ] {
            assert_eq!(words(table(text, Some(&is_root), "cron")), expected, "{text}");
        }
    }

    #[test]
    fn roots_own_table_anacrons_and_a_job_name_nobody() {
        assert_eq!(
            words(table("@reboot /opt/x\n0 1 * * * /opt/y", None, "cron")),
            "Runs:/opt/x Runs:/opt/y"
        );
        let text = "PATH=/opt/bin\n1 5 cron.daily run-parts /opt/daily\n@monthly 45 x /opt/x";
        assert_eq!(words(anacron(text, "cron")), "Searches:/opt/bin Runs:/opt/daily Runs:/opt/x");
        let text =
            "#!/bin/sh\numask 22\nPATH=/no; export PATH\ncd /srv || {\n\t exit 1\n}\n/opt/x\n./y\n";
        assert_eq!(words(job(text, "at")), "Runs:/opt/x Runs:/srv/y");
        assert_eq!(words(job("/opt/x", "at")), "Runs:/opt/x");
    }

    #[test]
    fn root_may_have_other_names() {
        let passwd = "root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\nalice:x:10:0::/:\nbroken";
        assert_eq!(roots_of(passwd), ["root", "root", "toor"]);
    }
}
