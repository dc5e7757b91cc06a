use std::collections::BTreeSet;

use codex_privileges::{Administered, Closing, DropIn, PamEdit, Plant};
use unicode_width::UnicodeWidthStr;

use super::*;

const PAM_BEFORE: &str = "#%PAM-1.0\n\n@include common-account\n";
const PAM_AFTER: &str = "#%PAM-1.0\n\n# uid 1000 gave sudo up (codex proxy relinquish-sudo)\n\
    account requisite pam_succeed_if.so quiet uid ne 1000\n@include common-account\n";

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn account() -> Account {
    Account {
        name: "alice".to_owned(),
        uid: 1_000,
        gid: 1_000,
        home: "/home/alice".into(),
        shell: "/bin/bash".into(),
        groups: Vec::new(),
    }
}

fn finding(check: &'static str, what: &str, why: &str) -> Finding {
    Finding {
        check,
        grade: Grade::Open,
        what: what.to_owned(),
        why: why.to_owned(),
        evidence: String::new(),
        remedy: String::new(),
        closed_by: None,
    }
}

fn group() -> Finding {
    let found = finding("group", "the group sudo", "its members may become root");
    let remedy = "gpasswd -d alice sudo".to_owned();
    let evidence = "/etc/group".to_owned();
    Finding { evidence, remedy, closed_by: Some(Closing::Groups), ..found }
}

fn unit() -> Finding {
    let found = finding("unit", "/opt/run.sh, which x.service runs", "alice can change it");
    let remedy = "chmod go-w /opt/run.sh".to_owned();
    Finding { evidence: "mode 0777".to_owned(), remedy, ..found }
}

fn polkit() -> Finding {
    let found = finding("polkit", "a rule in /etc/polkit-1/rules.d/50-x.rules", "");
    Finding { grade: Grade::Undecided, ..found }
}

fn process(pid: u32, name: &str, command: &str) -> StaleProcess {
    let (name, command) = (name.to_owned(), command.to_owned());
    StaleProcess {
        pid,
        uid: 1_000,
        started: 1,
        name,
        command,
        gids: BTreeSet::from([27]),
        is_ours: false,
    }
}

fn group_name(gid: u32) -> Option<String> {
    let names = [(27, "sudo"), (100, "users"), (999, "docker")];
    names.into_iter().find(|(number, _)| *number == gid).map(|(_, name)| name.to_owned())
}

fn intent() -> Intent {
    Intent {
        account: account(),
        drop_in: DropIn {
            path: "/etc/sudoers.d/zzzz-codex-1000".into(),
            text: "# alice gave sudo up.\n#1000 ALL=(ALL:ALL) !ALL\n".to_owned(),
        },
        pam: vec![PamEdit {
            file: "/etc/pam.d/sudo".into(),
            before: PAM_BEFORE.into(),
            after: PAM_AFTER.into(),
        }],
        leave: words(&["sudo"]),
        administered: vec![Administered { group: "docker".to_owned(), remaining: Vec::new() }],
        tickets: vec!["/run/sudo/ts/alice".into()],
        plants: vec![Plant {
            path: "/home/alice/my py".into(),
            device: 1,
            inode: 2,
            gid: 27,
            mode: 0o2755,
        }],
        sudoers: "/etc/sudoers".into(),
    }
}

fn proof() -> Proof {
    Proof {
        tried: 40,
        controls: 8,
        through: Vec::new(),
        untried: words(&["`sudo -e`"]),
        second_lock: SecondLock::Holds,
    }
}

/// What there is to show, and what it borrows.
struct Sample {
    account: Account,
    sudo: SudoState,
    findings: Vec<Finding>,
    others: Administrators,
    is_sole: bool,
}

impl Sample {
    fn new() -> Self {
        Self {
            account: account(),
            sudo: SudoState::Held { by: words(&["%sudo: (ALL : ALL) ALL"]) },
            findings: vec![group(), unit(), polkit()],
            others: Administrators {
                others: words(&["bob"]),
                root_has_password: false,
                root_has_keys: false,
                unknown: None,
            },
            is_sole: false,
        }
    }

    fn seen(&self) -> Seen<'_> {
        Seen {
            account: &self.account,
            is_root: true,
            sudo: &self.sudo,
            findings: &self.findings,
            others: &self.others,
            is_sole: self.is_sole,
            took: Duration::from_millis(12_345),
            given_up: None,
        }
    }

    fn plan(&self, is_done: bool, width: Option<usize>) -> Vec<String> {
        let to_end = [process(4_711, "tmux: server", "tmux new -s work")];
        let stays = [process(400, "bash", "-bash")];
        let planned = Planned {
            seen: self.seen(),
            intent: &intent(),
            to_end: &to_end,
            stays: &stays,
            stays_open: &[unit()],
            undecided: &[polkit()],
            afterwards: &words(&["bob restarts the proxy after a reboot"]),
            rehearsal: &proof(),
            is_done,
            group_name,
        };
        plan_lines(&planned, width)
    }
}

