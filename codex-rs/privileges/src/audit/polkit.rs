//! polkit: who proves to be an administrator with a password of their own, and rules that ask for none.
//!
//! Its rules are programs in JavaScript. Who its administrators are is nearly always written out in them and is taken at its
//! word; what any other rule comes to is not told from its text, only that it speaks of this account.
//!
//! polkit asks the lists of groups and not the process, so that what a process still has from before does not count.
//!
//! Source: polkit(8), pklocalauthority(8).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use codex_config::regular::read_regular;
use codex_config::shell_word;

use crate::account::Account;
use crate::audit::setuid::packages::{Owner, owners};
use crate::finding::{Closing, Finding, let_root_look};
use crate::group_file::Lists;
use crate::leading::leading;
use crate::subject::Subject;
use script::{Rule, rules};

mod script;

const CHECK: &str = "polkit";
const DAEMONS: [&str; 5] = [
    "/usr/lib/polkit-1/polkitd",
    "/usr/libexec/polkitd",
    "/usr/libexec/polkit-1/polkitd",
    "/usr/lib/policykit-1/polkitd",
    "/usr/lib/polkitd",
];
const RULES: [&str; 4] = [
    "/etc/polkit-1/rules.d",
    "/run/polkit-1/rules.d",
    "/usr/local/share/polkit-1/rules.d",
    "/usr/share/polkit-1/rules.d",
];
/// Those of older versions, and of newer ones with a program for them.
const AUTHORITIES: [&str; 3] = [
    "/etc/polkit-1/localauthority",
    "/var/lib/polkit-1/localauthority",
    "/etc/polkit-1/localauthority.conf.d",
];
/// Debian's bridge to those: it only asks programs what they say, and that is read here anyway.
const BRIDGE: &str = "/usr/share/polkit-1/rules.d/49-polkit-pkla-compat.rules";
const LIMIT_BYTES: u64 = 1024 * 1024;
const MOST_FILES: usize = 2_000;
const DEEPEST: usize = 3;

const ADMINISTRATOR: &str =
    "whoever polkit takes for an administrator becomes root with pkexec and their own password";
const RULE: &str = "it speaks of this account and can grant things without an administrator's password; \
                    what it allows can't be told by reading it";

/// What polkit would let the account do.
pub(crate) fn look(subject: &Subject) -> Vec<Finding> {
    if !DAEMONS.iter().any(|daemon| Path::new(daemon).exists()) {
        return Vec::new();
    }
    let names = Names::of(&subject.account, &Lists::read());
    let (mut files, mut found) = (Vec::new(), Vec::new());
    for folder in RULES.into_iter().chain(AUTHORITIES) {
        if let Err(error) = collect(Path::new(folder), DEEPEST, &mut files) {
            found.push(unread(subject, folder, &error));
        }
    }
    files.retain(|file| !is_only_for_authorities(file));
    for file in files {
        match read_regular(&file, LIMIT_BYTES) {
            Ok(Some(bytes)) => found.extend(judge(&file, &String::from_utf8_lossy(&bytes), &names)),
            Ok(None) => {}
            Err(error) => found.push(unread(subject, &file.to_string_lossy(), &error)),
        }
    }
    found
}

/// Whether it is the bridge, as a package has brought it.
fn is_only_for_authorities(file: &Path) -> bool {
    file == Path::new(BRIDGE) && matches!(owners(&[file])[..], [Owner::Package(_)])
}

fn unread(subject: &Subject, place: &str, error: &io::Error) -> Finding {
    Finding::undecided(CHECK, place, "what polkit's rules there allow can't be told")
        .seen(format!("it can't be read: {error}"))
        .remedy(let_root_look(&subject.account))
}

