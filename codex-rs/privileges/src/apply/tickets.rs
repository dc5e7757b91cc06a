//! sudo's tickets: with one, sudo asks for no password.
//!
//! They lie in a folder of root's alone. A link in their place would be removed itself.

use std::fs;
use std::path::Path;

use super::Intent;
use super::deed::{Deed, Due, Trouble, Undone};
use super::whole_file;

pub(super) fn look(intent: &Intent) -> Result<Due<'_>, Trouble> {
    if intent.tickets.is_empty() {
        return Ok(Due::Nothing);
    }
    let (mut deeds, mut already): (Vec<Box<dyn Deed>>, _) = (Vec::new(), Vec::new());
    for path in &intent.tickets {
        if is_there(path) {
            deeds.push(Box::new(Ticket { path }));
        } else {
            already.push(format!("{} is not there", path.display()));
        }
    }
    Ok(Due::deeds(deeds, already))
}

fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

struct Ticket<'i> {
    path: &'i Path,
}

impl Deed for Ticket<'_> {
    fn plan(&self) -> String {
        format!("remove {}", self.path.display())
    }

    /// The next password makes a new one.
    fn reverse(&self) -> Option<String> {
        None
    }

    fn act(&mut self) -> Result<String, Trouble> {
        whole_file::remove(self.path)?;
        Ok(format!("removed {}", self.path.display()))
    }

    fn undo(&self) -> Undone {
        if is_there(self.path) {
            Undone::NotNeeded
        } else {
            Undone::No(format!("{} stays removed: sudo asks for a password", self.path.display()))
        }
    }
}