/// What every page has.
fn never() -> Vec<String> {
    let head = ["".to_owned(), format!("No audit can tell ({})", NEVER_DECIDED.len())];
    head.into_iter().chain(NEVER_DECIDED.iter().map(|what| format!("  - {what}"))).collect()
}

#[test]
fn the_plan_says_exactly_what_is_written_called_and_left() {
    let mut expected = words(&[
        "Giving up the sudo of alice (uid 1000), for good",
        "Looked for 12.3 s, as root.",
        "",
        "Through sudo now",
        "  - %sudo: (ALL : ALL) ALL",
        "",
        "Leads to root now, and is closed (1)",
        "  - the group sudo: its members may become root [group]",
        "    seen: /etc/group",
        "    closed by leaving the group",
        "",
        "Written, and read last by sudo",
        "  - /etc/sudoers.d/zzzz-codex-1000, of root:root, mode 0440, 47 B:",
        "    +# alice gave sudo up.",
        "    +#1000 ALL=(ALL:ALL) !ALL",
        "",
        "Written, and asked by PAM whenever sudo is called",
        "  - /etc/pam.d/sudo:",
        "    @@ -1,3 +1,5 @@",
        "     #%PAM-1.0",
        "",
        "    +# uid 1000 gave sudo up (codex proxy relinquish-sudo)",
        "    +account requisite pam_succeed_if.so quiet uid ne 1000",
        "     @include common-account",
        "",
        "Groups to leave (1)",
        "  - sudo: deluser alice sudo, or else gpasswd -d alice sudo",
        "",
        "Groups that it no longer administers (1)",
        "  - docker: gpasswd -A '' docker",
        "",
        "Tickets of sudo's to take away (1)",
        "  - rm /run/sudo/ts/alice",
        "",
        "Files that give a group to whoever runs them, and will not (1)",
        "  - chmod ug-s '/home/alice/my py'",
        "",
        "Tried with these files in a view that nobody else sees",
        "  - 40 tries to become root or anybody else by sudo, with no password asked: all failed",
        "  - 8 tries with a rule that allows everything: all got through, as they had to",
        "  - `sudo -e`: works here for nobody, so it was not tried",
        "  - PAM's line alone: refused, too",
        "",
        "Processes that keep what is given up, and that you are asked about (1)",
        "  - pid 4711 tmux: server: tmux new -s work",
        "",
        "Processes that keep it and are not ended: this command runs in them, so log out afterwards (1)",
        "  - pid 400 bash: -bash",
        "",
        "Stays open (1)",
        "  - /opt/run.sh, which x.service runs: alice can change it [unit]",
        "    seen: mode 0777",
        "    remedy: chmod go-w /opt/run.sh",
        "",
        "Can't be told from here (1)",
        "  - a rule in /etc/polkit-1/rules.d/50-x.rules [polkit]",
    ]);
    expected.extend(never());
    expected.extend(words(&[
        "",
        "Who else can become root",
        "  - by sudo: bob",
        "",
        "Afterwards (1)",
        "  - bob restarts the proxy after a reboot",
        "",
        "It closes 1, leaves 1 open and can't tell 1; it asks about 1 process.",
    ]));
    assert_eq!(Sample::new().plan(false, None), expected);
}