/// The files in a folder and those below it that polkit reads, in an order that stays the same.
fn collect(folder: &Path, deepest: usize, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut paths = Vec::new();
    for entry in entries.take(MOST_FILES) {
        let entry = entry?;
        paths.push((entry.path(), entry.file_type()?.is_dir()));
    }
    paths.sort();
    for (path, is_folder) in paths {
        if is_folder && deepest > 0 {
            collect(&path, deepest - 1, files)?;
        } else if kind_of(&path).is_some() && files.len() < MOST_FILES {
            files.push(path);
        }
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Script,
    /// Sections of `Identity=` and `Result…=`.
    Authority,
    /// `AdminIdentities=`
    Administrators,
}

fn kind_of(path: &Path) -> Option<Kind> {
    match path.extension()?.to_str()? {
        "rules" => Some(Kind::Script),
        "pkla" => Some(Kind::Authority),
        "conf" => Some(Kind::Administrators),
        _ => None,
    }
}

/// What polkit can call the account by.
struct Names {
    account: String,
    uid: u32,
    groups: Vec<(u32, String)>,
}

/// How something speaks of the account.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Spoken {
    Account,
    Group(String),
    Everybody,
}

impl Names {
    fn of(account: &Account, lists: &Lists) -> Self {
        let mut groups = Vec::new();
        for membership in &account.groups {
            let listed = lists.names_of(membership.gid).map(str::to_owned);
            for name in membership.name.clone().into_iter().chain(listed) {
                if !groups.contains(&(membership.gid, name.clone())) {
                    groups.push((membership.gid, name));
                }
            }
        }
        Self { account: account.name.clone(), uid: account.uid, groups }
    }

    fn group(&self, pattern: &str) -> Option<Spoken> {
        let fits =
            |(gid, name): &&(u32, String)| is_like(pattern, name) || pattern == gid.to_string();
        self.groups.iter().find(fits).map(|(_, name)| Spoken::Group(name.clone()))
    }

    fn account(&self, pattern: &str) -> Option<Spoken> {
        let fits = is_like(pattern, &self.account) || pattern == self.uid.to_string();
        fits.then_some(Spoken::Account)
    }

    /// `unix-group:NAME` or `unix-user:NAME`.
    fn identity(&self, text: &str) -> Option<Spoken> {
        match text.trim().split_once(':')? {
            ("unix-group", group) => self.group(group),
            ("unix-user", user) => self.account(user),
            _ => None,
        }
    }
}

/// Whether a pattern with `*` and `?` fits.
fn is_like(pattern: &str, text: &str) -> bool {
    let mut rest = pattern.chars();
    match rest.next() {
        None => text.is_empty(),
        Some('*') => {
            let rest = rest.as_str();
            let cuts = text.char_indices().map(|(place, _)| place).chain([text.len()]);
            cuts.into_iter().any(|place| is_like(rest, &text[place..]))
        }
        Some(letter) => {
            let mut of = text.chars();
            let fits = of.next().is_some_and(|other| letter == '?' || letter == other);
            fits && is_like(rest.as_str(), of.as_str())
        }
    }
}

fn judge(file: &Path, text: &str, names: &Names) -> Vec<Finding> {
    let (administrators, mentions) = match kind_of(file) {
        Some(Kind::Script) => judge_script(text, names),
        Some(Kind::Authority) => (Vec::new(), authority(text, names)),
        Some(Kind::Administrators) => (administrators(text, names), Vec::new()),
        None => return Vec::new(),
    };
    let mut found: Vec<Finding> = Vec::new();
    let mut add = |finding: Finding| {
        if !found.iter().any(|other| other.is_same(&finding)) {
            found.push(finding);
        }
    };
    for spoken in administrators {
        add(administrator(file, &spoken, names));
    }
    if !mentions.is_empty() {
        add(mentioned(file, &mentions));
    }
    found
}

fn administrator(file: &Path, spoken: &Spoken, names: &Names) -> Finding {
    let place = file.display();
    let path = shell_word(&file.to_string_lossy());
    match spoken {
        Spoken::Group(group) => {
            let finding = Finding::open(
                CHECK,
                format!("polkit's administrators: the group {group}"),
                ADMINISTRATOR,
            )
            .seen(format!("{place} names the group, and {} is in it", names.account))
            .remedy(format!(
                "gpasswd -d {} {}",
                shell_word(&names.account),
                shell_word(group)
            ));
            if is_left(spoken) { finding.closed_by(Closing::Groups) } else { finding }
        }
        Spoken::Account => {
            let what = format!("polkit's administrators: {}", names.account);
            Finding::open(CHECK, what, ADMINISTRATOR)
                .seen(format!("{place} names the account"))
                .remedy(format!("take the account out of {path}"))
        }
        Spoken::Everybody => {
            Finding::undecided(CHECK, format!("polkit's administrators by {place}"), ADMINISTRATOR)
                .seen("who they are is worked out there, or looked up elsewhere")
                .remedy(format!("read {path}"))
        }
    }
}

