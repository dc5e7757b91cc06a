//! The system's own lists of accounts and groups, line by line.
//!
//! A line that means nothing is skipped, as the C library does. What a directory (LDAP, …) adds is not in them.
//!
//! Source: passwd(5), shadow(5), group(5), gshadow(5).

use std::path::{Path, PathBuf};

use codex_config::regular::read_regular;

const LIMIT_BYTES: u64 = 16 * 1024 * 1024;
/// As long as the shortest hash that crypt(5) makes.
const SHORTEST_HASH: usize = 13;

/// What a password field says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Password {
    /// No password fits, or it is kept elsewhere (`x`).
    Locked,
    /// None is asked for.
    Empty,
    /// There is one.
    Set,
}

/// A line of `/etc/group`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) password: Password,
    pub(crate) gid: u32,
    pub(crate) members: Vec<String>,
}

/// A line of `/etc/gshadow`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShadowedGroup {
    pub(crate) name: String,
    pub(crate) password: Password,
    pub(crate) administrators: Vec<String>,
    pub(crate) members: Vec<String>,
}

/// A line of `/etc/passwd`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) password: Password,
    /// Whether the password stands in `/etc/shadow`.
    pub(crate) is_shadowed: bool,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) home: PathBuf,
    pub(crate) shell: PathBuf,
}

/// A line of `/etc/shadow`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShadowedEntry {
    pub(crate) name: String,
    pub(crate) password: Password,
}

/// A list that is there and can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unread {
    pub(crate) file: &'static str,
    pub(crate) because: String,
}

/// All four lists. One that is not there is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lists {
    pub(crate) groups: Vec<Group>,
    pub(crate) shadowed_groups: Vec<ShadowedGroup>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) shadowed_entries: Vec<ShadowedEntry>,
    pub(crate) unread: Vec<Unread>,
}

pub(crate) const GROUP: &str = "/etc/group";
pub(crate) const GSHADOW: &str = "/etc/gshadow";
pub(crate) const PASSWD: &str = "/etc/passwd";
pub(crate) const SHADOW: &str = "/etc/shadow";

impl Lists {
    /// As they are now.
    pub(crate) fn read() -> Self {
        let mut unread = Vec::new();
        let mut text = |file| {
            read(file).unwrap_or_else(|because| {
                unread.push(Unread { file, because });
                String::new()
            })
        };
        let lists = Self::of(&text(GROUP), &text(GSHADOW), &text(PASSWD), &text(SHADOW));
        Self { unread, ..lists }
    }

    /// From their texts.
    pub(crate) fn of(group: &str, gshadow: &str, passwd: &str, shadow: &str) -> Self {
        Self {
            groups: lines(group).filter_map(|fields| group_of(&fields)).collect(),
            shadowed_groups: lines(gshadow).filter_map(|fields| gshadow_of(&fields)).collect(),
            entries: lines(passwd).filter_map(|fields| passwd_of(&fields)).collect(),
            shadowed_entries: lines(shadow).filter_map(|fields| shadow_of(&fields)).collect(),
            unread: Vec::new(),
        }
    }

    /// Why this one can't be read, if so.
    pub(crate) fn unread(&self, file: &str) -> Option<&Unread> {
        self.unread.iter().find(|unread| unread.file == file)
    }

    /// All names of a number: several groups can have the same one, and the kernel knows numbers alone.
    pub(crate) fn names_of(&self, gid: u32) -> impl Iterator<Item = &str> {
        self.groups.iter().filter(move |group| group.gid == gid).map(|group| group.name.as_str())
    }

    /// The line of `/etc/gshadow` that counts for a group.
    pub(crate) fn shadowed_group(&self, name: &str) -> Option<&ShadowedGroup> {
        self.shadowed_groups.iter().find(|group| group.name == name)
    }

    /// The password of a group: that of gshadow(5) comes before that of group(5).
    pub(crate) fn group_password(&self, group: &Group) -> Password {
        self.shadowed_group(&group.name).map_or(group.password, |shadowed| shadowed.password)
    }

    /// The password of an account. One that stands in `/etc/passwd` itself counts, also an empty one.
    pub(crate) fn password(&self, entry: &Entry) -> Password {
        if !entry.is_shadowed {
            return entry.password;
        }
        let mut shadowed = self.shadowed_entries.iter();
        let found = shadowed.find(|shadowed| shadowed.name == entry.name);
        found.map_or(Password::Locked, |shadowed| shadowed.password)
    }

    /// An account by its name.
    pub(crate) fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    /// Whether these lists say that an account is in a group of this number.
    pub(crate) fn is_in(&self, entry: &Entry, gid: u32) -> bool {
        let is_listed = |group: &Group| group.gid == gid && group.members.contains(&entry.name);
        entry.gid == gid || self.groups.iter().any(is_listed)
    }
}

fn read(file: &'static str) -> Result<String, String> {
    let bytes = read_regular(Path::new(file), LIMIT_BYTES).map_err(|error| error.to_string())?;
    let bytes = bytes.unwrap_or_default();
    if u64::try_from(bytes.len()).is_ok_and(|length| length < LIMIT_BYTES) {
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    } else {
        Err(format!("it is longer than {LIMIT_BYTES} bytes"))
    }
}

/// The fields of each line that names something. (`+` and `-` are NIS's.)
fn lines(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let meant = |line: &&str| !line.is_empty() && !line.starts_with(['#', '+', '-', ':']);
    text.lines().map(str::trim_start).filter(meant).map(|line| line.split(':').collect())
}

fn group_of(fields: &[&str]) -> Option<Group> {
    let [name, password, gid, rest @ ..] = fields else { return None };
    Some(Group {
        name: (*name).to_owned(),
        password: password_of(password),
        gid: number(gid)?,
        members: names(rest.first()),
    })
}

