//! Groups: left with deluser(8), else with gpasswd(1), and looked up again afterwards.
//!
//! A name that only `/etc/gshadow` has counts as well: sg(1) and newgrp(1) go by that list (shadow 4.13, tried), while
//! deluser does not know it.

use codex_config::shell_word;

use super::Intent;
use super::deed::{Deed, Due, Trouble, Undone};
use crate::group_file::{GROUP, GSHADOW, Lists};
use crate::tools;

/// What would fail later, so that nothing is begun: programs that are missing, names that they would take for something
/// else.
pub(super) fn check(intent: &Intent) -> Result<(), Trouble> {
    let Intent { account, leave, administered, .. } = intent;
    if leave.is_empty() && administered.is_empty() {
        return Ok(());
    }
    let groups = administered.iter().map(|administered| &administered.group);
    let others = administered.iter().flat_map(|administered| &administered.remaining);
    for name in [&account.name].into_iter().chain(leave).chain(groups).chain(others) {
        check_name(name)?;
    }
    let has_deluser = administered.is_empty() && tools::find("deluser").is_some();
    if !has_deluser {
        tools::need("gpasswd")?;
    }
    Ok(())
}

/// A name could come from a directory, where useradd(8) has not looked at it.
fn check_name(name: &str) -> Result<(), Trouble> {
    let is_refused = |letter: char| letter.is_control() || ":,".contains(letter);
    if !name.is_empty() && !name.starts_with('-') && !name.contains(is_refused) {
        return Ok(());
    }
    Err(Trouble::new(
        format!("the name {name:?} can't be given to deluser or gpasswd"),
        "take it out of /etc/group and /etc/gshadow by hand (vigr, vigr -s), then run this again",
    ))
}

pub(super) fn look(intent: &Intent) -> Result<Due<'_>, Trouble> {
    if intent.leave.is_empty() {
        return Ok(Due::Nothing);
    }
    let lists = read()?;
    let (mut deeds, mut already): (Vec<Box<dyn Deed>>, _) = (Vec::new(), Vec::new());
    for group in &intent.leave {
        let name = intent.account.name.as_str();
        if is_member(&lists, name, group) {
            let was_listed = is_listed(&lists, name, group);
            let was_shadowed = is_shadowed(&lists, name, group);
            deeds.push(Box::new(Leave { name, group, was_listed, was_shadowed }));
        } else {
            already.push(format!("is not in the group {group}"));
        }
    }
    Ok(Due::deeds(deeds, already))
}

/// The lists that name groups, or why there are none to go by.
pub(super) fn read() -> Result<Lists, Trouble> {
    let lists = Lists::read();
    match [GROUP, GSHADOW].into_iter().find_map(|file| lists.unread(file)) {
        None => Ok(lists),
        Some(unread) => Err(Trouble::new(
            format!("{} can't be read: {}", unread.file, unread.because),
            format!("look at it: ls -l {}", unread.file),
        )),
    }
}

/// In `/etc/group`: what logging in gives.
fn is_listed(lists: &Lists, name: &str, group: &str) -> bool {
    let has = |members: &[String]| members.iter().any(|member| member == name);
    lists.groups.iter().any(|line| line.name == group && has(&line.members))
}

/// In `/etc/gshadow`.
fn is_shadowed(lists: &Lists, name: &str, group: &str) -> bool {
    let has = |members: &[String]| members.iter().any(|member| member == name);
    lists.shadowed_groups.iter().any(|line| line.name == group && has(&line.members))
}

/// In either list.
fn is_member(lists: &Lists, name: &str, group: &str) -> bool {
    is_listed(lists, name, group) || is_shadowed(lists, name, group)
}

struct Leave<'i> {
    name: &'i str,
    group: &'i str,
    /// Whether `/etc/group` had it.
    was_listed: bool,
    /// Whether `/etc/gshadow` had it.
    was_shadowed: bool,
}

impl Leave<'_> {
    fn has_left(&self) -> Result<bool, Trouble> {
        Ok(!is_member(&read()?, self.name, self.group))
    }

    /// What it said. `None`: there is none here.
    fn deluser(&self) -> Result<Option<String>, Trouble> {
        let Some(deluser) = tools::find("deluser") else { return Ok(None) };
        let said = match tools::run(&deluser, ["--", self.name, self.group]) {
            Ok(ran) => ran.words(),
            Err(error) => error.to_string(),
        };
        Ok(Some(said))
    }
}

