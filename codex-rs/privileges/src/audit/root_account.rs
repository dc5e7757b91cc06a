//! Root's own account: keys that let somebody log in as root, and other names for root's number or the account's.
//!
//! Of the keys in root's list those count whose other half lies in the account's `~/.ssh`. A key that the account keeps
//! elsewhere, or that somebody holds on another machine, can't be told from here.
//!
//! Source: sshd(8), sshd_config(5), passwd(5).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use codex_config::regular::read_regular;
use codex_config::shell_word;

use crate::finding::{Finding, Grade, let_root_look};
use crate::group_file::{Entry, Lists, PASSWD, Password, SHADOW};
use crate::leading::leading;
use crate::subject::Subject;
use held::HeldKeys;
use keys::{Listed, Sshd};

mod held;
mod keys;

const ROOT_KEYS: &str = "root_keys";
const UID_ALIAS: &str = "uid_alias";
const SSHD_CONFIG: &str = "/etc/ssh/sshd_config";
const SSHD_FOLDER: &str = "/etc/ssh/sshd_config.d";
const SERVERS: [&str; 4] =
    ["/usr/sbin/sshd", "/usr/sbin/dropbear", "/usr/local/sbin/sshd", "/usr/sbin/tinysshd"];
const LIMIT_BYTES: u64 = 1024 * 1024;
const MOST_FILES: usize = 200;
const ROOT_HOME: &str = "/root";

/// What root's account lets this one do.
pub(crate) fn look(subject: &Subject) -> Vec<Finding> {
    let lists = Lists::read();
    let mut found = look_at_keys(subject, &lists);
    found.extend(aliases(subject, &lists));
    found
}

/// The keys that root can log in with, and the lists that can't be read.
#[derive(Debug, Default)]
pub(crate) struct RootKeys {
    /// Each with the list that it stands in.
    listed: Vec<(PathBuf, Listed)>,
    unread: Vec<(PathBuf, io::Error)>,
    files: Vec<PathBuf>,
    refuses_root: bool,
}

impl RootKeys {
    /// As they are now.
    pub(crate) fn read(lists: &Lists) -> Self {
        let sshd = sshd();
        let home = lists.entry("root").map_or(Path::new(ROOT_HOME), |root| root.home.as_path());
        let mut keys = Self {
            files: sshd.files(home),
            refuses_root: sshd.refuses_root || !SERVERS.iter().any(|it| Path::new(it).exists()),
            ..Self::default()
        };
        for file in keys.files.clone() {
            match read_regular(&file, LIMIT_BYTES) {
                Ok(None) => {}
                Ok(Some(bytes)) => {
                    let listed = keys::listed(&String::from_utf8_lossy(&bytes));
                    keys.listed.extend(listed.into_iter().map(|key| (file.clone(), key)));
                }
                Err(error) => keys.unread.push((file, error)),
            }
        }
        keys
    }

    /// Whether there are any.
    pub(crate) fn is_any(&self) -> bool {
        !self.listed.is_empty()
    }
}

/// What sshd's configuration says, as far as it stands where it usually does. Without a file it is what sshd does by
/// itself.
fn sshd() -> Sshd {
    let mut texts = Vec::new();
    let mut paths: Vec<PathBuf> = fs::read_dir(SSHD_FOLDER)
        .map(|entries| entries.take(MOST_FILES).filter_map(|it| Some(it.ok()?.path())).collect())
        .unwrap_or_default();
    paths.sort();
    for path in paths.into_iter().chain([PathBuf::from(SSHD_CONFIG)]) {
        if let Ok(Some(bytes)) = read_regular(&path, LIMIT_BYTES) {
            texts.push(String::from_utf8_lossy(&bytes).into_owned());
        }
    }
    Sshd::of(&texts)
}

fn look_at_keys(subject: &Subject, lists: &Lists) -> Vec<Finding> {
    let keys = RootKeys::read(lists);
    let mut found: Vec<Finding> = Vec::new();
    found.extend(unread(subject, &keys.unread));
    for file in &keys.files {
        found.extend(writable(subject, file));
    }
    if keys.is_any() {
        let held = held::held_keys(&subject.account.home);
        found.extend(judge(&keys, &held));
    }
    found
}

