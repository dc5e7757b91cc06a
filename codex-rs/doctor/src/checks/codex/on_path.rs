//! Which program `codex` means to a shell: this one, or another.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use codex_config::{FileId, Lookup, find_public_codex};

use crate::Host;

/// Each `codex` that PATH leads to, in its order, and whether it is this program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OnPath {
    found: Vec<(PathBuf, bool)>,
}

impl OnPath {
    /// What the machine's PATH leads to. Relative parts of PATH are passed over.
    pub(crate) fn of(host: &Host) -> Self {
        Self::within(host.variable("PATH").unwrap_or_default(), host.program_id)
    }

    fn within(path: &OsStr, ours: Option<FileId>) -> Self {
        let first_in = |folder: PathBuf| {
            let path = Some(folder.as_os_str());
            let found = find_public_codex(&Lookup { path, real_bin: None, passed_over: &[] });
            found.ok().map(|found| (found.program, Some(found.id) == ours))
        };
        Self { found: env::split_paths(path).filter_map(first_in).collect() }
    }

    /// What runs when somebody types `codex`.
    pub(crate) fn first(&self) -> Option<&Path> {
        self.found.first().map(|(program, _)| &**program)
    }

    /// Whether that is this program.
    pub(crate) fn is_ours(&self) -> bool {
        self.found.first().is_some_and(|(_, is_ours)| *is_ours)
    }

    /// The first of all that is this program.
    pub(crate) fn ours(&self) -> Option<&Path> {
        self.found.iter().find(|(_, is_ours)| *is_ours).map(|(program, _)| &**program)
    }

    #[cfg(test)]
    pub(crate) fn for_tests(found: &[(&str, bool)]) -> Self {
        let found = found.iter().map(|(program, is_ours)| (PathBuf::from(program), *is_ours));
        Self { found: found.collect() }
    }
}

impl Host {
    /// Whether `codex` is this program and looks, before each run, who listens where Codex is pointed. With CODEX_PROXY=0
    /// it is told to look at nothing.
    pub(crate) fn is_guarded(&self) -> bool {
        let is_told_not_to = self.variable("CODEX_PROXY").is_some_and(|value| value == "0");
        !is_told_not_to && OnPath::of(self).is_ours()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn each_program_of_that_name_is_found_in_the_order_of_path() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["a", "b", "c"] {
            fs::create_dir(at(name)).unwrap();
        }
        for name in ["us", "b/codex"] {
            fs::write(at(name), "#!/bin/sh\n").unwrap();
            fs::set_permissions(at(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        symlink(at("us"), at("c/codex")).unwrap();
        let ours = FileId::of(&at("us")).ok();
        let (other, link) = (at("b/codex"), at("c/codex"));
        for (names, expected, is_ours) in [
            (["a", "b", "c"], [Some(&other), Some(&link)], false),
            (["c", "b", "a"], [Some(&link), Some(&link)], true),
            (["a", "b", "none"], [Some(&other), None], false),
            (["a", "a", "none"], [None, None], false),
        ] {
            let path = env::join_paths(names.map(at)).unwrap();
            let found = OnPath::within(&path, ours);
            assert_eq!([found.first(), found.ours()], expected.map(|it| it.map(|it| &**it)));
            assert_eq!(found.is_ours(), is_ours);
        }
        assert_eq!(OnPath::within(OsStr::new(""), ours), OnPath::default());
    }

    #[test]
    fn our_codex_guards_unless_it_is_told_not_to() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("codex");
        fs::write(&program, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let on_path = || {
            let host = Host::for_tests(folder.path()).with_program(program.clone());
            host.with_variable("PATH", folder.path().to_str().unwrap())
        };
        for (said, is_guarded) in [("", true), ("1", true), ("0", false)] {
            let host = on_path().with_variable("CODEX_PROXY", said);
            assert_eq!(host.is_guarded(), is_guarded, "{said:?}");
        }
        assert!(!Host::for_tests(folder.path()).is_guarded());
    }
}
