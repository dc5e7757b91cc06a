//! The public Codex CLI on this machine: the first `codex` on PATH that is not ours, or the one that the user names.
//!
//! Who is ours is known by device and inode, not by name: links to us are us. A program that turned out to lead back
//! to us (a wrapper, a copy of ours elsewhere) is passed over in the same way. Folders that PATH names by a relative
//! path are never looked into: what lies in the current folder must not decide what runs.
//!
//! Nothing is run here.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rustix::fs::{Access, access};
use thiserror::Error;

/// What the public Codex CLI is called.
const NAME: &str = "codex";

/// Where to look, and what not to take.
#[derive(Clone, Copy, Debug)]
pub struct Lookup<'l> {
    /// PATH.
    pub path: Option<&'l OsStr>,
    /// CODEX_REAL_BIN: the program that the user names.
    pub real_bin: Option<&'l OsStr>,
    /// Ourselves, and what led back to us.
    pub passed_over: &'l [FileId],
}

/// A file, however it is named. Written as `DEVICE:INODE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    /// The file system's device.
    pub device: u64,
    /// The number in it.
    pub inode: u64,
}

/// Two numbers and a colon were expected.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0:?} is no DEVICE:INODE")]
pub struct NoFileId(String);

impl FileId {
    /// The file that a path leads to, through links.
    ///
    /// # Errors
    ///
    /// As [`fs::metadata`].
    pub fn of(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|facts| Self::from(&facts))
    }

    /// The program that runs, also when its file has been replaced since.
    pub fn of_this_program() -> Option<Self> {
        let by_kernel = Self::of(Path::new("/proc/self/exe"));
        by_kernel.or_else(|_| Self::of(&env::current_exe()?)).ok()
    }
}

impl From<&fs::Metadata> for FileId {
    fn from(facts: &fs::Metadata) -> Self {
        Self { device: facts.dev(), inode: facts.ino() }
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.device, self.inode)
    }
}

impl FromStr for FileId {
    type Err = NoFileId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers = text.split_once(':');
        let numbers =
            numbers.and_then(|(left, right)| Some((left.parse().ok()?, right.parse().ok()?)));
        let (device, inode) = numbers.ok_or_else(|| NoFileId(text.to_owned()))?;
        Ok(Self { device, inode })
    }
}

/// The public Codex CLI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicCodex {
    /// What to run: an absolute path, which may be a link or a script.
    pub program: PathBuf,
    /// The file that it leads to.
    pub id: FileId,
    /// Whether CODEX_REAL_BIN named it.
    pub named_by_variable: bool,
}

/// Why there is no public Codex CLI to run.
#[derive(Debug, Error)]
pub enum NotInstalled {
    /// PATH has none.
    #[error("the public Codex CLI is not installed: {what}", what = on_path(passed_over))]
    NotOnPath {
        /// Those that are ours, or lead back to us.
        passed_over: Vec<PathBuf>,
    },
    /// What it means would depend on the current folder.
    #[error("CODEX_REAL_BIN is {program:?}, which is no absolute path")]
    NotAbsolute {
        /// What it says.
        program: PathBuf,
    },
    /// There is nothing, or it can't be looked at.
    #[error("CODEX_REAL_BIN names {program:?}, which can't be looked at")]
    Unreadable {
        /// What it says.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A folder, or a file that this account may not run.
    #[error("CODEX_REAL_BIN names {program:?}, which is no program that this account may run")]
    NoProgram {
        /// What it says.
        program: PathBuf,
    },
    /// It is this program, or calls it.
    #[error("CODEX_REAL_BIN names {program:?}, which leads back to this program")]
    Ours {
        /// What it says.
        program: PathBuf,
    },
}

impl NotInstalled {
    /// What the person at the keyboard can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NotOnPath { .. } => {
                "install it: npm install -g @openai/codex (or name it: CODEX_REAL_BIN=/path/to/codex)"
            }
            _ => "name the public Codex CLI with its whole path, or unset CODEX_REAL_BIN",
        }
    }
}

fn on_path(passed_over: &[PathBuf]) -> String {
    let programs: Vec<String> = passed_over.iter().map(|path| format!("{path:?}")).collect();
    match &programs[..] {
        [] => "PATH leads to no `codex`".to_owned(),
        [one] => format!("the only `codex` on PATH is this program ({one})"),
        all => format!("each `codex` on PATH is this program or calls it ({})", all.join(", ")),
    }
}

