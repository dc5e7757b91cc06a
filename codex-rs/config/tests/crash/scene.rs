//! A folder with a configuration in it, and all that can be seen of it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use codex_config::{Change, Deed};
use tempfile::TempDir;

use crate::deed;

/// A mode and a group that no new file has of itself.
const MODE: u32 = 0o640;
const GID: u32 = 61_234;

const ORIGINAL: &str =
    "# mine\nmodel = \"gpt-5\"\nmodel_provider = \"azure\" # mine too\n\n[tui]\ntheme = \"dark\"\n";

/// A change, and what was before it.
#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) name: &'static str,
    original: Option<&'static str>,
    /// Whether `config.toml` is a link to a file in another folder.
    is_linked: bool,
    earlier: &'static [&'static str],
    pub(crate) deed: &'static str,
}

const fn story(
    name: &'static str,
    original: Option<&'static str>,
    earlier: &'static [&'static str],
    deed: &'static str,
) -> Story {
    Story { name, original, is_linked: false, earlier, deed }
}

pub(crate) const STORIES: [Story; 8] = [
    story("pointed", Some(ORIGINAL), &[], "point 4000"),
    story("pointed_where_there_was_no_file", None, &[], "point 4000"),
    story("pointed_to_another_port", Some(ORIGINAL), &["point 4000"], "point 4001"),
    story("unpointed", Some(ORIGINAL), &["point 4000"], "unpoint"),
    story("purged", Some(ORIGINAL), &["point 4000"], "purge"),
    story("purged_after_unpoint", Some(ORIGINAL), &["point 4000", "unpoint"], "purge"),
    story("purged_with_its_file", None, &["point 4000"], "purge"),
    Story { is_linked: true, ..story("pointed_through_a_link", Some(ORIGINAL), &[], "point 4000") },
];

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Thing {
    Link(PathBuf),
    File { text: String, mode: u32, uid: u32, gid: u32 },
}

/// All files of a scene, by path.
pub(crate) type Tree = BTreeMap<PathBuf, Thing>;

#[derive(Debug)]
pub(crate) struct Scene {
    folder: TempDir,
    /// As it was before anything was done.
    pub(crate) original: Tree,
    /// As it is before the deed.
    pub(crate) before: Tree,
}

impl Scene {
    pub(crate) fn of(story: &Story) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut scene = Self { folder, original: Tree::new(), before: Tree::new() };
        for name in ["files/home", "files/elsewhere"] {
            fs::create_dir_all(scene.folder.path().join(name)).unwrap();
        }
        if let Some(text) = story.original {
            let file = scene.place_of(story);
            fs::write(&file, text).unwrap();
            if fs::metadata(&file).unwrap().uid() == 0 {
                chown(&file, None, Some(GID)).unwrap();
            }
            fs::set_permissions(&file, fs::Permissions::from_mode(MODE)).unwrap();
        }
        if story.is_linked {
            symlink("../elsewhere/codex.toml", scene.file()).unwrap();
        }
        scene.original = scene.tree();
        for words in story.earlier {
            scene.apply(&deed(words));
        }
        scene.before = scene.tree();
        scene
    }

    /// As it is named.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("files/home/config.toml")
    }

    fn place_of(&self, story: &Story) -> PathBuf {
        if story.is_linked {
            self.folder.path().join("files/elsewhere/codex.toml")
        } else {
            self.file()
        }
    }

    /// For what strace says.
    pub(crate) fn trace(&self) -> PathBuf {
        self.folder.path().join("trace")
    }

    /// Does it here, unhindered.
    pub(crate) fn apply(&self, deed: &Deed) {
        let change = Change::plan(&self.file(), deed).unwrap();
        if !change.is_none() {
            change.apply().unwrap();
        }
    }

    pub(crate) fn tree(&self) -> Tree {
        let root = self.folder.path().join("files");
        let mut tree = Tree::new();
        look(&root, &root, &mut tree);
        tree
    }
}

fn look(root: &Path, folder: &Path, tree: &mut Tree) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let found = fs::symlink_metadata(&path).unwrap();
        let thing = if found.is_symlink() {
            Thing::Link(fs::read_link(&path).unwrap())
        } else if found.is_dir() {
            look(root, &path, tree);
            continue;
        } else {
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            Thing::File { text, mode: found.mode() & 0o7777, uid: found.uid(), gid: found.gid() }
        };
        tree.insert(path.strip_prefix(root).unwrap().to_owned(), thing);
    }
}