/// One for all lists: without root's rights none of them can be read.
fn unread(subject: &Subject, unread: &[(PathBuf, io::Error)]) -> Option<Finding> {
    let files: Vec<String> = unread.iter().map(|(file, _)| file.display().to_string()).collect();
    let errors = unread.iter().map(|(file, error)| format!("{}: {error}", file.display()));
    let seen = errors.collect::<Vec<_>>().join("; ");
    let why = "whether root can be logged in to with a key of this account can't be told";
    let remedy = if subject.is_root {
        format!(
            "look at it: ls -l {}",
            files.iter().map(|it| shell_word(it)).collect::<Vec<_>>().join(" ")
        )
    } else {
        let_root_look(&subject.account)
    };
    let finding = Finding::undecided(ROOT_KEYS, files.join(" and "), why);
    (!unread.is_empty()).then(|| finding.seen(seen).remedy(remedy))
}

/// A list that the account could add its key to.
fn writable(subject: &Subject, file: &Path) -> Option<Finding> {
    let ways = subject.ways_in(file);
    let why = "it says whose keys log in as root";
    let finding = Finding::open(ROOT_KEYS, format!("writing to {}", file.display()), why);
    (!ways.is_empty()).then(|| subject.told(finding, &ways))
}

fn judge(keys: &RootKeys, held: &HeldKeys) -> Vec<Finding> {
    let mut found = Vec::new();
    for (file, listed) in &keys.listed {
        let Some((own, _)) = held.keys.iter().find(|(_, blob)| *blob == listed.blob) else {
            continue;
        };
        let place = format!("{}, line {}", file.display(), listed.line);
        let mut finding = Finding::open(
            ROOT_KEYS,
            format!("the key {} in {}", own.display(), file.display()),
            "ssh root@localhost with it is root",
        )
        .seen(place)
        .remedy(format!(
            "take line {} out of {}",
            listed.line,
            shell_word(&file.to_string_lossy())
        ));
        if keys.refuses_root || listed.is_limited {
            finding.grade = Grade::Undecided;
            let because = if keys.refuses_root {
                "no ssh server was found that would let root in"
            } else {
                "the line allows one command alone"
            };
            finding.evidence = format!("{}; {because}", finding.evidence);
        }
        found.push(finding);
    }
    let why = "root's account can be logged in to with keys, and whether this is one can't be told";
    found.extend(held.unread.iter().map(|(path, because)| {
        Finding::undecided(ROOT_KEYS, path.display().to_string(), why)
            .seen(because.clone())
            .remedy("compare it with root's authorized_keys (ssh-keygen -lf)".to_owned())
    }));
    found
}

/// Other names in the list of accounts.
fn aliases(subject: &Subject, lists: &Lists) -> Vec<Finding> {
    let account = &subject.account;
    let mut found = Vec::new();
    for entry in &lists.entries {
        if entry.uid == 0 && entry.name != "root" {
            found.extend(name_of_root(subject, lists, entry));
        } else if entry.uid == account.uid && entry.name != account.name {
            found.push(name_of_account(subject, lists, entry));
        }
    }
    found
}

/// It is the account's to use where it asks for no password, or where its home or its shell is. Nobody's where no password
/// fits and it has no keys of its own.
fn name_of_root(subject: &Subject, lists: &Lists, entry: &Entry) -> Option<Finding> {
    let what = format!("the account {}", entry.name);
    let why = "it is root by another name: its uid is 0";
    let seen = |because: &str| format!("{PASSWD} has {}; {because}", entry.name);
    // userdel(8) would take its home along, which often is root's own.
    let name = shell_word(&entry.name);
    let remedy = format!("passwd -l {name}, then take the line of {name} out with vipw");
    let is_locked = lists.password(entry) == Password::Locked && lists.unread(SHADOW).is_none();
    let keys = entry.home.join(".ssh/authorized_keys");
    let has_keys = lists.entry("root").is_some_and(|root| root.home != entry.home)
        && fs::symlink_metadata(&keys).is_ok();
    let way = |path: &Path| subject.ways_in(path).first().map(|way| subject.way_words(way));
    let finding = if lists.password(entry) == Password::Empty {
        Finding::open(UID_ALIAS, what, why).seen(seen("its password is empty"))
    } else if entry.home == subject.account.home {
        Finding::open(UID_ALIAS, what, why).seen(seen("it has the same home as this account"))
    } else if let Some(words) = way(&entry.home).or_else(|| way(&entry.shell)) {
        Finding::open(UID_ALIAS, what, why).seen(seen(&words))
    } else if is_locked && !has_keys {
        return None;
    } else if is_locked {
        let because = format!("whose keys are in {} can't be told", keys.display());
        Finding::undecided(UID_ALIAS, what, why).seen(seen(&because))
    } else {
        Finding::undecided(UID_ALIAS, what, why).seen(seen("who can log in to it can't be told"))
    };
    Some(finding.remedy(remedy))
}

