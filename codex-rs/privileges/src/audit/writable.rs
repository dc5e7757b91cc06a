//! Paths of the system that the account could change: the folders that root's programs, libraries and settings are in; and
//! what root's shells would find by name.
//!
//! Below a folder that is open nothing more is told.

use std::fs;
use std::path::{Path, PathBuf};

use codex_config::shell_word;

use super::reach::Through;
use crate::finding::{Closing, Finding};
use crate::subject::{Subject, account_name, group_name, left_by};

mod path_folders;
mod programs;
mod search;

use path_folders::path_folders;
use search::{Entry, search};

const CHECK: &str = "writable";

/// Links among them lead to others of them.
const SEARCHED: [&str; 16] = [
    "/etc",
    "/boot",
    "/root",
    "/var/spool/cron",
    "/var/spool/at",
    "/var/spool/anacron",
    "/var/lib/dpkg",
    "/var/lib/systemd",
    "/var/lib/polkit-1",
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
];

/// Where nothing lies that root runs or goes by.
const HARMLESS: [&str; 12] = [
    "/usr/src",
    "/usr/include",
    "/usr/games",
    "/usr/share/doc",
    "/usr/share/man",
    "/usr/share/info",
    "/usr/share/fonts",
    "/usr/share/icons",
    "/usr/local/src",
    "/usr/local/include",
    "/usr/local/games",
    "/usr/local/share",
];

/// What of /etc root, or each login, goes by. Of other things there it depends on who reads them.
const GOVERNING: &[&str] = &[
    "passwd",
    "shadow",
    "group",
    "gshadow",
    "subuid",
    "subgid",
    "sudoers",
    "sudo.conf",
    "doas.conf",
    "pam.",
    "nsswitch.conf",
    "security",
    "ssh",
    "login.defs",
    "environment",
    "profile",
    "bash.bashrc",
    "bashrc",
    "zsh",
    "ld.so",
    "cron",
    "crontab",
    "anacrontab",
    "at.",
    "systemd",
    "init.d",
    "rc",
    "inittab",
    "default",
    "udev",
    "polkit-1",
    "dbus-1",
    "apt",
    "dpkg",
    "yum",
    "dnf",
    "fstab",
    "modprobe.d",
    "modules",
    "sysctl",
    "update-motd.d",
    "logrotate",
    "alternatives",
    "docker",
    "NetworkManager",
    "network",
    "networkd-dispatcher",
    "ppp",
    "dhcp",
    "acpi",
    "initramfs-tools",
    "dracut",
    "kernel",
    "grub.d",
    "tmpfiles.d",
    "sysusers.d",
    "binfmt.d",
    "ca-certificates",
    "sysconfig",
    "rsyslog",
    "X11",
    "gdm",
    "lightdm",
    "sddm",
    "supervisor",
    "monit",
];

/// As many are told one by one.
const MOST: usize = 50;

pub(crate) fn look(subject: &Subject) -> Vec<Finding> {
    let folders = path_folders();
    // Not links: what those lead to is what counts.
    let others = folders.iter().filter_map(|folder| fs::canonicalize(folder).ok());
    let others = others.filter(|folder| !is_searched(folder));
    let mut tops = there(SEARCHED.iter().map(PathBuf::from).chain(others));
    tops.sort();
    tops.dedup();
    let searched = search(subject, &tops);
    let missed = searched.missed_words();
    let is_told = |place: &Path| place.ancestors().any(|above| searched.open.contains_key(above));
    let by_name = programs::look(subject, &folders, &is_told);
    let mut findings = judge(subject, searched.open.values());
    findings.extend(by_name.into_iter().take(MOST));
    if let Some(missed) = missed {
        let what = "paths of the system that could not be searched";
        let why = "what the account can change there can't be told";
        let remedy = "look by hand: find / -xdev -writable, as the account";
        findings.push(Finding::undecided(CHECK, what, why).seen(missed).remedy(remedy));
    }
    findings
}

/// Folders that are there and are no links.
fn there(tops: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
    let is_folder = |top: &PathBuf| fs::symlink_metadata(top).is_ok_and(|found| found.is_dir());
    tops.filter(is_folder).collect()
}

fn is_searched(folder: &Path) -> bool {
    SEARCHED.iter().any(|top| folder.starts_with(top))
}

fn judge<'e>(subject: &Subject, entries: impl Iterator<Item = &'e Entry>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    let mut more = 0_usize;
    for entry in entries {
        if findings.len() < MOST {
            findings.push(finding(subject, entry));
        } else {
            more += 1;
        }
    }
    if more > 0 {
        let what = "more paths of the system that this account can change";
        let finding = Finding::open(CHECK, what, "root runs or goes by what is there");
        let remedy = "mend those that are named, and look again";
        findings.push(finding.seen(format!("and {more} more")).remedy(remedy));
    }
    findings
}

