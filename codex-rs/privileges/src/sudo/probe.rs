//! Trying to become root, or anybody else, through sudo: as the account, in every way that there is.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

use super::installed::Sudo;
use super::rules::Rule;
use crate::subject::{Subject, group_name};
use crate::tools::{self, ToolError};

/// Names in rules, and groups, that are tried at most.
const AT_MOST: usize = 24;

/// The credentials that every login gives, in words.
pub(crate) const FRESH: &str = "a fresh login";

/// What a process of the account may come with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) words: String,
    rgid: u32,
    gids: BTreeSet<u32>,
}

/// How sudo is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    options: Vec<String>,
    /// Whether a program follows.
    has_program: bool,
}

/// The credentials to try: those of a fresh login, and with each of these groups, as a running process or a file with
/// the setgid bit would have them.
pub(crate) fn credentials(subject: &Subject, privileged: &BTreeSet<u32>) -> Vec<Credentials> {
    let (fresh, rgid) = (&subject.fresh, subject.account.gid);
    let more: BTreeSet<u32> = privileged.difference(fresh).copied().take(AT_MOST).collect();
    let mut all = vec![Credentials { words: FRESH.to_owned(), rgid, gids: fresh.clone() }];
    if !more.is_empty() {
        let names: Vec<String> = more.iter().copied().map(group_name).collect();
        let words = format!("a process that still has {}", names.join(", "));
        all.push(Credentials { words, rgid, gids: fresh.union(&more).copied().collect() });
    }
    all.extend(more.iter().map(|gid| {
        let words = format!("a setgid file of {}", group_name(*gid));
        Credentials { words, rgid: *gid, gids: fresh.clone() }
    }));
    all
}

/// The forms to try: as root and as others, by user and by group, with a shell, a login, for an edit; and whatever the
/// rules name.
pub(crate) fn forms(rules: &[Rule]) -> Vec<Form> {
    let form = |options: &[&str], has_program| Form {
        options: options.iter().map(|&option| option.to_owned()).collect(),
        has_program,
    };
    let mut all = vec![
        form(&[], true),
        form(&["-u", "#0"], true),
        form(&["-g", "#0"], true),
        form(&["-u", "nobody"], true),
        form(&["-u", "root", "-g", "#0"], true),
        form(&["-s"], true),
        form(&["-i"], true),
        // Only asked for: an edit would be done, on a copy that the account can write to while it lasts.
        form(&["-l", "--", "sudoedit", "/etc/passwd"], false),
    ];
    let is_name = |name: &&String| *name != "ALL" && !name.starts_with(['%', '+', '-']);
    let users = rules.iter().flat_map(|rule| &rule.runas_users).filter(is_name);
    let groups = rules.iter().flat_map(|rule| &rule.runas_groups).filter(is_name);
    let named = users.map(|name| ("-u", name)).chain(groups.map(|name| ("-g", name)));
    for (option, name) in named {
        let form = form(&[option, name], true);
        if all.len() < AT_MOST && !all.contains(&form) {
            all.push(form);
        }
    }
    all
}

/// Programs that rules name, as far as they are plain paths: for these sudo itself can be asked without running them.
pub(crate) fn programs(rules: &[Rule]) -> BTreeSet<Vec<String>> {
    let commands = rules.iter().flat_map(|rule| &rule.commands).filter(|(_, forbidden)| !forbidden);
    let is_program = |command: &str| command.starts_with('/') || command.starts_with("sudoedit /");
    let is_plain =
        |command: &str| is_program(command) && !command.contains(['*', '?', '[', '\\', '"', '^']);
    let plain = commands.map(|(command, _)| command).filter(|command| is_plain(command));
    let words = |command: &String| command.split_whitespace().map(str::to_owned).collect();
    plain.map(words).take(AT_MOST * 4).collect()
}

/// Asks sudo as the account.
pub(crate) struct Prober<'s> {
    subject: &'s Subject,
    sudo: &'s Sudo,
    program: PathBuf,
}

impl<'s> Prober<'s> {
    pub(crate) fn new(subject: &'s Subject, sudo: &'s Sudo) -> Result<Self, ToolError> {
        // Both are asked for at once, so that nothing is tried half.
        for tool in ["setsid", "setpriv"] {
            tools::need(tool)?;
        }
        Ok(Self { subject, sudo, program: tools::need("true")? })
    }

    /// Whether it gets through.
    pub(crate) fn opens(&self, credentials: &Credentials, form: &Form) -> Result<bool, ToolError> {
        let mut arguments: Vec<OsString> = form.options.iter().map(OsString::from).collect();
        if form.has_program {
            arguments.extend(["--".into(), self.program.clone().into_os_string()]);
        }
        is_let_through(&self.ask(credentials, arguments)?)
    }

    /// Whether this program would be run.
    pub(crate) fn allows(
        &self,
        credentials: &Credentials,
        program: &[String],
    ) -> Result<bool, ToolError> {
        let arguments = ["-l", "--"].into_iter().chain(program.iter().map(String::as_str));
        is_let_through(&self.ask(credentials, arguments.map(OsString::from).collect())?)
    }

