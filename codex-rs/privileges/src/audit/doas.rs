//! doas: what its file lets the account run as root.
//!
//! doas itself is asked with the account's credentials, and the file is read besides: commands that are allowed by name
//! are seen only there, and doas reads as the account, which need not be able to. It believes the groups of the process.
//! The last rule that matches counts.
//!
//! Source: doas(1), doas.conf(5).

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use codex_config::regular::read_regular;
use codex_config::shell_word;

use crate::finding::{Finding, Grade};
use crate::group_file::Lists;
use crate::subject::Subject;
use crate::tools;
use conf::{Asker, Rule};

mod conf;

const CHECK: &str = "doas";
/// A doas, and the file that it reads.
const PLACES: [(&str, &str); 3] = [
    ("/usr/bin/doas", "/etc/doas.conf"),
    ("/bin/doas", "/etc/doas.conf"),
    ("/usr/local/bin/doas", "/usr/local/etc/doas.conf"),
];
/// Some builds read the `.conf` files of this folder too.
const FOLDER: &str = "/etc/doas.d";
const LIMIT_BYTES: u64 = 1024 * 1024;
const MOST_FILES: usize = 200;
const SETUID: u32 = 0o4000;
const WHY: &str = "doas runs any program as root for it";
const COMMAND: &str = "doas runs this as root for it, and many programs can start others";

/// What doas would do for the account.
pub(crate) fn look(subject: &Subject) -> Vec<Finding> {
    let mut seen = BTreeSet::new();
    let mut found: Vec<Finding> = Vec::new();
    for (program, file) in PLACES {
        let Some(program) = installed(Path::new(program)) else { continue };
        if seen.insert(file) {
            found.extend(look_at(subject, &program, Path::new(file)));
        }
    }
    found
}

/// Without the setuid bit it does nothing.
fn installed(program: &Path) -> Option<PathBuf> {
    let metadata = fs::metadata(program).ok()?;
    let is_working = metadata.is_file() && metadata.uid() == 0 && metadata.mode() & SETUID != 0;
    is_working.then(|| program.to_owned())
}

fn look_at(subject: &Subject, program: &Path, file: &Path) -> Vec<Finding> {
    let lists = Lists::read();
    let askers = askers(subject, &lists);
    let mut found = match read_regular(file, LIMIT_BYTES) {
        Ok(None) => Vec::new(),
        Ok(Some(bytes)) => judge(subject, &askers, file, &String::from_utf8_lossy(&bytes)),
        Err(error) => vec![unread(file, &error.to_string())],
    };
    if file.exists() && !found.iter().any(|finding| finding.why == WHY) {
        found.extend(asked(subject, program, file));
    }
    if file == Path::new("/etc/doas.conf") {
        found.extend(in_folder(subject, &askers));
    }
    found
}

fn unread(place: &Path, because: &str) -> Finding {
    let why = "what doas lets the account run can't be told without it";
    Finding::undecided(CHECK, place.display().to_string(), why)
        .seen(because)
        .remedy(format!("have a look: doas -C {}", shell_word(&place.to_string_lossy())))
}

/// With the groups of a fresh login, and with those that living processes have besides.
fn askers<'a>(subject: &'a Subject, lists: &'a Lists) -> Vec<(&'static str, Asker<'a>)> {
    let asker = |gids| Asker { account: &subject.account, gids, lists };
    let mut askers = vec![("a fresh login", asker(subject.fresh.clone()))];
    if !subject.stale.is_empty() {
        askers.push(("a process that runs already", asker(subject.gids())));
    }
    askers
}

/// The rules that let it, each once.
fn judge(
    subject: &Subject,
    askers: &[(&'static str, Asker<'_>)],
    file: &Path,
    text: &str,
) -> Vec<Finding> {
    let rules = match conf::read(text) {
        Ok(rules) => rules,
        // doas does nothing with a file that it can't read, but ours is not its grammar to the letter.
        Err(line) => return vec![unread(file, &format!("line {line} can't be made out"))],
    };
    let mut found: Vec<Finding> = Vec::new();
    for (who, asker) in askers {
        for rule in conf::permits(&rules, asker) {
            let finding = permitted(subject, file, who, rule);
            if !found.iter().any(|other| other.is_same(&finding)) {
                found.push(finding);
            }
        }
    }
    found
}