fn gshadow_of(fields: &[&str]) -> Option<ShadowedGroup> {
    let [name, password, rest @ ..] = fields else { return None };
    Some(ShadowedGroup {
        name: (*name).to_owned(),
        password: password_of(password),
        administrators: names(rest.first()),
        members: names(rest.get(1)),
    })
}

fn passwd_of(fields: &[&str]) -> Option<Entry> {
    let [name, password, uid, gid, _, home, shell, ..] = fields else { return None };
    // An empty shell is this one: passwd(5).
    let shell = if shell.is_empty() { "/bin/sh" } else { *shell };
    Some(Entry {
        name: (*name).to_owned(),
        password: password_of(password),
        is_shadowed: *password == "x",
        uid: number(uid)?,
        gid: number(gid)?,
        home: PathBuf::from(*home),
        shell: PathBuf::from(shell),
    })
}

fn shadow_of(fields: &[&str]) -> Option<ShadowedEntry> {
    let [name, password, ..] = fields else { return None };
    Some(ShadowedEntry { name: (*name).to_owned(), password: password_of(password) })
}

/// What is no hash fits no password.
fn password_of(field: &str) -> Password {
    match field {
        "" => Password::Empty,
        _ if field.starts_with(['!', '*']) => Password::Locked,
        _ if field.starts_with('$') || field.len() >= SHORTEST_HASH => Password::Set,
        _ => Password::Locked,
    }
}

fn number(field: &str) -> Option<u32> {
    // `parse` alone would take a plus sign.
    field.bytes().all(|byte| byte.is_ascii_digit()).then(|| field.parse().ok()).flatten()
}

fn names(field: Option<&&str>) -> Vec<String> {
    let names = field.copied().unwrap_or_default().split(',').map(str::trim);
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_field_is_locked_empty_or_set() {
        for (field, expected) in [
            ("", Password::Empty),
            ("x", Password::Locked),
            ("*", Password::Locked),
            ("!", Password::Locked),
            ("!!", Password::Locked),
            ("!$6$salt$hash", Password::Locked), // passwd -l
            ("*NP*", Password::Locked),
            ("$6$salt$hash", Password::Set),
            ("$y$j9T$salt$hash", Password::Set),
            ("ab1234567890.", Password::Set), // DES
            ("_J9..K0AyUubN.cQC1", Password::Set),
        ] {
            assert_eq!(password_of(field), expected, "{field:?}");
        }
    }

    #[test]
    fn groups_are_read_and_lines_that_mean_nothing_are_skipped() {
        let text = "root:x:0:\nsudo:x:27:alice, bob,,\n  indented::30\n# no:x:1:\n+nis:x:2:\n\
                    -nis\n:x:3:\nbroken\nplus:x:+4:\nnegative:x:-4:\nlarge:x:4294967296:\nempty:x::\n";
        let lists = Lists::of(text, "", "", "");
        let found: Vec<_> = lists
            .groups
            .iter()
            .map(|group| (group.name.as_str(), group.gid, group.members.join(" ")))
            .collect();
        let expected = [("root", 0, ""), ("sudo", 27, "alice bob"), ("indented", 30, "")];
        assert_eq!(found, expected.map(|(name, gid, members)| (name, gid, members.to_owned())));
        assert_eq!(lists.groups[2].password, Password::Empty);
    }

    #[test]
    fn administrators_and_members_of_gshadow_are_told_apart() {
        let lists =
            Lists::of("", "sudo:!:alice,bob:carol\nempty:*::\nshort:$6$a$b\nbroken\n", "", "");
        let [sudo, empty, short] = &lists.shadowed_groups[..] else { panic!("{lists:?}") };
        assert_eq!(sudo.administrators, ["alice", "bob"]);
        assert_eq!(sudo.members, ["carol"]);
        assert_eq!((empty.password, empty.members.len()), (Password::Locked, 0));
        assert_eq!((short.password, short.administrators.len()), (Password::Set, 0));
    }

    #[test]
    fn a_password_is_taken_from_where_the_system_takes_it() {
        let passwd = "a:x:1:1::/home/a:/bin/sh\nb::2:2::/:\nc:x:3:3::/:/bin/false\nd:$6$s$h:4:4::/:/bin/sh\n\
                      broken:x:5\ne:x:5:x::/:\n";
        let shadow = "a:$6$s$h:1::::::\nb:$6$s$h:1::::::\nd:*:1::::::\n";
        let lists = Lists::of("g::7:a\nh::8:\n", "g:$6$s$h::\n", passwd, shadow);
        let found: Vec<_> =
            lists.entries.iter().map(|entry| (&*entry.name, lists.password(entry))).collect();
        assert_eq!(
            found,
            [
                ("a", Password::Set),
                ("b", Password::Empty), // passwd(5) itself says so, and PAM believes it.
                ("c", Password::Locked),
                ("d", Password::Set),
            ]
        );
        assert_eq!(lists.entry("b").unwrap().shell, Path::new("/bin/sh"));
        assert_eq!(lists.group_password(&lists.groups[0]), Password::Set);
        assert_eq!(lists.group_password(&lists.groups[1]), Password::Empty);
        let [a, b, ..] = &lists.entries[..] else { panic!("{lists:?}") };
        assert!(lists.is_in(a, 7) && lists.is_in(a, 1));
        assert!(!lists.is_in(b, 7) && !lists.is_in(b, 8));
    }

    #[test]
    fn a_number_has_all_its_names() {
        let lists = Lists::of("sudo:x:27:\nother:x:27:\nthird:x:28:\n", "", "", "");
        assert_eq!(lists.names_of(27).collect::<Vec<_>>(), ["sudo", "other"]);
    }
}