fn finding(subject: &Subject, entry: &Entry) -> Finding {
    let owned = &entry.owned;
    let path = &owned.path;
    let what = path.display().to_string();
    let finding = if is_roots_own(path) {
        let why = if entry.is_folder {
            "what is put there, root runs or goes by"
        } else {
            "root runs it or goes by it"
        };
        Finding::open(CHECK, what, why)
    } else {
        Finding::undecided(CHECK, what, "whether root runs it or goes by it can't be told")
    };
    let through = if owned.uid == subject.account.uid {
        Through::Owner
    } else if entry.is_listed {
        Through::List
    } else {
        owned.through(subject, 0o2).unwrap_or(Through::List)
    };
    let place = shell_word(&path.to_string_lossy());
    let (way, remedy) = match through {
        Through::Owner => {
            let account = account_name(owned.uid);
            (format!("it belongs to {account}"), format!("chown 0:0 {place}"))
        }
        Through::Group(gid) => {
            let group = group_name(gid);
            (format!("the group {group} can write to it"), format!("chmod g-w {place}"))
        }
        Through::Everyone => ("everyone can write to it".to_owned(), format!("chmod o-w {place}")),
        Through::List => (
            "an access control list lets this account write to it".to_owned(),
            format!("setfacl -b {place} && chmod go-w {place}"),
        ),
    };
    let finding = finding.seen(format!("{}: {way}", owned.words())).remedy(remedy);
    match through {
        Through::Group(gid) if left_by(subject, gid).is_some() => {
            finding.closed_by(Closing::Groups)
        }
        _ => finding,
    }
}

/// Whether root surely goes by it.
fn is_roots_own(path: &Path) -> bool {
    if HARMLESS.iter().any(|top| path.starts_with(top)) {
        return false;
    }
    let Ok(inner) = path.strip_prefix("/etc") else { return true };
    let Some(first) = inner.components().next() else { return true };
    let first = first.as_os_str().to_string_lossy();
    GOVERNING.iter().any(|begin| first.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::reach::Owned;
    use crate::finding::Grade;
    use crate::subject::testing::subject;

    #[test]
    fn what_root_surely_goes_by_is_open_and_the_rest_is_undecided() {
        for (path, expected) in [
            ("/etc", true),
            ("/etc/passwd", true),
            ("/etc/sudoers.d/x", true),
            ("/etc/cron.d", true),
            ("/etc/ld.so.preload", true),
            ("/etc/NetworkManager/dispatcher.d/x", true),
            ("/etc/ppp/ip-up", true),
            ("/etc/motd", false),
            ("/etc/x/y.conf", false),
            ("/usr", true),
            ("/usr/local/bin/x", true),
            ("/usr/local/lib/node_modules", true),
            ("/usr/local/share/fonts", false),
            ("/usr/share", true),
            ("/boot/vmlinuz", true),
            ("/opt/x/bin", true),
        ] {
            assert_eq!(is_roots_own(Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn each_way_has_its_words_its_remedy_and_what_closes_it() {
        let mut us = subject(61_500, &[61_500, 61_501, 61_502]);
        us.account.groups[1].name = Some("staff".to_owned());
        for (uid, gid, mode, remedy, closed_by) in [
            (61_500, 0, 0o444, "chown 0:0 '/etc/a b'", None),
            (0, 61_501, 0o664, "chmod g-w '/etc/a b'", Some(Closing::Groups)),
            (0, 61_502, 0o664, "chmod g-w '/etc/a b'", None),
            (0, 0, 0o666, "chmod o-w '/etc/a b'", None),
            (0, 61_509, 0o664, "setfacl -b '/etc/a b' && chmod go-w '/etc/a b'", None),
        ] {
            let owned = Owned { path: "/etc/a b".into(), uid, gid, mode };
            let is_listed = gid == 61_509;
            let found = finding(&us, &Entry { owned, is_folder: false, is_listed });
            assert_eq!((found.remedy.as_str(), found.closed_by), (remedy, closed_by));
            assert_eq!((found.what.as_str(), found.grade), ("/etc/a b", Grade::Undecided));
        }
    }

    #[test]
    fn more_than_can_be_read_are_counted() {
        let us = subject(61_500, &[61_500]);
        let entry = |at: u32| {
            let owned =
                Owned { path: format!("/etc/{at}").into(), uid: 61_500, gid: 0, mode: 0o644 };
            Entry { owned, is_folder: false, is_listed: false }
        };
        let entries: Vec<Entry> = (0..60).map(entry).collect();
        assert_eq!(judge(&us, entries.iter().take(50)).len(), 50);
        let found = judge(&us, entries.iter());
        assert_eq!((found.len(), found[50].evidence.as_str()), (51, "and 10 more"));
    }
}