fn permitted(subject: &Subject, file: &Path, who: &str, rule: &Rule) -> Finding {
    let account = &subject.account.name;
    let why = if rule.command.is_some() { COMMAND } else { WHY };
    let line = shell_word(&format!("deny {account}"));
    Finding::open(CHECK, format!("doas, by its rule \"{}\"", rule.text), why)
        .seen(format!("{}, line {}, for {who} of {account}", file.display(), rule.line))
        .remedy(format!("echo {line} >> {}", shell_word(&file.to_string_lossy())))
}

/// What doas says.
fn asked(subject: &Subject, program: &Path, file: &Path) -> Vec<Finding> {
    if !subject.is_root {
        return Vec::new(); // It would be about whoever we are; the file has said what it says.
    }
    let words = ["-u", "root", "/bin/sh"].map(OsStr::new);
    let arguments = [[OsStr::new("-C"), file.as_os_str()].as_slice(), &words].concat();
    for gids in [&subject.fresh, &subject.gids()] {
        match tools::run_as(subject, (gids, subject.account.gid), program, &arguments, None) {
            Ok(ran) if ran.text().starts_with("permit") => {
                let line = shell_word(&format!("deny {}", subject.account.name));
                let place = shell_word(&file.to_string_lossy());
                return vec![
                    Finding::open(CHECK, format!("doas, by {}", file.display()), WHY)
                        .seen(format!("doas -C says: {}", ran.text().trim()))
                        .remedy(format!("echo {line} >> {place}")),
                ];
            }
            // "deny" comes with an exit code of 1, and so does a file that the account can't read: ours was read.
            Ok(_) => {}
            Err(error) => return vec![unread(file, &error.to_string())],
        }
    }
    Vec::new()
}

/// The files that some builds of doas read besides.
fn in_folder(subject: &Subject, askers: &[(&'static str, Asker<'_>)]) -> Vec<Finding> {
    let Ok(entries) = fs::read_dir(FOLDER) else { return Vec::new() };
    let paths = entries.take(MOST_FILES).filter_map(|entry| Some(entry.ok()?.path()));
    let is_conf = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "conf");
    let mut paths: Vec<PathBuf> = paths.filter(is_conf).collect();
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        match read_regular(&path, LIMIT_BYTES) {
            Ok(Some(bytes)) => {
                found.extend(judge(subject, askers, &path, &String::from_utf8_lossy(&bytes)));
            }
            Ok(None) => {}
            Err(error) => found.push(unread(&path, &error.to_string())),
        }
    }
    let undecided = |finding: Finding| Finding {
        grade: Grade::Undecided,
        evidence: format!("{}; not every build of doas reads it", finding.evidence),
        ..finding
    };
    found.into_iter().map(undecided).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::testing::subject;

    #[test]
    fn each_rule_that_lets_it_is_one_finding_and_says_for_whom() {
        let us = Subject { stale: [27].into(), ..subject(61_500, &[61_500]) };
        let lists = Lists::of("wheel:x:27:\n", "", "", "");
        let askers = askers(&us, &lists);
        let file = Path::new("/etc/doas.conf");
        let text = "permit nopass tst_u as root cmd /usr/bin/vim\npermit persist :wheel\n";
        let found = judge(&us, &askers, file, text);
        let shown: Vec<_> = found
            .iter()
            .map(|it| (it.what.as_str(), it.why.as_str(), it.evidence.as_str(), it.remedy.as_str()))
            .collect();
        let remedy = "echo 'deny tst_u' >> /etc/doas.conf";
        assert_eq!(
            shown,
            [
                (
                    "doas, by its rule \"permit nopass tst_u as root cmd /usr/bin/vim\"",
                    COMMAND,
                    "/etc/doas.conf, line 1, for a fresh login of tst_u",
                    remedy
                ),
                (
                    "doas, by its rule \"permit persist :wheel\"",
                    WHY,
                    "/etc/doas.conf, line 2, for a process that runs already of tst_u",
                    remedy
                ),
            ]
        );
        assert!(judge(&us, &askers, file, &format!("{text}deny tst_u\n")).is_empty());
        let [unread] = &judge(&us, &askers, file, "permit {")[..] else { panic!() };
        assert_eq!(unread.grade, Grade::Undecided);
    }
}
