//! PAM's line: sudo asks PAM also where its rules come from elsewhere (LDAP, sssd).
//!
//! A file is changed only while it still says what the plan has seen. If the module that the line names were missing,
//! nobody could use sudo any more: so it is looked for first.
//!
//! Source: pam.conf(5), pam_succeed_if(8).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::deed::{Deed, Due, Trouble, Undone, word};
use super::pam_text;
use super::whole_file::{self, Look};
use super::{Intent, PamEdit};

const MODULE: &str = "pam_succeed_if.so";
/// Where modules are: in `security` in one of these, or in a folder of these.
const LIBRARIES: [&str; 4] = ["/usr/lib", "/usr/lib64", "/lib", "/lib64"];

pub(super) fn look(intent: &Intent) -> Result<Due<'_>, Trouble> {
    if intent.pam.is_empty() {
        return Ok(Due::Nothing);
    }
    let uid = intent.account.uid;
    let (mut deeds, mut already): (Vec<Box<dyn Deed>>, _) = (Vec::new(), Vec::new());
    for edit in &intent.pam {
        // The folder is looked at link by link before anything is written; and a link itself is to stay.
        let file = fs::canonicalize(&edit.file).map_err(|error| unreadable(&edit.file, &error))?;
        let now = whole_file::read(&file)?
            .ok_or_else(|| unreadable(&file, &io::ErrorKind::NotFound.into()))?;
        if pam_text::lock(&now.bytes, uid) == now.bytes {
            already.push(format!("{} has its line", file.display()));
        } else if now.bytes == edit.before {
            deeds.push(Box::new(Line { edit, uid, look: now.look, file }));
        } else {
            return Err(Trouble::new(
                format!("{} has been changed since it was looked at", file.display()),
                "run this again: it looks at it anew",
            ));
        }
    }
    if !deeds.is_empty() {
        check_module()?;
    }
    Ok(Due::deeds(deeds, already))
}

fn unreadable(file: &Path, error: &io::Error) -> Trouble {
    let because = format!("{} can't be read: {error}", file.display());
    Trouble::new(because, "run this again: it looks at PAM's files anew")
}

fn check_module() -> Result<(), Trouble> {
    if LIBRARIES.iter().any(|library| has_module(Path::new(library))) {
        return Ok(());
    }
    Err(Trouble::new(
        format!("PAM's module {MODULE} is not installed (looked in {})", LIBRARIES.join(", ")),
        "install it: it comes with the package libpam-modules, or pam",
    ))
}

fn has_module(library: &Path) -> bool {
    let is_in = |folder: &Path| folder.join("security").join(MODULE).is_file();
    let mut entries = fs::read_dir(library).into_iter().flatten().flatten();
    is_in(library) || entries.any(|entry| is_in(&entry.path()))
}

struct Line<'i> {
    edit: &'i PamEdit,
    uid: u32,
    /// As the file is.
    look: Look,
    /// Without links.
    file: PathBuf,
}

impl Line<'_> {
    fn replace(&self, bytes: &[u8]) -> Result<(), Trouble> {
        let name = self.file.file_name().unwrap_or_default().to_string_lossy();
        Ok(whole_file::replace(&self.file, &format!(".{name}.codex-new"), bytes, self.look)?)
    }

    fn now(&self) -> Result<Option<Vec<u8>>, Trouble> {
        Ok(whole_file::read(&self.file)?.map(|content| content.bytes))
    }
}

impl Deed for Line<'_> {
    fn plan(&self) -> String {
        format!("put a line into {}", self.file.display())
    }

    fn reverse(&self) -> Option<String> {
        let words = pam_text::sed_words(self.uid).map(|word| codex_config::shell_word(&word));
        Some(format!("sed -i {} {}", words.join(" "), word(&self.file)))
    }

    fn act(&mut self) -> Result<String, Trouble> {
        let file = self.file.display();
        let (edit, uid) = (self.edit, self.uid);
        if pam_text::lock(&edit.after, uid) != edit.after {
            let because = format!("what was planned for {file} does not lock the account out");
            return Err(Trouble::new(because, "run this again"));
        }
        self.replace(&edit.after)?;
        if self.now()?.as_ref() != Some(&edit.after) {
            let because = format!("{file} is not what was written there");
            return Err(Trouble::new(because, "something else writes it: run this again"));
        }
        Ok(format!("put a line into {file}"))
    }

    fn undo(&self) -> Undone {
        let (file, edit) = (self.file.display(), self.edit);
        match self.now() {
            Err(Trouble { because, .. }) => Undone::No(format!("{file} keeps its line: {because}")),
            Ok(Some(now)) if now == edit.before => Undone::NotNeeded,
            Ok(Some(now)) if now == edit.after => {
                let stays = format!("{file} keeps its line");
                Undone::of(self.replace(&edit.before), format!("restored {file}"), &stays)
            }
            Ok(_) => Undone::No(format!("{file} is left as somebody else has just made it")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_found_in_a_library_folder_or_one_below() {
        for (below, is_found) in [
            ("security", true),
            ("x86_64-linux-gnu/security", true),
            ("a/b/security", false),
            ("a", false),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let below = folder.path().join(below);
            fs::create_dir_all(&below).unwrap();
            fs::write(below.join(MODULE), "").unwrap();
            assert_eq!(has_module(folder.path()), is_found, "{}", below.display());
        }
        assert!(!has_module(Path::new("/no/such/folder")));
    }
}
