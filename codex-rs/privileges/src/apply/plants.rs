//! Planted files: the setgid bit comes off.
//!
//! They lie where the account can write, which may move, replace or remove them while we look. So what can't be closed is
//! told and nothing is taken back for it: the account could keep its sudo that way. The look afterwards finds it again.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use super::Intent;
use super::deed::{Deed, Due, Trouble, Undone, word};
use crate::audit::walk::{self, Plant};

/// setuid and setgid.
const SET_ID_BITS: u32 = 0o6000;
const MODE_BITS: u32 = 0o7777;

pub(super) fn look(intent: &Intent) -> Due<'_> {
    if intent.plants.is_empty() {
        return Due::Nothing;
    }
    let (mut deeds, mut already): (Vec<Box<dyn Deed>>, _) = (Vec::new(), Vec::new());
    for plant in &intent.plants {
        if is_set(plant) {
            deeds.push(Box::new(Planted { plant }));
        } else {
            already.push(format!("{} is not what it was", plant.path.display()));
        }
    }
    Due::deeds(deeds, already)
}

/// Whether it is still the same file, and still has such a bit.
fn is_set(plant: &Plant) -> bool {
    fs::symlink_metadata(&plant.path).is_ok_and(|metadata| {
        (metadata.dev(), metadata.ino()) == (plant.device, plant.inode)
            && metadata.mode() & SET_ID_BITS != 0
    })
}

struct Planted<'i> {
    plant: &'i Plant,
}

impl Deed for Planted<'_> {
    fn plan(&self) -> String {
        format!("take the setgid bit off {}", self.plant.path.display())
    }

    fn reverse(&self) -> Option<String> {
        let Plant { path, mode, .. } = self.plant;
        Some(format!("chmod {:04o} {}", mode & MODE_BITS, word(path)))
    }

    fn act(&mut self) -> Result<String, Trouble> {
        let path = self.plant.path.display();
        match walk::close(self.plant) {
            Ok(()) => Ok(format!("took the setgid bit off {path}")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(format!("{path} is gone")),
            Err(error) => Err(Trouble::new(
                format!("{path} keeps its setgid bit: {error}"),
                format!("remove it: rm {}", word(&self.plant.path)),
            )),
        }
    }

    fn undo(&self) -> Undone {
        if is_set(self.plant) {
            Undone::NotNeeded
        } else {
            Undone::No(format!("{} stays without its setgid bit", self.plant.path.display()))
        }
    }
}