fn name_of_account(subject: &Subject, lists: &Lists, entry: &Entry) -> Finding {
    let groups: Vec<&str> = (lists.groups.iter())
        .filter(|group| lists.is_in(entry, group.gid) && leading(&group.name).is_some())
        .map(|group| group.name.as_str())
        .collect();
    let in_groups = if groups.is_empty() {
        String::new()
    } else {
        format!(", and a login under it gives the groups {}", groups.join(", "))
    };
    let why = "rules and groups for that name are for the same uid";
    Finding::undecided(UID_ALIAS, format!("the account {}", entry.name), why)
        .seen(format!("{PASSWD} has it with uid {}{in_groups}", subject.account.uid))
        .remedy(format!("look at what it may do: sudo -l -U {0}; id {0}", shell_word(&entry.name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::testing::subject;

    fn listed(line: usize, blob: &[u8], is_limited: bool) -> (PathBuf, Listed) {
        ("/root/.ssh/authorized_keys".into(), Listed { line, blob: blob.to_vec(), is_limited })
    }

    #[test]
    fn a_key_of_the_account_in_roots_list_is_a_way_in() {
        let held = HeldKeys {
            keys: vec![("/home/u/.ssh/id".into(), b"one".to_vec())],
            unread: vec![("/home/u/.ssh/old".into(), "an older form".to_owned())],
        };
        for (listed, refuses_root, expected) in [
            (listed(2, b"one", false), false, Some(Grade::Open)),
            (listed(2, b"one", true), false, Some(Grade::Undecided)),
            (listed(2, b"one", false), true, Some(Grade::Undecided)),
            (listed(2, b"two", false), false, None),
        ] {
            let keys = RootKeys { listed: vec![listed], refuses_root, ..RootKeys::default() };
            let found = judge(&keys, &held);
            let (last, others) = found.split_last().unwrap();
            assert_eq!((last.grade, last.what.as_str()), (Grade::Undecided, "/home/u/.ssh/old"));
            assert_eq!(others.first().map(|finding| finding.grade), expected);
            if let [finding] = others {
                let what = "the key /home/u/.ssh/id in /root/.ssh/authorized_keys";
                assert_eq!(finding.what, what);
                assert!(finding.evidence.starts_with("/root/.ssh/authorized_keys, line 2"));
            }
        }
    }

    #[test]
    fn other_names_of_root_and_of_the_account_are_found() {
        let us = subject(61_500, &[61_500]);
        let passwd = "root:x:0:0::/root:/bin/sh\ntst_u:x:61500:61500::/home/tst_u:/bin/sh\n\
                      empty::0:0::/nonexistent:/bin/sh\nhome:x:0:0::/home/tst_u:/bin/sh\n\
                      toor:x:0:0::/nonexistent:/bin/sh\nlocked:x:0:0::/nonexistent:/bin/sh\n\
                      twin:x:61500:61500::/home/twin:/bin/sh\n\
                      bob:x:61501:61501::/home/bob:/bin/sh\n";
        let shadow = "toor:$6$salt$hashhashhash:1::::::\nlocked:!:1::::::\n";
        let lists = Lists::of("sudo:x:27:twin\n", "", passwd, shadow);
        let found = aliases(&us, &lists);
        let shown: Vec<_> = found.iter().map(|it| (it.grade, it.what.as_str())).collect();
        assert_eq!(
            shown,
            [
                (Grade::Open, "the account empty"),
                (Grade::Open, "the account home"),
                (Grade::Undecided, "the account toor"),
                (Grade::Undecided, "the account twin"),
            ]
        );
        assert!(found[3].evidence.ends_with("gives the groups sudo"));
        let remedy = "passwd -l toor, then take the line of toor out with vipw";
        assert_eq!(found[2].remedy, remedy);
    }
}