    /// What sudo says that the account may do: nothing, or a line each.
    pub(crate) fn listing(&self, credentials: &Credentials) -> Result<Vec<String>, ToolError> {
        let said = self.ask(credentials, vec!["-l".into()])?;
        Ok(if is_let_through(&said)? { listed(&said.text()) } else { Vec::new() })
    }

    /// Whether root itself gets through.
    pub(crate) fn root_gets_through(&self) -> Result<bool, ToolError> {
        let arguments = ["-k".as_ref(), "--".as_ref(), self.program.as_os_str()];
        is_let_through(&tools::run(&self.sudo.program, arguments)?)
    }

    fn ask(
        &self,
        credentials: &Credentials,
        arguments: Vec<OsString>,
    ) -> Result<tools::Ran, ToolError> {
        // `-k`: tickets count for nothing, and none is made. Not `-n`: with it sudo does not even ask PAM.
        let arguments = ["-k".into()].into_iter().chain(arguments);
        let with = (&credentials.gids, credentials.rgid);
        // `-s` would start the account's login shell, as root, and that may be a program of its own.
        let shell = ("SHELL", "/bin/sh".as_ref());
        tools::run_as(self.subject, with, &self.sudo.program, arguments, Some(shell))
    }
}

/// Only what sudo itself says is an answer: the account can send signals to a sudo that it has started, and a try that was
/// ended would look like one that failed.
fn is_let_through(ran: &tools::Ran) -> Result<bool, ToolError> {
    match ran.code {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        _ => Err(ToolError::Disturbed { program: "sudo".to_owned(), how: ran.words() }),
    }
}

/// The lines of `sudo -l` that say what may be run.
fn listed(said: &str) -> Vec<String> {
    let mut lines =
        said.lines().skip_while(|line| !line.contains("may run the following commands"));
    lines.next();
    lines.map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

impl Form {
    /// For people: as it is typed.
    pub(crate) fn words(&self) -> String {
        if self.options.is_empty() {
            return "sudo".to_owned();
        }
        format!("sudo {}", self.options.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::testing::subject;
    use crate::sudo::rules::Who;

    #[test]
    fn credentials_are_fresh_ones_and_each_group_as_a_process_and_as_a_file_has_it() {
        let us = subject(61_500, &[61_500, 61_501]);
        let all = credentials(&us, &[61_501, 61_502, 61_503].into());
        let seen: Vec<(u32, Vec<u32>)> =
            all.iter().map(|it| (it.rgid, it.gids.iter().copied().collect())).collect();
        let fresh = || vec![61_500, 61_501];
        let expected = vec![
            (61_500, fresh()),
            (61_500, vec![61_500, 61_501, 61_502, 61_503]),
            (61_502, fresh()),
            (61_503, fresh()),
        ];
        assert_eq!(seen, expected);
        assert_eq!(credentials(&us, &[61_501].into()).len(), 1);
    }

    fn rule(runas: &[&str], groups: &[&str], commands: &[(&str, bool)]) -> Rule {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Rule {
            users: vec![(Who::All, false)],
            hosts: owned(&["ALL"]),
            runas_users: owned(runas),
            runas_groups: owned(groups),
            commands: commands.iter().map(|&(name, not)| (name.to_owned(), not)).collect(),
        }
    }

    #[test]
    fn whoever_a_rule_names_is_tried_as_well_and_once() {
        let usual = forms(&[]).len();
        let rules = [
            rule(&["ALL", "www-data", "%adm"], &["ALL"], &[]),
            rule(&["www-data"], &["shadow"], &[]),
        ];
        let words: Vec<String> = forms(&rules)[usual..].iter().map(Form::words).collect();
        assert_eq!(words, ["sudo -u www-data", "sudo -g shadow"]);
        assert_eq!(forms(&[])[0].words(), "sudo");
    }

    /// An edit works on a copy that the account owns for a moment: what it writes there would be put back by root.
    #[test]
    fn nothing_is_edited() {
        let edits = |form: &Form| {
            form.options.iter().any(|option| matches!(option.as_str(), "-e" | "--edit"))
        };
        assert!(!forms(&[]).iter().any(edits));
    }

    #[test]
    fn programs_are_asked_about_as_the_rules_name_them() {
        let commands = [
            ("/usr/bin/vim", false),
            ("/bin/ls *", false),
            ("ALL", false),
            ("/bin/rm", true),
            ("/usr/bin/apt-get update", false),
            ("sudoedit /etc/motd", false),
        ];
        let expected = [
            vec!["/usr/bin/apt-get", "update"],
            vec!["/usr/bin/vim"],
            vec!["sudoedit", "/etc/motd"],
        ];
        assert!(programs(&[rule(&[], &[], &commands)]).iter().eq(&expected));
    }

    #[test]
    fn a_listing_begins_after_its_heading() {
        let said = "Matching Defaults entries for u on h:\n    env_reset\n\n\
            User u may run the following commands on h:\n    (ALL : ALL) ALL\n    (root) NOPASSWD: /bin/ls\n";
        assert_eq!(listed(said), ["(ALL : ALL) ALL", "(root) NOPASSWD: /bin/ls"]);
        assert!(listed("User u is not allowed to run sudo on h.\n").is_empty());
    }
}
