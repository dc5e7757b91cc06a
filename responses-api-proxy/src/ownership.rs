//! Where the proxy's files may lie, and those that it trusts: [`codex_path_trust`] looks, and this says what is allowed.

use std::path::Path;

use codex_path_trust::{Groups, Sticky, Trust, is_closed};
use nix::unistd::{getegid, geteuid};

/// Groups of log daemons, which may write to /var/log on some systems (Ubuntu).
const LOGGING: [&str; 2] = ["adm", "syslog"];

/// Whether nobody but root and this account can change a file or folder: by itself, by a folder or by a link on the
/// way to it. Not so for what is not there.
///
/// In a folder with the sticky bit others may add what is theirs.
pub(crate) fn is_ours_alone(path: &Path, groups: Groups) -> bool {
    let accounts = [0, geteuid().as_raw()].into();
    is_closed(path, &Trust { accounts, groups, sticky: Sticky::Everywhere })
}

/// Groups that may write on the way to a log file: those of log daemons; and, for an ordinary user, the user's own.
pub(crate) fn usual_groups() -> Groups {
    let own = (!geteuid().is_root()).then(|| getegid().as_raw());
    Groups::These { gids: own.into_iter().collect(), names: LOGGING.map(str::to_owned).into() }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use nix::unistd::Group;

    use super::*;

    #[test]
    fn root_and_this_account_alone_may_change_the_way_and_for_logs_the_usual_groups_too() {
        let home = tempfile::tempdir().unwrap(); // Below a folder with the sticky bit, where it is not ours.
        let at = |name: &str| home.path().join(name);
        let make = |name: &str, mode: u32| {
            for (folder, mode) in [(at(name), mode), (at(name).join("inside"), 0o755)] {
                fs::create_dir(&folder).unwrap();
                fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap(); // Whatever the umask is.
            }
        };
        make("closed", 0o755);
        make("sticky", 0o1777);
        make("open", 0o757);
        make("shared", 0o775);
        symlink(at("closed"), at("link")).unwrap();
        symlink(at("open"), at("way_in")).unwrap();
        let usual = !geteuid().is_root(); // Whose own group it is.
        let is_fit = |name: &str, groups| is_ours_alone(&at(name).join("inside"), groups);
        for (name, for_logs, for_sockets) in [
            ("closed", true, true),
            ("sticky", true, true),
            ("link", true, true),
            ("open", false, false),
            ("way_in", false, false),
            ("shared", usual, false),
            ("nothing", false, false),
        ] {
            assert_eq!(is_fit(name, usual_groups()), for_logs, "{name}");
            assert_eq!(is_fit(name, Groups::None), for_sockets, "{name}");
        }
        // Only root can give a folder away; anyone else has this proven in CI.
        if geteuid().is_root() {
            for daemons in LOGGING.into_iter().filter_map(|name| Group::from_name(name).unwrap()) {
                chown(at("shared"), None, Some(daemons.gid.as_raw())).unwrap();
                assert!(is_fit("shared", usual_groups()), "{}", daemons.name);
                assert!(!is_fit("shared", Groups::None));
            }
            chown(at("closed"), Some(61_234), None).unwrap();
            assert!(!is_fit("closed", usual_groups()));
            assert!(!is_fit("link", usual_groups()));
        }
    }
}
