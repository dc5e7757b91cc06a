//! Whose configuration a verb is about. Root never writes into somebody else's home: it becomes that account first, and for
//! good. Nor does it write as root where somebody else could have led it.

use std::collections::BTreeSet;
use std::env;
use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use codex_config::CodexHome;
use codex_path_trust::{Groups, Lists, Sticky, Trust, ways_in};
use nix::errno::Errno;
use nix::unistd::{Gid, Uid, User, geteuid, getuid, setgid, setuid};

use super::error::CommandError;
use super::host::{account, home};

/// Whose configuration it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// This account's, where its environment says.
    Ours,
    /// Somebody else's, whom root is to become.
    Of(Other),
}

/// Another account than root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Other {
    uid: u32,
    gid: u32,
    /// `None` where the number has no entry in passwd(5).
    name: Option<String>,
    /// Its home folder, if it has an entry.
    home: Option<PathBuf>,
    /// Whether its configuration lies in that home; else it lies where root's environment says.
    at_home: bool,
}

/// What a person's environment says, and what is there.
struct Surroundings {
    /// The account that called sudo.
    sudo_uid: Option<u32>,
    /// Whether CODEX_HOME says something.
    is_named: bool,
    /// Uid and gid of the folder that it, or else HOME, names.
    owner: Option<(u32, u32)>,
}

/// Finds out, with the name after `--user` if there is one.
pub(crate) fn whose(named: Option<&str>) -> Result<Whose, CommandError> {
    let is_root = geteuid().is_root();
    match named {
        Some(user) if !is_root => Err(CommandError::OnlyRootForOthers { user: user.to_owned() }),
        Some(user) => by_name(user),
        None if is_root => by_folder(&surroundings()),
        None => Ok(Whose::Ours),
    }
}

fn by_name(user: &str) -> Result<Whose, CommandError> {
    let no_such = |source| CommandError::NoSuchUser { user: user.to_owned(), source };
    let entry = match user.parse() {
        Ok(uid) => User::from_uid(Uid::from_raw(uid)),
        Err(_) => User::from_name(user),
    };
    match entry {
        Ok(Some(entry)) if entry.uid.is_root() => Ok(Whose::Ours),
        Ok(Some(entry)) => Ok(Whose::Of(Other::of(entry, /*at_home*/ true))),
        Ok(None) => Err(no_such(None)),
        Err(errno) => Err(no_such(Some(io::Error::from(errno)))),
    }
}

fn surroundings() -> Surroundings {
    let codex_home = variable("CODEX_HOME");
    let is_named = codex_home.is_some();
    let folder = codex_home.or_else(home).map(PathBuf::from);
    let owner = folder.and_then(|folder| owner_of(folder.as_os_str()));
    let sudo_uid = env::var("SUDO_UID").ok().and_then(|uid| uid.parse().ok());
    Surroundings { sudo_uid, is_named, owner }
}

/// Uid and gid. A link's own: what it leads to is whoever's who made the link wants it to be.
fn owner_of(folder: &OsStr) -> Option<(u32, u32)> {
    // Without the slash at its end, with which a link would be followed.
    let folder: PathBuf = Path::new(folder).components().collect();
    let found = fs::symlink_metadata(folder).ok()?;
    Some((found.uid(), found.gid()))
}

/// For root, when nobody was named.
fn by_folder(seen: &Surroundings) -> Result<Whose, CommandError> {
    match (seen.owner, seen.sudo_uid) {
        (Some((uid, gid)), _) if uid != 0 => {
            let entry = User::from_uid(Uid::from_raw(uid)).ok().flatten();
            let nameless = Other { uid, gid, name: None, home: None, at_home: false };
            Ok(Whose::Of(entry.map_or(nameless, |entry| Other::of(entry, /*at_home*/ false))))
        }
        // It is as likely that the caller's own Codex is meant.
        (_, Some(uid)) if uid != 0 && !seen.is_named => {
            let entry = User::from_uid(Uid::from_raw(uid)).ok().flatten();
            let user = entry.map_or_else(|| uid.to_string(), |entry| entry.name);
            Err(CommandError::WhichUser { user })
        }
        _ => Ok(Whose::Ours),
    }
}

impl Whose {
    /// The number of the account.
    pub(crate) fn uid(&self) -> u32 {
        match self {
            Self::Ours => geteuid().as_raw(),
            Self::Of(other) => other.uid,
        }
    }

