//! su: who becomes root with it, and is asked for nothing.
//!
//! Source: pam.conf(5), pam_wheel(8), shadow(5).

use std::io;
use std::path::{Path, PathBuf};

use codex_config::regular::read_regular;
use codex_config::shell_word;

use crate::finding::{Closing, Finding, let_root_look};
use crate::group_file::{Lists, PASSWD, Password, SHADOW};
use crate::leading::leading;
use crate::subject::Subject;
use crate::tools;

const CHECK: &str = "su";
const ROOT_PASSWORD: &str = "root_password";
/// Where services' files are; the first one counts.
const FOLDERS: [&str; 2] = ["/etc/pam.d", "/usr/lib/pam.d"];
const SERVICES: [&str; 2] = ["su", "su-l"];
const LIMIT_BYTES: u64 = 256 * 1024;
const DEEPEST: usize = 6;
/// Modules that say yes by other things than a password of root's; which ones, their arguments and files say.
const TELLING: [&str; 6] = [
    "pam_succeed_if",
    "pam_listfile",
    "pam_exec",
    "pam_access",
    "pam_ssh_agent_auth",
    "pam_script",
];

/// What su would do for the account.
pub(crate) fn look(subject: &Subject) -> Vec<Finding> {
    let lists = Lists::read();
    let mut found: Vec<Finding> = Vec::from_iter(root_password(subject, &lists));
    if tools::find("su").is_none() {
        return found;
    }
    for service in SERVICES {
        let mut lines = Vec::new();
        match collect(service, DEEPEST, &read, &mut lines) {
            Ok(()) => found.extend(judge(subject, &lists, service, &lines)),
            Err(error) => {
                let why = "whom su lets become root without a password can't be told";
                found.push(
                    Finding::undecided(CHECK, format!("{}/{service}", FOLDERS[0]), why)
                        .seen(format!("it can't be read: {error}"))
                        .remedy(let_root_look(&subject.account)),
                );
            }
        }
    }
    found
}

fn root_password(subject: &Subject, lists: &Lists) -> Option<Finding> {
    let what = "the password of root";
    let root = lists.entry("root")?;
    if lists.password(root) == Password::Empty {
        let why = "it is empty: su asks for none where PAM has nullok";
        let seen = format!("the field of root is empty in {PASSWD} or {SHADOW}");
        Some(Finding::open(ROOT_PASSWORD, what, why).seen(seen).remedy("passwd -l root"))
    } else {
        let unread = lists.unread(SHADOW).filter(|_| root.is_shadowed)?;
        let why = "whether it is empty can't be told";
        Some(
            Finding::undecided(ROOT_PASSWORD, what, why)
                .seen(format!("{SHADOW} can't be read: {}", unread.because))
                .remedy(let_root_look(&subject.account)),
        )
    }
}

/// A line about authentication.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    /// The file that it stands in.
    file: PathBuf,
    control: Control,
    /// Without its folder and `.so`.
    module: String,
    arguments: Vec<String>,
}

/// What it means for the whole that a module says yes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Control {
    /// Nobody is asked further.
    Enough,
    /// Some modules are not asked.
    Skips,
    /// The others are asked too.
    GoesOn,
}

/// A file, and what it says.
type Text = (PathBuf, String);

/// The file of a service, where it is.
fn read(service: &str) -> io::Result<Option<Text>> {
    for folder in FOLDERS {
        let path = Path::new(folder).join(service); // An include may name a file by its path.
        let read = read_regular(&path, LIMIT_BYTES).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })?;
        if let Some(bytes) = read {
            return Ok(Some((path, String::from_utf8_lossy(&bytes).into_owned())));
        }
    }
    Ok(None)
}

/// All lines about authentication of a service, those of included files in their place. A file that is not there has
/// none.
fn collect(
    service: &str,
    deepest: usize,
    read: &dyn Fn(&str) -> io::Result<Option<Text>>,
    lines: &mut Vec<Line>,
) -> io::Result<()> {
    let Some((file, text)) = read(service)? else { return Ok(()) };
    for line in text.replace("\\\n", " ").lines() {
        let line = line.split('#').next().unwrap_or_default();
        let Some(parsed) = parse(line) else { continue };
        match parsed {
            Parsed::Include(other) if deepest > 0 => collect(&other, deepest - 1, read, lines)?,
            Parsed::Include(_) => {}
            Parsed::Auth { control, module, arguments } => {
                lines.push(Line { file: file.clone(), control, module, arguments });
            }
        }
    }
    Ok(())
}

enum Parsed {
    Include(String),
    Auth { control: Control, module: String, arguments: Vec<String> },
}