fn mentioned(file: &Path, mentions: &[Spoken]) -> Finding {
    let words: Vec<String> = mentions
        .iter()
        .map(|spoken| match spoken {
            Spoken::Account => "the account".to_owned(),
            Spoken::Group(group) => format!("its group {group}"),
            Spoken::Everybody => "everybody".to_owned(),
        })
        .collect();
    let finding =
        Finding::undecided(CHECK, format!("the rules of polkit in {}", file.display()), RULE)
            .seen(format!("it speaks of {}", words.join(", ")))
            .remedy(format!("read {}", shell_word(&file.to_string_lossy())));
    if mentions.iter().all(is_left) { finding.closed_by(Closing::Groups) } else { finding }
}

/// Whether it is over once the groups are left that lead to root.
fn is_left(spoken: &Spoken) -> bool {
    matches!(spoken, Spoken::Group(group) if leading(group).is_some())
}

/// The administrators that a script names, and what else it says of the account.
fn judge_script(text: &str, names: &Names) -> (Vec<Spoken>, Vec<Spoken>) {
    let (mut administrators, mut mentions) = (Vec::new(), Vec::new());
    let mut mention = |spoken: Spoken| {
        if !mentions.contains(&spoken) {
            mentions.push(spoken);
        }
    };
    for rule in rules(text) {
        if rule.is_about_administrators {
            administrators.extend(rule.texts.iter().filter_map(|text| names.identity(text)));
            if !rule.texts.iter().any(|text| is_whole_identity(text)) {
                administrators.push(Spoken::Everybody);
            }
        } else if rule.grants() {
            spoken_of(&rule, names).into_iter().for_each(&mut mention);
        }
    }
    (administrators, mentions)
}

/// A text that names somebody by itself, and is not the beginning of a name that the script puts together.
fn is_whole_identity(text: &str) -> bool {
    let parts = text.split_once(':');
    parts.is_some_and(|(kind, name)| matches!(kind, "unix-user" | "unix-group") && !name.is_empty())
}

fn spoken_of(rule: &Rule, names: &Names) -> Vec<Spoken> {
    if !rule.asks_who() {
        return vec![Spoken::Everybody];
    }
    let account = rule.texts.contains(&names.account).then_some(Spoken::Account);
    let groups = rule.texts.iter().filter(|_| rule.asks_for_groups()).filter_map(|text| {
        let mut groups = names.groups.iter();
        groups.find(|(_, name)| name == text).map(|(_, name)| Spoken::Group(name.clone()))
    });
    account.into_iter().chain(groups).collect()
}

/// A `.pkla` file: sections, each with whom it is about and what they get.
fn authority(text: &str, names: &Names) -> Vec<Spoken> {
    let mut found = Vec::new();
    let (mut spoken, mut grants) = (Vec::new(), false);
    for line in text.lines().map(str::trim).chain(["["]) {
        if line.starts_with('[') {
            let section: Vec<Spoken> = std::mem::take(&mut spoken);
            if std::mem::take(&mut grants) {
                found.extend(section);
            }
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        match key.trim() {
            "Identity" => spoken.extend(value.split(';').filter_map(|text| names.identity(text))),
            "ResultAny" | "ResultInactive" | "ResultActive" => {
                grants |= value.contains("yes") || value.contains("auth_self");
            }
            _ => {}
        }
    }
    found
}

/// `AdminIdentities=` of `localauthority.conf.d`.
fn administrators(text: &str, names: &Names) -> Vec<Spoken> {
    let lines = text.lines().filter_map(|line| line.split_once('='));
    let values = lines.filter(|(key, _)| key.trim() == "AdminIdentities").map(|(_, value)| value);
    values.flat_map(|value| value.split(';')).filter_map(|text| names.identity(text)).collect()
}

#[cfg(test)]
mod tests;