#[test]
fn where_it_is_narrow_nothing_is_cut() {
    let sample = Sample::new();
    let narrow = sample.plan(false, Some(52));
    assert!(narrow.iter().all(|line| line.width() <= 52), "{narrow:#?}");
    let at = narrow.iter().position(|line| line.starts_with("    +account")).unwrap();
    let expected = [
        "    +account requisite pam_succeed_if.so quiet uid",
        "     ne 1000",
        "     @include common-account",
    ];
    assert_eq!(narrow[at..at + 3], expected);
    // The same words in the same order, wherever lines end.
    let text = |lines: &[String]| {
        lines.join(" ").split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(text(&narrow), text(&sample.plan(false, None)));
}

#[test]
fn what_was_given_up_before_is_only_verified() {
    let sample = Sample { sudo: SudoState::Locked, findings: Vec::new(), ..Sample::new() };
    let lines = sample.plan(true, None);
    let begin = [
        "The sudo of alice (uid 1000) has been given up: it is only verified",
        "Looked for 12.3 s, as root.",
        "",
        "Through sudo now",
        "  - nothing: it was given up, and the locks stand",
        "",
        "Tickets of sudo's to take away (1)",
        "  - rm /run/sudo/ts/alice",
        "",
        "Processes that keep what is given up, and that you are asked about (1)",
    ];
    assert_eq!(lines[..begin.len()], begin);
    let is_of_a_change = |line: &String| {
        ["Written", "Afterwards", "It closes"].iter().any(|words| line.contains(words))
    };
    assert!(!lines.iter().any(is_of_a_change));
}

#[test]
fn what_may_lead_to_root_and_ends_with_it_is_not_called_a_way_to_root() {
    let maybe = Finding { grade: Grade::Undecided, ..group() };
    let sample = Sample { findings: vec![group(), maybe], ..Sample::new() };
    let lines = sample.plan(false, None);
    for title in ["Leads to root now, and is closed (1)", "May lead to root, and ends with it (1)"]
    {
        let at = lines.iter().position(|line| line == title).unwrap();
        assert_eq!(lines[at + 1], "  - the group sudo: its members may become root [group]");
    }
    assert!(lines.last().unwrap().starts_with("It closes 2, "), "{lines:?}");
}

#[test]
fn what_stays_open_with_a_process_is_said_below_it() {
    let sample = Sample::new();
    let to_end = [
        StaleProcess { gids: BTreeSet::from([27, 100, 999, 4_242]), ..process(1, "a", "a b") },
        process(2, "c", "c"),
    ];
    let planned = Planned {
        seen: sample.seen(),
        intent: &intent(),
        to_end: &to_end,
        stays: &[],
        stays_open: &[],
        undecided: &[],
        afterwards: &[],
        rehearsal: &proof(),
        is_done: false,
        group_name,
    };
    let lines = plan_lines(&planned, None);
    let at = lines.iter().position(|line| line == "  - pid 1 a: a b").unwrap();
    let expected =
        ["    if it is not ended, what it has stays open (docker)", "  - pid 2 c: c", ""];
    assert_eq!(lines[at + 1..at + 4], expected);
    let last = "It closes 1, leaves 0 open and can't tell 0; it asks about 2 processes.";
    assert_eq!(lines.last().unwrap(), last);
}

#[test]
fn who_would_be_the_last_is_warned() {
    let sample = Sample {
        is_sole: true,
        others: Administrators {
            others: Vec::new(),
            root_has_password: false,
            root_has_keys: false,
            unknown: Some("/etc/shadow could not be read".to_owned()),
        },
        ..Sample::new()
    };
    let lines = sample.plan(false, None);
    let at = lines.iter().position(|line| line == "Who else can become root").unwrap();
    assert_eq!(lines[at + 1], "  - not known: /etc/shadow could not be read");
    assert!(lines[at + 2].starts_with("  - WARNING: nobody. "), "{}", lines[at + 2]);
    let last = lines.last().unwrap();
    assert!(last.ends_with("1 process; nobody else is known who could become root."), "{last}");
    let alone = Administrators { unknown: None, ..sample.others.clone() };
    let last = Sample { others: alone, ..sample }.plan(false, None).pop().unwrap();
    assert!(last.ends_with("1 process; nobody else on this system could become root."), "{last}");
    let rooted = Administrators {
        others: Vec::new(),
        root_has_password: true,
        root_has_keys: true,
        unknown: None,
    };
    let lines = Sample { others: rooted, ..Sample::new() }.plan(false, None);
    let roots = ["  - root itself, with its password", "  - root itself, with a key of SSH's"];
    assert_eq!(lines[at + 1..at + 3], roots);
}

#[test]
fn what_was_seen_alone_has_everything_with_its_remedy_and_nothing_to_do() {
    let sample = Sample {
        sudo: SudoState::Unknown { because: "only root\u{1b} reads its rules".to_owned() },
        ..Sample::new()
    };
    let seen = Seen { is_root: false, ..sample.seen() };
    let mut expected = words(&[
        "What leads to root for alice (uid 1000)",
        "Looked for 12.3 s, with that account's own reach: only root sees all of it.",
        "",
        "Through sudo now",
        "  - not known from here: only root\\u{1b} reads its rules",
        "",
        "Leads to root (2)",
        "  - the group sudo: its members may become root [group]",
        "    seen: /etc/group",
        "    remedy: gpasswd -d alice sudo",
        "  - /opt/run.sh, which x.service runs: alice can change it [unit]",
        "    seen: mode 0777",
        "    remedy: chmod go-w /opt/run.sh",
        "",
        "Can't be told from here (1)",
        "  - a rule in /etc/polkit-1/rules.d/50-x.rules [polkit]",
    ]);
    expected.extend(never());
    assert_eq!(seen_lines(&seen, None), expected);
    let seen = Seen { given_up: Some("alice has given sudo up on this system"), ..seen };
    expected[4] = "  - alice has given sudo up on this system".to_owned();
    assert_eq!(seen_lines(&seen, None), expected);
}

#[test]
fn each_state_of_sudo_is_a_sentence() {
    let because = || "why".to_owned();
    for (sudo, expected) in [
        (SudoState::NotInstalled, "nothing: sudo is not installed"),
        (SudoState::None, "nothing: no rule of sudo's is for this account"),
        (
            SudoState::Unsupported { because: because() },
            "not known: this sudo can't be judged: why",
        ),
        (
            SudoState::Broken { because: because() },
            "its rules were not valid before anything was done: why",
        ),
    ] {
        let lines = seen_lines(&Sample { sudo, ..Sample::new() }.seen(), None);
        assert_eq!(lines[4], format!("  - {expected}"));
    }
}