fn parse(line: &str) -> Option<Parsed> {
    let (kind, rest) = line.trim().split_once(char::is_whitespace)?;
    let rest = rest.trim_start();
    if kind == "@include" {
        return Some(Parsed::Include(rest.split_whitespace().next()?.to_owned()));
    }
    // A hyphen only says that a missing module is not worth a word in the log.
    if !kind.trim_start_matches('-').eq_ignore_ascii_case("auth") {
        return None;
    }
    let (control, rest) = match rest.strip_prefix('[') {
        Some(actions) => {
            let (actions, rest) = actions.split_once(']')?;
            (control_of(actions), rest)
        }
        None => match rest.split_once(char::is_whitespace)? {
            ("include" | "substack", rest) => {
                return Some(Parsed::Include(rest.split_whitespace().next()?.to_owned()));
            }
            ("sufficient", rest) => (Control::Enough, rest),
            (_, rest) => (Control::GoesOn, rest),
        },
    };
    let mut words = rest.split_whitespace().map(|word| word.trim_matches(['[', ']']));
    let module = words.next()?.rsplit('/').next()?.trim_end_matches(".so").to_owned();
    Some(Parsed::Auth { control, module, arguments: words.map(str::to_owned).collect() })
}

fn control_of(actions: &str) -> Control {
    let action = |name: &str| {
        let mut actions = actions.split_whitespace().filter_map(|action| action.split_once('='));
        actions.find(|(value, _)| *value == name).map(|(_, action)| action)
    };
    match action("success").or_else(|| action("default")) {
        Some("done") => Control::Enough,
        Some(number) if number.parse::<u32>().is_ok() => Control::Skips,
        _ => Control::GoesOn,
    }
}

fn judge(subject: &Subject, lists: &Lists, service: &str, lines: &[Line]) -> Vec<Finding> {
    let mut found: Vec<Finding> = Vec::new();
    for line in lines {
        let has = |argument: &str| line.arguments.iter().any(|other| other == argument);
        let finding = match &*line.module {
            "pam_wheel" if has("trust") && !has("deny") => trusted(subject, lists, service, line),
            "pam_permit" if line.control == Control::Enough => {
                let what = format!("{service}: everybody passes");
                let why = "su asks nobody for anything";
                Some(line.finding(Finding::open(CHECK, what, why)))
            }
            telling if TELLING.contains(&telling) && line.control == Control::Enough => {
                let what = format!("{service}, by its line with {telling}");
                let why = "whom it passes for sufficient can't be told by reading it";
                Some(line.finding(Finding::undecided(CHECK, what, why)))
            }
            _ => None,
        };
        found.extend(finding.filter(|new| !found.iter().any(|other| other.is_same(new))));
    }
    found
}

impl Line {
    fn finding(&self, finding: Finding) -> Finding {
        let file = self.file.to_string_lossy();
        finding
            .seen(format!("{file}: auth {} {}", self.module, self.arguments.join(" ")))
            .remedy(format!("take the line out of {}", shell_word(&file)))
    }
}

/// pam_wheel asks the lists of groups and not the process, so that fresh groups alone count.
fn trusted(subject: &Subject, lists: &Lists, service: &str, line: &Line) -> Option<Finding> {
    if line.control == Control::GoesOn {
        return None;
    }
    let group = trusted_group(subject, lists, line)?;
    let why = "pam_wheel trusts its members: su makes them root without a password";
    let what = format!("{service}, trusting the group {group}");
    let finding = match line.control {
        Control::Enough => Finding::open(CHECK, what, why),
        _ => Finding::undecided(CHECK, what, why),
    };
    let finding = line.finding(finding);
    Some(if leading(&group).is_some() { finding.closed_by(Closing::Groups) } else { finding })
}