/// Finds it.
///
/// # Errors
///
/// [`NotInstalled`] when there is none, or CODEX_REAL_BIN names what it should not.
pub fn find_public_codex(lookup: &Lookup<'_>) -> Result<PublicCodex, NotInstalled> {
    match lookup.real_bin.filter(|named| !named.is_empty()) {
        Some(named) => named_by_variable(Path::new(named), lookup.passed_over),
        None => first_on_path(lookup.path.unwrap_or_default(), lookup.passed_over),
    }
}

fn named_by_variable(named: &Path, passed_over: &[FileId]) -> Result<PublicCodex, NotInstalled> {
    let program = named.to_owned();
    if !named.is_absolute() {
        return Err(NotInstalled::NotAbsolute { program });
    }
    let facts = match fs::metadata(named) {
        Ok(facts) => facts,
        Err(source) => return Err(NotInstalled::Unreadable { program, source }),
    };
    let id = FileId::from(&facts);
    if passed_over.contains(&id) {
        Err(NotInstalled::Ours { program })
    } else if !can_be_run(named, &facts) {
        Err(NotInstalled::NoProgram { program })
    } else {
        Ok(PublicCodex { program, id, named_by_variable: true })
    }
}

fn first_on_path(path: &OsStr, ours: &[FileId]) -> Result<PublicCodex, NotInstalled> {
    let mut passed_over = Vec::new();
    for folder in env::split_paths(path).filter(|folder| folder.is_absolute()) {
        let program = folder.join(NAME);
        let Ok(facts) = fs::metadata(&program) else { continue };
        if !can_be_run(&program, &facts) {
            continue; // As a shell does.
        }
        let id = FileId::from(&facts);
        if !ours.contains(&id) {
            return Ok(PublicCodex { program, id, named_by_variable: false });
        }
        if !passed_over.contains(&program) {
            passed_over.push(program);
        }
    }
    Err(NotInstalled::NotOnPath { passed_over })
}

