//! Administrators of groups: one could add himself to a group again.
//!
//! The others stay what they are: their list is replaced only if it is still the one that the plan has seen.
//!
//! Source: gshadow(5), gpasswd(1).

use std::collections::BTreeSet;

use codex_config::shell_word;

use super::deed::{Deed, Due, Trouble, Undone};
use super::groups::read;
use super::{Administered, Intent};
use crate::group_file::Lists;
use crate::tools;

pub(super) fn look(intent: &Intent) -> Result<Due<'_>, Trouble> {
    if intent.administered.is_empty() {
        return Ok(Due::Nothing);
    }
    let lists = read()?;
    let name = intent.account.name.as_str();
    let (mut deeds, mut already): (Vec<Box<dyn Deed>>, _) = (Vec::new(), Vec::new());
    for Administered { group, remaining } in &intent.administered {
        let before = administrators(&lists, group);
        if !before.iter().any(|administrator| administrator == name) {
            already.push(format!("does not administer the group {group}"));
        } else if is_same(before.iter().filter(|other| *other != name), remaining) {
            deeds.push(Box::new(Resign { group, remaining, before }));
        } else {
            return Err(Trouble::new(
                format!(
                    "the administrators of the group {group} have changed since they were looked at"
                ),
                "run this again: it looks at them anew",
            ));
        }
    }
    Ok(Due::deeds(deeds, already))
}

fn administrators(lists: &Lists, group: &str) -> Vec<String> {
    let lines = lists.shadowed_groups.iter().filter(|line| line.name == group);
    lines.flat_map(|line| line.administrators.clone()).collect()
}

/// Whatever their order.
fn is_same<'n>(some: impl Iterator<Item = &'n String>, others: &'n [String]) -> bool {
    some.collect::<BTreeSet<_>>() == others.iter().collect::<BTreeSet<_>>()
}

struct Resign<'i> {
    group: &'i str,
    remaining: &'i [String],
    before: Vec<String>,
}

impl Resign<'_> {
    /// Makes them the administrators.
    fn set(&self, names: &[String]) -> Result<(), Trouble> {
        let (list, group) = (names.join(","), self.group);
        let ran = tools::run(&tools::need("gpasswd")?, ["-A", list.as_str(), "--", group])?;
        if self.is_now(names)? {
            return Ok(());
        }
        Err(Trouble::new(
            format!("the administrators of the group {group} can't be set: {}", ran.words()),
            format!("all of them have to be accounts that there are: {}", command(names, group)),
        ))
    }

    fn is_now(&self, names: &[String]) -> Result<bool, Trouble> {
        Ok(is_same(administrators(&read()?, self.group).iter(), names))
    }
}

fn command(names: &[String], group: &str) -> String {
    format!("gpasswd -A {} {}", shell_word(&names.join(",")), shell_word(group))
}

impl Deed for Resign<'_> {
    fn plan(&self) -> String {
        format!("stop administering the group {}", self.group)
    }

    fn reverse(&self) -> Option<String> {
        Some(command(&self.before, self.group))
    }

    fn act(&mut self) -> Result<String, Trouble> {
        self.set(self.remaining)?;
        Ok(format!("no longer administers the group {} (gpasswd -A)", self.group))
    }

    fn undo(&self) -> Undone {
        let group = self.group;
        let stays = format!("the administrators of the group {group} stay changed");
        match (self.is_now(&self.before), self.is_now(self.remaining)) {
            (Ok(true), _) => Undone::NotNeeded,
            (_, Ok(true)) => {
                let words = format!("restored the administrators of the group {group}");
                Undone::of(self.set(&self.before), words, &stays)
            }
            (Err(Trouble { because, .. }), _) | (_, Err(Trouble { because, .. })) => {
                Undone::No(format!("{stays}: {because}"))
            }
            (Ok(false), Ok(false)) => Undone::No(format!(
                "the administrators of the group {group} are left as somebody else has just made them"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn administrators_are_those_of_every_line_of_the_group() {
        let lists = Lists::of("", "sudo:!:a,b:m\nother:!:c:\nsudo:!:d:\n", "", "");
        for (group, expected) in [("sudo", "a b d"), ("other", "c"), ("none", "")] {
            assert_eq!(administrators(&lists, group), names(expected), "{group}");
        }
    }

    #[test]
    fn the_order_of_names_means_nothing() {
        for (some, others, expected) in
            [("a b", "b a", true), ("", "", true), ("a", "a b", false), ("a", "", false)]
        {
            assert_eq!(is_same(names(some).iter(), &names(others)), expected, "{some}, {others}");
        }
    }

    #[test]
    fn what_an_administrator_types_to_take_it_back_has_all_names() {
        assert_eq!(command(&names("a b"), "sudo"), "gpasswd -A a,b sudo");
        assert_eq!(command(&[], "a b"), "gpasswd -A '' 'a b'");
    }
}