/// The group that it trusts, where the account is in it.
fn trusted_group(subject: &Subject, lists: &Lists, line: &Line) -> Option<String> {
    let account = &subject.account;
    let named = line.arguments.iter().find_map(|argument| argument.strip_prefix("group="));
    let name = named.unwrap_or("wheel");
    let is_known = |name: &str| {
        let mut known = account.groups.iter();
        known.any(|group| group.name.as_deref() == Some(name))
            || lists.groups.iter().any(|group| group.name == name)
    };
    let in_group = |name: &str| {
        let mut known = account.groups.iter();
        known.any(|group| group.name.as_deref() == Some(name))
            || lists
                .groups
                .iter()
                .any(|group| group.name == name && subject.fresh.contains(&group.gid))
    };
    if in_group(name) {
        Some(name.to_owned())
    } else if named.is_none() && !is_known(name) && subject.fresh.contains(&0) {
        Some("root".to_owned()) // Where there is no wheel it is group 0.
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Grade;
    use crate::subject::testing::subject;

    fn found(text: &str, gids: &[u32]) -> Vec<(Grade, String, Option<Closing>)> {
        let read = |service: &str| {
            let text = match service {
                "su" => Some(text.to_owned()),
                "other" => Some("auth sufficient pam_wheel.so trust group=ops\n".to_owned()),
                "round" => Some("@include round\n".to_owned()),
                _ => None,
            };
            Ok(text.map(|text| (Path::new("/etc/pam.d").join(service), text)))
        };
        let lists = Lists::of("root:x:0:\nops:x:70:tst_u\nwheel:x:71:\n", "", "", "");
        let mut lines = Vec::new();
        collect("su", DEEPEST, &read, &mut lines).unwrap();
        let findings = judge(&subject(61_500, gids), &lists, "su", &lines);
        findings.into_iter().map(|it| (it.grade, it.what, it.closed_by)).collect()
    }

    #[test]
    fn trust_counts_for_those_whom_the_line_means() {
        let wheel =
            |grade| vec![(grade, "su, trusting the group wheel".to_owned(), Some(Closing::Groups))];
        let ops = || vec![(Grade::Open, "su, trusting the group ops".to_owned(), None)];
        for (text, gids, expected) in [
            ("auth sufficient pam_wheel.so trust", &[100, 71][..], wheel(Grade::Open)),
            (
                "auth\tsufficient\t/lib/security/pam_wheel.so use_uid trust",
                &[100, 71],
                wheel(Grade::Open),
            ),
            ("-auth [success=done default=ignore] pam_wheel.so trust", &[71], wheel(Grade::Open)),
            ("auth [success=2 default=ignore] pam_wheel.so trust", &[71], wheel(Grade::Undecided)),
            ("auth sufficient \\\n pam_wheel.so trust # yes", &[71], wheel(Grade::Open)),
            ("auth sufficient pam_wheel.so trust", &[100, 70], vec![]),
            ("auth sufficient pam_wheel.so trust", &[100, 0], vec![]), // There is a wheel.
            ("auth required pam_wheel.so trust", &[71], vec![]),
            ("auth sufficient pam_wheel.so", &[71], vec![]),
            ("auth sufficient pam_wheel.so trust deny", &[71], vec![]),
            ("# auth sufficient pam_wheel.so trust", &[71], vec![]),
            ("account sufficient pam_wheel.so trust", &[71], vec![]),
            ("auth sufficient pam_wheel.so trust group=ops", &[100, 70], ops()),
            ("@include other", &[100, 70], ops()),
            ("auth include other", &[100, 70], ops()),
            ("auth substack other\nauth include other", &[100, 70], ops()),
            ("@include round\n@include nothing\nauth\nauth [x\nauth sufficient", &[71], vec![]),
        ] {
            assert_eq!(found(text, gids), expected, "{text}");
        }
    }

    #[test]
    fn modules_that_pass_others_are_told() {
        let what = "su, by its line with pam_succeed_if".to_owned();
        for (text, expected) in [
            (
                "auth sufficient pam_permit.so",
                vec![(Grade::Open, "su: everybody passes".to_owned(), None)],
            ),
            ("auth required pam_permit.so", vec![]),
            (
                "auth sufficient pam_succeed_if.so use_uid user ingroup a",
                vec![(Grade::Undecided, what, None)],
            ),
            ("auth sufficient pam_rootok.so\nauth sufficient pam_unix.so nullok", vec![]),
        ] {
            assert_eq!(found(text, &[100]), expected, "{text}");
        }
    }

    #[test]
    fn an_empty_password_of_root_is_a_way_and_a_set_one_is_none() {
        let unread = || crate::group_file::Unread { file: SHADOW, because: "denied".to_owned() };
        let grade = |passwd: &str, shadow: &str, unread: Vec<_>| {
            let lists = Lists { unread, ..Lists::of("", "", passwd, shadow) };
            root_password(&subject(61_500, &[100]), &lists).map(|finding| finding.grade)
        };
        let shadowed = "root:x:0:0::/root:/bin/sh\n";
        assert_eq!(grade(shadowed, "root::1::::::\n", vec![]), Some(Grade::Open));
        assert_eq!(grade("root::0:0::/root:/bin/sh\n", "", vec![]), Some(Grade::Open));
        assert_eq!(grade(shadowed, "root:$6$s$h:1::::::\n", vec![]), None);
        assert_eq!(grade(shadowed, "root:*:1::::::\n", vec![]), None);
        assert_eq!(grade(shadowed, "", vec![unread()]), Some(Grade::Undecided));
    }
}
