//! sudo's last rule: a file of its own that denies the account everything, whatever other rules say.
//!
//! Under its temporary name sudo skips it (a leading dot). It is put in place only after visudo(8) has accepted it, and it
//! stays only if visudo accepts all rules together and nothing comes after it.
//!
//! Source: sudoers(5).

use std::ffi::OsStr;
use std::path::PathBuf;

use super::deed::{Deed, Due, Trouble, Undone, word};
use super::whole_file::{self, Content, Draft, Look};
use super::{DropIn, Intent};
use crate::tools;

/// What sudo wants its files to be.
const LOOK: Look = Look::roots(0o440);

/// Whether the rules are in the right order.
pub(super) type Check<'i> = &'i dyn Fn() -> Result<(), String>;

pub(super) fn look<'i>(intent: &'i Intent, check: Check<'i>) -> Result<Due<'i>, Trouble> {
    let visudo = tools::need("visudo")?;
    let path = &intent.drop_in.path;
    let before = whole_file::read(path)?;
    let rule = Rule { intent, check, visudo, before };
    if rule.is_there()? {
        rule.check_all()?;
        return Ok(Due::Already(vec![format!("{} is there", path.display())]));
    }
    Ok(Due::Deeds(vec![Box::new(rule)]))
}

struct Rule<'i> {
    intent: &'i Intent,
    check: Check<'i>,
    visudo: PathBuf,
    /// Something of that name that is not what it should be.
    before: Option<Content>,
}

impl Rule<'_> {
    fn drop_in(&self) -> &DropIn {
        &self.intent.drop_in
    }

    fn wanted(&self) -> Content {
        Content { bytes: self.drop_in().text.as_bytes().to_vec(), look: LOOK }
    }

    fn is_there(&self) -> Result<bool, Trouble> {
        Ok(whole_file::read(&self.drop_in().path)?.as_ref() == Some(&self.wanted()))
    }

    fn put(&self, content: &Content) -> Result<Draft, Trouble> {
        let DropIn { path, .. } = self.drop_in();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Ok(Draft::write(path, &format!(".{name}.new"), &content.bytes, content.look)?)
    }

    /// visudo's opinion of a file, and of those that it includes.
    fn check_syntax(&self, file: &OsStr, hint: &str) -> Result<(), Trouble> {
        let ran = tools::run(&self.visudo, [OsStr::new("-c"), OsStr::new("-f"), file])?;
        if ran.is_success() {
            return Ok(());
        }
        let file = file.to_string_lossy();
        Err(Trouble::new(format!("visudo does not accept {file}: {}", ran.words()), hint))
    }

    /// All rules, with ours among them.
    fn check_all(&self) -> Result<(), Trouble> {
        let DropIn { path, .. } = self.drop_in();
        whole_file::check_folder(path.parent().unwrap_or(path))?;
        // visudo does not look at owners and modes where it is given a file: those of others are not our affair.
        if !self.is_there()? {
            let because = format!("{} is not what was written there", path.display());
            return Err(Trouble::new(
                because,
                "something else writes it at the same time: run this again",
            ));
        }
        let sudoers = self.intent.sudoers.as_os_str();
        self.check_syntax(sudoers, "mend sudo's rules first: visudo -c says where")?;
        (self.check)().map_err(|because| {
            Trouble::new(because, "no rule may come after ours: see which file sudo reads last")
        })
    }
}

impl Deed for Rule<'_> {
    fn plan(&self) -> String {
        format!("write {}", self.drop_in().path.display())
    }

    fn reverse(&self) -> Option<String> {
        Some(format!("rm {}", word(&self.drop_in().path)))
    }

    fn act(&mut self) -> Result<String, Trouble> {
        let draft = self.put(&self.wanted())?;
        let hint = "this sudo reads rules in another way: its version is in `sudo -V`";
        self.check_syntax(draft.path().as_os_str(), hint)?;
        draft.put()?;
        self.check_all()?;
        Ok(format!("wrote {}", self.drop_in().path.display()))
    }

    fn undo(&self) -> Undone {
        let path = &self.drop_in().path;
        let stays = format!("{} stays", path.display());
        match (self.is_there(), &self.before) {
            (Err(Trouble { because, .. }), _) => Undone::No(format!("{stays}: {because}")),
            (Ok(false), _) => Undone::NotNeeded,
            (Ok(true), None) => {
                let removed = whole_file::remove(path).map(|_| ()).map_err(Trouble::from);
                Undone::of(removed, format!("removed {}", path.display()), &stays)
            }
            (Ok(true), Some(before)) => {
                let put = self.put(before).and_then(|draft| Ok(draft.put()?));
                Undone::of(put, format!("put the old {} back", path.display()), &stays)
            }
        }
    }
}
