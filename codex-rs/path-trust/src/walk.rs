//! From the root to the end of a path, as the kernel goes: each link is followed where it is met.
//!
//! So everything that decides where the path leads is passed, and each by the name that it has without links.
//!
//! Source: path_resolution(7).

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Links that are followed on one way, as Linux has it.
const MOST_LINKS: usize = 40;

/// What counts of a file or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mode: u32,
    pub(crate) is_folder: bool,
    pub(crate) is_link: bool,
    /// Whether it has an access control list (acl(5)): the group's bits are the list's mask then, and say nothing of the group.
    pub(crate) has_acl: bool,
}

/// Something that is passed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step<'w> {
    pub(crate) place: &'w Path,
    pub(crate) facts: Facts,
    /// What the path leads to, or a link to that.
    pub(crate) is_end: bool,
}

/// Where the way came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) place: PathBuf,
    pub(crate) because: String,
}

/// Shows all that is passed. Something may be passed twice.
pub(crate) fn walk(path: &Path, mut visit: impl FnMut(Step<'_>)) -> Result<(), Lost> {
    let absolute = std::path::absolute(path).map_err(|error| Lost::at(path, &error))?;
    let (mut at, mut ahead, mut links_left) = (PathBuf::new(), names(&absolute), MOST_LINKS);
    while let Some(name) = ahead.pop() {
        let reached = at.join(&name);
        let metadata =
            fs::symlink_metadata(&reached).map_err(|error| Lost::at(&reached, &error))?;
        let has_acl = !metadata.is_symlink() && has_acl(&reached);
        let facts = Facts { has_acl, ..Facts::from(&metadata) };
        let place = match name.to_str() {
            // There are no links in `at`, so that the folder above it is the one that it names.
            Some("..") => at.parent().unwrap_or(&at).to_owned(),
            Some(".") => at.clone(),
            _ => reached,
        };
        visit(Step { place: &place, facts, is_end: ahead.is_empty() });
        if !facts.is_link {
            at = place;
        } else if links_left == 0 {
            return Err(Lost { place, because: "it leads on and on".to_owned() });
        } else {
            links_left -= 1;
            let target = fs::read_link(&place).map_err(|error| Lost::at(&place, &error))?;
            ahead.append(&mut names(&target)); // From `at` on, or from the root.
        }
    }
    Ok(())
}

/// The parts of a path, the first one last.
fn names(path: &Path) -> Vec<OsString> {
    path.components().rev().map(|part| part.as_os_str().to_owned()).collect()
}

impl From<&Metadata> for Facts {
    fn from(metadata: &Metadata) -> Self {
        Self {
            uid: metadata.uid(),
            gid: metadata.gid(),
            mode: metadata.mode(),
            is_folder: metadata.is_dir(),
            is_link: metadata.is_symlink(),
            has_acl: false,
        }
    }
}

fn has_acl(place: &Path) -> bool {
    match rustix::fs::lgetxattr(place, c"system.posix_acl_access", &mut [0_u8; 128]) {
        Ok(length) => length > 0,
        Err(errno) => errno == rustix::io::Errno::RANGE, // A long one.
    }
}

impl Lost {
    fn at(place: &Path, error: &io::Error) -> Self {
        Self { place: place.to_owned(), because: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    /// A folder, and its path without links.
    fn folder() -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().canonicalize().unwrap();
        (folder, top)
    }

    /// What is passed of a folder and what lies in it (the folder itself is `.`); and what of that is the end.
    fn passed(top: &Path, name: &str) -> (Vec<String>, Vec<String>) {
        let (mut all, mut ends) = (Vec::new(), Vec::new());
        let path = top.join(name);
        let walked = walk(&path, |step| {
            let Ok(place) = step.place.strip_prefix(top) else { return };
            let place = place.to_str().map(|place| if place.is_empty() { "." } else { place });
            all.extend(place.map(str::to_owned));
            ends.extend(place.filter(|_| step.is_end).map(str::to_owned));
        });
        assert_eq!(walked, Ok(()), "{name}");
        (all, ends)
    }

    #[test]
    fn each_link_is_followed_where_it_is_met() {
        let (_folder, top) = folder();
        fs::create_dir(top.join("a")).unwrap();
        for name in ["a/file", "b"] {
            fs::write(top.join(name), "").unwrap();
        }
        for (link, target) in [
            ("link", PathBuf::from("a")),
            ("far", top.join("a")),
            ("dot", PathBuf::from("./.")),
            ("a/up", PathBuf::from("..")),
            ("a/round", PathBuf::from("../link/file")),
        ] {
            symlink(target, top.join(link)).unwrap();
        }
        for (name, all, ends) in [
            ("b", ". b", "b"),
            ("a/file", ". a a/file", "a/file"),
            ("link/file", ". link a a/file", "a/file"),
            ("far/file", ". far . a a/file", "a/file"),
            ("link", ". link a", "link a"),
            ("link/", ". link a", "link a"),
            ("a/./file", ". a a/file", "a/file"),
            ("link/../b", ". link a . b", "b"),
            ("a/..", ". a .", "."),
            ("a/up/b", ". a a/up . b", "b"),
            ("a/up", ". a a/up .", "a/up ."),
            ("dot/b", ". dot . b", "b"),
            ("dot", ". dot .", "dot ."),
            ("a/round", ". a a/round . link a a/file", "a/round a/file"),
        ] {
            let (passed, ended) = passed(&top, name);
            assert_eq!(
                (passed.join(" ").as_str(), ended.join(" ").as_str()),
                (all, ends),
                "{name}"
            );
        }
    }

    #[test]
    fn it_begins_at_the_root_and_can_not_leave_it() {
        let mut places = Vec::new();
        walk(Path::new("/../.."), |step| places.push(step.place.to_owned())).unwrap();
        assert_eq!(places, ["/", "/", "/"].map(PathBuf::from));
    }

    #[test]
    fn as_many_links_are_followed_as_linux_follows() {
        let (_folder, top) = folder();
        fs::write(top.join("0"), "").unwrap();
        for link in 1..=MOST_LINKS + 1 {
            symlink((link - 1).to_string(), top.join(link.to_string())).unwrap();
        }
        for (link, is_followed) in [(MOST_LINKS, true), (MOST_LINKS + 1, false)] {
            let path = top.join(link.to_string());
            assert_eq!(walk(&path, |_| {}).is_ok(), is_followed, "{link}");
            if cfg!(target_os = "linux") {
                assert_eq!(fs::metadata(&path).is_ok(), is_followed, "{link}");
            }
        }
    }

    /// However the links lie, nobody can make this last.
    #[test]
    fn no_link_is_followed_twice() {
        let (_folder, top) = folder();
        let (mut path, mut place) = (top.clone(), top.clone());
        for _ in 0..MOST_LINKS {
            fs::create_dir(place.join("d")).unwrap();
            symlink("d", place.join("l")).unwrap();
            path.push("l");
            place.push("d");
        }
        let mut steps = 0;
        walk(&path, |_| steps += 1).unwrap();
        assert_eq!(steps, top.components().count() + 2 * MOST_LINKS);
    }

    #[test]
    fn what_leads_nowhere_says_where_and_why() {
        let (_folder, top) = folder();
        fs::write(top.join("file"), "").unwrap();
        symlink("none", top.join("link")).unwrap();
        symlink("itself", top.join("itself")).unwrap();
        for (name, place, because) in [
            ("none", "none", "No such file"),
            ("none/file", "none", "No such file"),
            ("link", "none", "No such file"),
            ("link/file", "none", "No such file"),
            ("file/none", "file/none", "Not a directory"),
            ("file/..", "file/..", "Not a directory"),
            ("itself", "itself", "it leads on and on"),
            ("itself/file", "itself", "it leads on and on"),
        ] {
            let lost = walk(&top.join(name), |_| {}).unwrap_err();
            assert_eq!(lost.place, top.join(place), "{name}");
            assert!(lost.because.starts_with(because), "{name}: {}", lost.because);
        }
        let empty = walk(Path::new(""), |step| panic!("{step:?}"));
        assert_eq!(empty.unwrap_err().place, Path::new(""));
    }
}