impl Deed for Leave<'_> {
    fn plan(&self) -> String {
        format!("leave the group {}", self.group)
    }

    fn reverse(&self) -> Option<String> {
        Some(format!("gpasswd -a {} {}", shell_word(self.name), shell_word(self.group)))
    }

    fn act(&mut self) -> Result<String, Trouble> {
        let Self { name, group, .. } = *self;
        let mut said = Vec::new();
        if self.was_listed
            && let Some(words) = self.deluser()?
        {
            if self.has_left()? {
                return Ok(format!("left the group {group} (deluser)"));
            }
            said.push(format!("deluser: {words}"));
        }
        match tools::need("gpasswd").and_then(|path| tools::run(&path, ["-d", name, "--", group])) {
            Ok(ran) => said.push(format!("gpasswd: {}", ran.words())),
            Err(error) => said.push(error.to_string()),
        }
        if self.has_left()? {
            return Ok(format!("left the group {group} (gpasswd -d)"));
        }
        Err(Trouble::new(
            format!("{name} is still in the group {group}: {}", said.join("; ")),
            format!("try it by hand: gpasswd -d {} {}", shell_word(name), shell_word(group)),
        ))
    }

    fn undo(&self) -> Undone {
        let Self { name, group, was_listed, was_shadowed } = *self;
        let stays = format!("{name} stays out of the group {group}");
        match read() {
            Err(Trouble { because, .. }) => Undone::No(format!("{stays}: {because}")),
            Ok(lists) if is_listed(&lists, name, group) => Undone::NotNeeded,
            Ok(lists) if !was_listed && is_member(&lists, name, group) => Undone::NotNeeded,
            Ok(_) if !was_listed => {
                Undone::No(format!("{stays}: only /etc/gshadow had it, and gpasswd would add more"))
            }
            Ok(_) => {
                let back = || -> Result<Lists, Trouble> {
                    let ran = tools::run(&tools::need("gpasswd")?, ["-a", name, "--", group])?;
                    let lists = read()?;
                    let is_back = is_listed(&lists, name, group);
                    if is_back { Ok(lists) } else { Err(Trouble::new(ran.words(), "")) }
                };
                let (back, mut words) = (back(), format!("put {name} back into the group {group}"));
                // gpasswd(1) knows one way only: into both lists.
                if !was_shadowed && back.as_ref().is_ok_and(|now| is_shadowed(now, name, group)) {
                    words += &format!("; {GSHADOW} names it too now");
                }
                Undone::of(back.map(|_| ()), words, &stays)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_one_in_either_list() {
        let group = "sudo:x:27:alice,bob\nother:x:28:carol\nsudo:x:29:dave\n";
        let lists = Lists::of(group, "sudo:!:erin:alice,carol\n", "", "");
        for (name, listed, member) in [
            ("alice", true, true),
            ("bob", true, true),
            ("carol", false, true),
            ("dave", true, true), // Names can stand twice.
            ("erin", false, false),
            ("ali", false, false),
            ("", false, false),
        ] {
            assert_eq!(is_listed(&lists, name, "sudo"), listed, "{name:?}");
            assert_eq!(is_member(&lists, name, "sudo"), member, "{name:?}");
            assert_eq!(is_shadowed(&lists, name, "sudo"), ["alice", "carol"].contains(&name));
        }
        assert!(!is_member(&lists, "alice", "other") && !is_member(&lists, "alice", "none"));
    }

    #[test]
    fn a_name_that_a_tool_would_take_for_something_else_is_refused() {
        for name in ["alice", "a-b", "a b", "é", "DOMAIN\\alice", "alice@example.org", "9"] {
            assert_eq!(check_name(name), Ok(()), "{name:?}");
        }
        for name in ["", "-", "-a", "--root=/x", "a:b", "a,b", "a\n", "a\0"] {
            let trouble = check_name(name).unwrap_err();
            assert!(trouble.because.contains(&format!("{name:?}")), "{trouble:?}");
        }
    }
}
