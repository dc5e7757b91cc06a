//! sudoers files of odd pieces: those that visudo accepts, and some that it does not.

use std::collections::BTreeMap;

use super::chance::Chance;

/// Who. `UID` is the account's number.
const USERS: &[&str] = &[
    "tst_u",
    "tst_u",
    "tst_u",
    "ALL",
    "%sudo",
    "%tst_ops",
    "%#62203",
    "#UID",
    "\"tst_u\"",
    "tst\\x5fu",
    "\"%sudo\"",
    "PEOPLE",
    "PEOPLE",
    "tst_other",
    "tst_third",
    "root",
    "nobody",
    "!tst_third",
    "!root",
    "+agents",
    "nobody_at_all",
];
/// Where.
const HOSTS: &[&str] = &[
    "ALL",
    "ALL",
    "ALL",
    "ALL",
    "HERE",
    "localhost",
    "127.0.0.0/8",
    "!elsewhere",
    "*",
    "elsewhere",
];
/// As whom.
const RUNAS: &[&str] = &[
    "",
    "",
    "",
    "(ALL)",
    "(ALL)",
    "(ALL:ALL)",
    "(ALL:ALL)",
    "(ALL : ALL)",
    "(ALL : ALL)",
    "(root)",
    "(root)",
    "(:root)",
    "(:root)",
    "(tst_other)",
    "(tst_other)",
    "(%sudo)",
    "(%sudo)",
    "(#0)",
    "(nobody, root : sudo)",
    "(nobody, root : sudo)",
    "(ALL, !root)",
    "(SERVICE)",
    "(SERVICE)",
    "()",
];
/// How.
const TAGS: &[&str] = &[
    "",
    "",
    "",
    "NOPASSWD: ",
    "PASSWD: ",
    "NOEXEC: ",
    "SETENV: NOPASSWD: ",
    "NOPASSWD:SETENV: ",
    "LOG_OUTPUT: ",
    "FOLLOW: ",
];
/// What.
const COMMANDS: &[&str] = &[
    "ALL",
    "ALL",
    "ALL",
    "/usr/bin/id",
    "/usr/bin/apt-get",
    "/usr/local/bin/vim",
    "/usr/bin/",
    "sudoedit /etc/hosts",
    "/usr/bin/id \"\"",
    "/bin/cat /var/log/*",
    "!/usr/bin/passwd root",
    "TOOLS",
    "!TOOLS",
    "/usr/bin/a\\,b",
    "/usr/bin/x\\=y",
    "^/usr/bin/(id|who)$",
    "sha256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU= /usr/bin/id",
];
/// Settings; the last one there is not.
const DEFAULTS: &[&str] = &[
    "Defaults env_reset, !lecture",
    "Defaults:tst_u !authenticate",
    "Defaults:tst_u requiretty",
    "Defaults !authenticate",
    "Defaults targetpw",
    "Defaults:%sudo timestamp_timeout=-1",
    "Defaults>root !set_logname",
    "Defaults!/usr/bin/id noexec",
    "Defaults@localhost !fqdn",
    "Defaults passwd_tries=2, badpass_message=\"no, \\\"never\\\"\"",
    "Defaults env_keep += \"A B\"",
    "Defaults match_group_by_gid",
    "Defaults !root_sudo",
    "Defaults:PEOPLE insults",
    "Defaults no_such_option",
];
/// What is no rule.
const COMMENTS: &[&str] = &[
    "",
    "\t",
    "#",
    "# tst_u ALL=(ALL:ALL) ALL",
    "   # indented",
    "# ends in a backslash \\",
    "# ünïcödé",
    "##UID ALL=(ALL:ALL) !ALL",
];
/// Between the parts of a list.
const COMMAS: &[&str] = &[",", ", ", " , ", ", \\\n  ", ",\\\n"];
/// Behind a rule.
const ENDS: &[&str] =
    &["\n", "\n", "\n", "\n", "\n", " # why\n", "  \n", "\t# tst_u\n", "\n\n", "\n"];
