//! Trying a property with every file of its corpus; each crate's tests include this file.

use std::fs;
use std::path::Path;

/// Tries a property with all of `corpus/TARGET`.
pub(crate) fn replay(target: &str, property: fn(&[u8])) {
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let folder = above.map(|folder| folder.join("fuzz/corpus").join(target)).find(|it| it.exists());
    let files = folder.into_iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let tried = files.map(|file| property(&fs::read(file.unwrap().path()).unwrap())).count();
    assert!(tried > 0, "there is no corpus for {target}");
}