fn can_be_run(program: &Path, facts: &fs::Metadata) -> bool {
    facts.is_file() && access(program, Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// Folders a, b and c, and PATH through them.
    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            let place = Self(tempfile::tempdir().unwrap());
            ["a", "b", "c"].iter().for_each(|name| fs::create_dir(place.at(name)).unwrap());
            place
        }

        fn at(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn put(&self, name: &str, mode: u32) -> FileId {
            fs::write(self.at(name), "#!/bin/sh\n").unwrap();
            fs::set_permissions(self.at(name), fs::Permissions::from_mode(mode)).unwrap();
            FileId::of(&self.at(name)).unwrap()
        }

        fn path(&self) -> OsString {
            env::join_paths([self.at("a"), self.at("b"), self.at("c")]).unwrap()
        }

        fn find(&self, passed_over: &[FileId]) -> Result<PublicCodex, NotInstalled> {
            find_public_codex(&Lookup { path: Some(&self.path()), real_bin: None, passed_over })
        }

        /// With CODEX_REAL_BIN.
        fn named(&self, named: &Path, passed_over: &[FileId]) -> Result<PublicCodex, NotInstalled> {
            let real_bin = Some(named.as_os_str());
            find_public_codex(&Lookup { path: Some(&self.path()), real_bin, passed_over })
        }
    }

    #[test]
    fn the_first_program_of_that_name_on_path_is_taken() {
        let place = Place::new();
        let id = place.put("b/codex", 0o755);
        place.put("c/codex", 0o755);
        place.put("a/codex-real", 0o755);
        let found = place.find(&[]).unwrap();
        let program = place.at("b/codex");
        assert_eq!(found, PublicCodex { program, id, named_by_variable: false });
    }

    #[test]
    fn what_can_not_be_run_is_passed_over() {
        let place = Place::new();
        fs::create_dir(place.at("a/codex")).unwrap();
        place.put("b/codex", 0o644);
        let id = place.put("c/codex", 0o755);
        assert_eq!(place.find(&[]).unwrap().id, id);
        fs::remove_file(place.at("b/codex")).unwrap();
        symlink(place.at("none"), place.at("b/codex")).unwrap();
        assert_eq!(place.find(&[]).unwrap().id, id, "a link to nothing");
    }

    #[test]
    fn we_and_links_to_us_and_what_led_back_to_us_are_passed_over() {
        let place = Place::new();
        let us = place.put("us", 0o755);
        symlink(place.at("us"), place.at("a/codex")).unwrap();
        fs::hard_link(place.at("us"), place.at("b/codex")).unwrap();
        let copy = place.put("c/codex", 0o755);
        assert_eq!(place.find(&[us]).unwrap().id, copy, "a copy has a number of its own");
        let error = place.find(&[us, copy]).unwrap_err();
        let NotInstalled::NotOnPath { passed_over } = &error else { panic!("{error:?}") };
        let expected = ["a/codex", "b/codex", "c/codex"].map(|name| place.at(name));
        assert_eq!(passed_over, &expected);
        assert!(error.to_string().contains("b/codex"), "{error}");
        assert!(error.hint().contains("npm install -g @openai/codex"));
    }

    /// As npm installs it.
    #[test]
    fn a_link_is_run_by_its_own_name_and_known_by_what_it_leads_to() {
        let place = Place::new();
        let id = place.put("codex.js", 0o755);
        symlink("../codex.js", place.at("b/codex")).unwrap();
        let found = place.find(&[]).unwrap();
        assert_eq!((found.program, found.id), (place.at("b/codex"), id));
    }

    #[test]
    fn relative_and_empty_parts_of_path_are_not_looked_into() {
        let place = Place::new();
        place.put("a/codex", 0o755);
        // From here up to the root, and down again.
        let here = env::current_dir().unwrap();
        let up: PathBuf = here.components().skip(1).map(|_| "..").collect();
        let relative = up.join(place.at("a").strip_prefix("/").unwrap());
        assert!(relative.join("codex").exists());
        let find = |path: &OsStr| {
            find_public_codex(&Lookup { path: Some(path), real_bin: None, passed_over: &[] })
        };
        let dotted = Path::new(".").join(&relative);
        for path in [relative.as_os_str(), dotted.as_os_str(), "".as_ref(), ":".as_ref()] {
            assert!(matches!(find(path), Err(NotInstalled::NotOnPath { .. })), "{path:?}");
        }
        let both = env::join_paths([&relative, &place.at("a")]).unwrap();
        assert_eq!(find(&both).unwrap().program, place.at("a/codex"));
    }

    #[test]
    fn without_a_path_there_is_none() {
        let lookup = Lookup { path: None, real_bin: None, passed_over: &[] };
        let error = find_public_codex(&lookup).unwrap_err();
        let expected = "the public Codex CLI is not installed: PATH leads to no `codex`";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn the_variable_names_another_and_an_empty_one_names_none() {
        let place = Place::new();
        let on_path = place.put("a/codex", 0o755);
        let id = place.put("real", 0o755);
        let program = place.at("real");
        let found = place.named(&program, &[]).unwrap();
        assert_eq!(found, PublicCodex { program, id, named_by_variable: true });
        assert_eq!(place.named(Path::new(""), &[]).unwrap().id, on_path);
    }

    #[test]
    fn a_variable_that_names_no_program_is_an_error_and_not_passed_over() {
        let place = Place::new();
        place.put("a/codex", 0o755);
        let us = place.put("us", 0o755);
        place.put("text", 0o644);
        symlink(place.at("us"), place.at("link")).unwrap();
        for (named, says) in [
            (PathBuf::from("codex"), "which is no absolute path"),
            (place.at("none"), "which can't be looked at"),
            (place.at("a"), "which is no program"),
            (place.at("text"), "which is no program"),
            (place.at("us"), "which leads back to this program"),
            (place.at("link"), "which leads back to this program"),
        ] {
            let error = place.named(&named, &[us]).unwrap_err();
            let said = error.to_string();
            assert!(said.contains(says) && said.contains(&format!("{named:?}")), "{said}");
            assert!(error.hint().contains("CODEX_REAL_BIN"));
        }
    }

    #[test]
    fn a_file_is_written_as_two_numbers_and_read_back() {
        let id = FileId { device: 2_049, inode: u64::MAX };
        assert_eq!(id.to_string(), "2049:18446744073709551615");
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", ":", "1", "1:", ":1", "1:2:3", "1:-2", "a:b", "1: 2"] {
            assert_eq!(text.parse::<FileId>(), Err(NoFileId(text.to_owned())));
        }
    }
}