/// At the end of a file, which need not be the end of a line.
const LAST: &[&str] = &[
    "",
    "",
    "",
    "# no newline",
    "tst_third ALL=(root) /usr/bin/id",
    "tst_third ALL=(root) /usr/bin/id \\",
    "# ends in a backslash \\",
    "\\",
    "\\\n",
];
/// Files in /etc/sudoers.d, some of which sudo passes by.
const NAMES: &[&str] = &[
    "agents",
    "00-first",
    "README",
    "_x",
    "+plus",
    "-dash",
    "with space",
    "#hash",
    "a,b",
    "ZZZ",
    "zzz",
    "zzzz",
    "zzzz-codex",
    "skipped.conf",
    "backup~",
    "@at",
    "100%",
    "\\n",
];
/// The same, read after ours.
const LATER: &[&str] = &["zzzz-d", "ünïcödé", "{", "zzzz-codex-~x"];
/// One more file.
const INCLUDES: &[&str] = &[
    "@include /etc/sudoers\\ agents",
    "@include \"/etc/sudoers agents\"",
    "#include /etc/sudoers\\ agents",
    "@include sudoers\\ agents",
];
/// All files of the folder.
const FOLDERS: &[&str] = &[
    "@includedir /etc/sudoers.d",
    "#includedir /etc/sudoers.d",
    "@includedir  /etc/sudoers.d # all",
    "@includedir \"/etc/sudoers.d\"",
];
/// At most one of each line, so that no name is there twice.
const ALIASES: &[&[&str]] = &[
    &[
        "User_Alias PEOPLE = tst_third, tst_u",
        "User_Alias PEOPLE = ALL, !tst_other",
        "User_Alias PEOPLE = %sudo : OTHERS = root, PEOPLE",
        "User_Alias PEOPLE = \\\n tst_u \\\n , tst_third",
    ],
    &["Host_Alias HERE = ALL, !elsewhere", "Host_Alias HERE = localhost : THERE = elsewhere"],
    &["Runas_Alias SERVICE = nobody, tst_third", "Runas_Alias SERVICE = root"],
    &["Cmnd_Alias TOOLS = /usr/bin/id, /usr/bin/who", "Cmnd_Alias TOOLS = ALL, !/usr/bin/passwd"],
];

/// The other administrator is one whatever comes before; and there is an end of a file right before ours.
const CONTROL: &str = "tst_other ALL=(ALL:ALL) ALL\n";

/// All of one machine's rules.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rules {
    /// `/etc/sudoers`.
    pub(super) main: String,
    /// A file that others may include.
    pub(super) agents: String,
    /// The files of `/etc/sudoers.d`, by name.
    pub(super) folder: BTreeMap<&'static str, String>,
}

impl Rules {
    /// Always the same ones for a seed.
    pub(super) fn of(seed: u64, account: u32) -> Self {
        let mut chance = Chance::of(seed);
        let mut main = format!("Defaults env_reset\nroot ALL=(ALL:ALL) ALL\n{CONTROL}");
        for aliases in ALIASES {
            if !chance.one_in(8) {
                main += chance.pick(aliases);
                main += chance.pick(ENDS);
            }
        }
        main += &lines(&mut chance, 3);
        if chance.one_in(3) {
            main += chance.pick(INCLUDES);
            main.push('\n');
        }
        main += chance.pick(FOLDERS);
        main.push('\n');
        if chance.one_in(20) {
            main += &lines(&mut chance, 2);
        }
        let agents = lines(&mut chance, 2) + chance.pick(LAST);
        let mut folder = BTreeMap::from([("zzzz-b", CONTROL.to_owned() + chance.pick(LAST))]);
        for _ in 0..=chance.below(3) {
            let name = if chance.one_in(24) { chance.pick(LATER) } else { chance.pick(NAMES) };
            folder.insert(name, lines(&mut chance, 3) + chance.pick(LAST));
        }
        let with_account = |text: String| text.replace("UID", &account.to_string());
        let folder = folder.into_iter().map(|(name, text)| (name, with_account(text))).collect();
        Self { main: with_account(main), agents: with_account(agents), folder }
    }
}

fn lines(chance: &mut Chance, at_most: usize) -> String {
    let mut text = String::new();
    for _ in 0..chance.below(at_most + 1) {
        match chance.below(8) {
            0 => text += chance.pick(COMMENTS),
            1 if chance.one_in(2) => text += chance.pick(DEFAULTS),
            _ => text += &rule(chance),
        }
        text += chance.pick(ENDS);
    }
    text
}

fn rule(chance: &mut Chance) -> String {
    let mut text = list(chance, USERS, 3);
    text += chance.pick(&[" ", "\t", " \\\n"]);
    text += &grants(chance);
    if chance.one_in(5) {
        text += " : ";
        text += &grants(chance);
    }
    text
}

fn grants(chance: &mut Chance) -> String {
    let mut text = list(chance, HOSTS, 2);
    text += chance.pick(&["=", " = ", " =\\\n "]);
    text += &command(chance);
    for _ in 0..chance.below(3) {
        text += chance.pick(COMMAS);
        text += &command(chance);
    }
    text
}

fn command(chance: &mut Chance) -> String {
    let (runas, tags) = (chance.pick(RUNAS), chance.pick(TAGS));
    format!("{runas} {tags}{}", chance.pick(COMMANDS))
}

fn list(chance: &mut Chance, of: &[&str], at_most: usize) -> String {
    let count = 1 + chance.below(at_most);
    let mut text = chance.pick(of).to_owned();
    for _ in 1..count {
        text += chance.pick(COMMAS);
        text += chance.pick(of);
    }
    text
}