    /// The account for people.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Ours => super::host::Host::this().account(geteuid().as_raw()),
            Self::Of(other) => other.words(),
        }
    }

    /// Whether this process's environment is that account's.
    pub(crate) fn has_our_environment(&self) -> bool {
        matches!(self, Self::Ours)
    }

    /// Becomes that account, with its groups and no way back. What is done from here on is done with its rights, so the
    /// files that are written are its own by nature.
    pub(crate) fn take_on(&self) -> Result<(), CommandError> {
        let Self::Of(other) = self else { return Ok(()) };
        let failed = |source| CommandError::Becoming { account: other.words(), source };
        let (uid, gid) = (Uid::from_raw(other.uid), Gid::from_raw(other.gid));
        set_groups(other)
            .and_then(|()| setgid(gid))
            .and_then(|()| setuid(uid)) // As root: real, effective and saved (setuid(2)).
            .map_err(|errno| failed(errno.into()))?;
        if (getuid(), geteuid()) != (uid, uid) || setuid(Uid::from_raw(0)).is_ok() {
            return Err(failed(io::Error::other("root could be had back")));
        }
        Ok(())
    }

    /// Where its Codex keeps its configuration. After [`Whose::take_on`], because that looks at the folder.
    pub(crate) fn codex_home(&self) -> Result<CodexHome, CommandError> {
        match self {
            Self::Of(Other { home: Some(home), at_home: true, .. }) => {
                Ok(CodexHome::at(home.join(".codex")))
            }
            _ => Ok(CodexHome::of(variable("CODEX_HOME"), home())?),
        }
    }

    /// Before anything is read or written: what root does as root, it does where nobody else leads it.
    pub(crate) fn check_way(&self, home: &CodexHome, file: &Path) -> Result<(), CommandError> {
        if *self != Self::Ours || !geteuid().is_root() {
            return Ok(());
        }
        match not_roots_alone(home.folder(), file) {
            Some(way) => Err(CommandError::NotRootsAlone { way }),
            None => Ok(()),
        }
    }
}

/// In words, the first thing on the way to the folder and the file that others than root could change.
fn not_roots_alone(folder: &Path, file: &Path) -> Option<String> {
    let list = |name| fs::read_to_string(Path::new("/etc").join(name)).unwrap_or_default();
    let lists = Lists { passwd: list("passwd"), group: list("group") };
    let trust = Trust {
        accounts: BTreeSet::from([0]),
        groups: Groups::OfTrusted(lists),
        sticky: Sticky::OnTheWay, // As /tmp; but none is the folder itself, where others could put files.
    };
    let mut ways = [folder, file].into_iter().flat_map(|path| ways_in(path, &trust));
    let way = ways.find_map(|way| match fs::symlink_metadata(&way.place) {
        // Whoever can add to its folder could make it, as a link elsewhere: there the sticky bit will not do.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            ways_in(way.place.parent()?, &trust).into_iter().next()
        }
        _ => Some(way),
    })?;
    Some(way.words(|uid| super::host::Host::this().account(uid)))
}

impl Other {
    fn of(entry: User, at_home: bool) -> Self {
        let (uid, gid) = (entry.uid.as_raw(), entry.gid.as_raw());
        Self { uid, gid, name: Some(entry.name), home: Some(entry.dir), at_home }
    }

    fn words(&self) -> String {
        account(self.uid, self.name.as_deref())
    }
}

#[cfg(not(target_vendor = "apple"))]
fn set_groups(other: &Other) -> Result<(), Errno> {
    use nix::unistd::{initgroups, setgroups};

    let gid = Gid::from_raw(other.gid);
    match &other.name {
        Some(name) => {
            let name = CString::new(name.as_str()).map_err(|_| Errno::EINVAL)?;
            initgroups(&name, gid)
        }
        None => setgroups(&[gid]),
    }
}

/// nix has no such call here, and without it root's groups would stay.
#[cfg(target_vendor = "apple")]
fn set_groups(_: &Other) -> Result<(), Errno> {
    Err(Errno::ENOSYS)
}

fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(owner: Option<(u32, u32)>, sudo_uid: Option<u32>, is_named: bool) -> Surroundings {
        Surroundings { sudo_uid, is_named, owner }
    }

    #[test]
    fn a_folder_of_another_account_is_changed_as_that_account() {
        let nameless = Other { uid: 61_250, gid: 61_251, name: None, home: None, at_home: false };
        for (sudo_uid, is_named) in [(None, false), (None, true), (Some(1_000), false)] {
            let seen = seen(Some((61_250, 61_251)), sudo_uid, is_named);
            assert_eq!(by_folder(&seen).unwrap(), Whose::Of(nameless.clone()));
        }
        assert_eq!(nameless.words(), "uid 61250");
    }

    #[test]
    fn who_calls_sudo_is_asked_whose_codex_is_meant() {
        for owner in [Some((0, 0)), None] {
            let error = by_folder(&seen(owner, Some(61_252), false)).unwrap_err();
            assert!(
                matches!(&error, CommandError::WhichUser { user } if user == "61252"),
                "{error:?}"
            );
            // Root itself, or a folder that was named on purpose.
            for (sudo_uid, is_named) in
                [(None, false), (Some(0), false), (Some(61_252), true), (None, true)]
            {
                let whose = by_folder(&seen(owner, sudo_uid, is_named)).unwrap();
                assert_eq!(whose, Whose::Ours);
            }
        }
    }

    #[test]
    fn a_link_says_nothing_of_whose_the_folder_is() {
        let folder = tempfile::tempdir().unwrap();
        let (link, target) = (folder.path().join("link"), folder.path().join("target"));
        fs::create_dir(&target).unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let ours = (geteuid().as_raw(), fs::symlink_metadata(&link).unwrap().gid());
        if geteuid().is_root() {
            std::os::unix::fs::chown(&target, Some(61_253), Some(61_253)).unwrap();
            let with_slash = link.join("");
            assert_eq!(owner_of(with_slash.as_os_str()), Some(ours));
            assert_eq!(owner_of(target.as_os_str()), Some((61_253, 61_253)));
        }
        assert_eq!(owner_of(link.as_os_str()), Some(ours));
        assert_eq!(owner_of(folder.path().join("none").as_os_str()), None);
    }

    #[test]
    fn root_is_led_nowhere_by_others() {
        if !geteuid().is_root() {
            return; // Whatever this account has is not root's alone.
        }
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let way = |home: &str| not_roots_alone(&at(home), &at(home).join("config.toml"));
        for name in ["roots", "roots/to", "alices", "open"] {
            fs::create_dir(at(name)).unwrap();
        }
        assert_eq!(way("roots"), None);
        assert_eq!(way("roots/none"), None);
        std::os::unix::fs::symlink(at("roots"), at("alices/.codex")).unwrap();
        std::os::unix::fs::symlink(at("roots/to/a.toml"), at("open/config.toml")).unwrap();
        assert_eq!(way("open"), None);
        std::os::unix::fs::chown(at("alices"), Some(61_254), Some(61_254)).unwrap();
        let alices = fs::canonicalize(at("alices")).unwrap();
        let expected = format!("{} belongs to uid 61254", alices.display());
        assert_eq!(way("alices/.codex"), Some(expected.clone()));
        assert_eq!(way("alices"), Some(expected));
        std::os::unix::fs::lchown(at("open/config.toml"), Some(61_254), None).unwrap();
        assert!(way("open").unwrap().ends_with("/open/config.toml belongs to uid 61254"));
        // Anybody could put a link into it.
        let sticky: fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o1777);
        fs::set_permissions(at("roots/to"), sticky).unwrap();
        assert!(way("roots/to").unwrap().ends_with("/to can be changed by everyone"));
    }

    #[test]
    fn root_by_name_is_nobody_else_and_what_is_no_account_is_said() {
        assert_eq!(by_name("root").unwrap(), Whose::Ours);
        assert_eq!(by_name("0").unwrap(), Whose::Ours);
        for wrong in ["no-such-account", "4294967296", ""] {
            let error = by_name(wrong).unwrap_err();
            assert!(matches!(error, CommandError::NoSuchUser { .. }), "{wrong:?}: {error:?}");
        }
    }

    #[test]
    fn only_root_does_it_for_others() {
        if !geteuid().is_root() {
            let error = whose(Some("root")).unwrap_err();
            assert!(matches!(error, CommandError::OnlyRootForOthers { .. }), "{error:?}");
            assert_eq!(whose(None).unwrap(), Whose::Ours);
        }
    }
}
