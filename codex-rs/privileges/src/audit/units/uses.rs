//! From "root uses this path" to findings: which of those paths the account could change, and what that would give it.
//!
//! What could be changed in the same way is one finding: who may write to `/opt` is not told of each program below it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use codex_config::shell_word;
use codex_path_trust::{WayIn, Who};

use super::commands::How;
use crate::finding::{Finding, Grade, let_root_look};
use crate::subject::Subject;

/// As many are told one by one.
const MOST: usize = 50;
/// As many others are named in one finding.
const MOST_OTHERS: usize = 5;

/// What a path is to root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Runs,
    Searches,
    Defines,
    Environment,
    Starts,
    Works,
    Given,
}

/// A path that root uses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Use {
    pub(crate) path: PathBuf,
    pub(crate) role: Role,
    /// What uses it: "the unit x.service".
    pub(crate) by: String,
}

impl Use {
    pub(crate) fn new(path: impl Into<PathBuf>, role: Role, by: impl Into<String>) -> Self {
        Self { path: path.into(), role, by: by.into() }
    }

    /// What a command line names.
    pub(crate) fn of_command(found: Vec<(PathBuf, How)>, by: &str) -> Vec<Self> {
        let role = |how: How| match how {
            How::Run => Role::Runs,
            How::Searched => Role::Searches,
            How::Given => Role::Given,
        };
        found.into_iter().map(|(path, how)| Self::new(path, role(how), by)).collect()
    }

    fn words(&self) -> String {
        let (path, by) = (self.path.display(), &self.by);
        match self.role {
            Role::Runs => format!("{path}, which {by} runs as root"),
            Role::Searches => format!("{path}, where {by} looks for code that runs as root"),
            Role::Defines => format!("{path}, which says what {by} does as root"),
            Role::Environment => {
                format!("{path}, which says in what environment {by} runs as root")
            }
            Role::Starts => format!("{path}, which says what {by} starts, and when"),
            Role::Works => format!("{path}, the folder in which {by} runs as root"),
            Role::Given => format!("{path}, which {by} is given as root"),
        }
    }
}

impl Role {
    fn grade(self) -> Grade {
        match self {
            Self::Runs | Self::Searches | Self::Defines | Self::Environment => Grade::Open,
            Self::Starts | Self::Works | Self::Given => Grade::Undecided,
        }
    }

    fn why(self) -> &'static str {
        match self {
            Self::Runs => {
                "what is put there is done as root, at the latest when it is next started"
            }
            Self::Searches => "a program or library that is put there is run as root",
            Self::Defines => "any command can be written there, and root runs it at the next start",
            Self::Environment => {
                "a variable such as LD_PRELOAD chooses what code root's program runs"
            }
            Self::Starts => {
                "it chooses what root starts; whether something that helps is there to be started can't be told"
            }
            Self::Works => "many programs run what lies in the folder that they are started in",
            Self::Given => "what root's program makes of it can't be told from here",
        }
    }
}

/// The ways in of one account, each path asked once.
pub(crate) struct Ways<'s> {
    subject: &'s Subject,
    asked: RefCell<BTreeMap<PathBuf, Vec<WayIn>>>,
}

impl<'s> Ways<'s> {
    pub(crate) fn new(subject: &'s Subject) -> Self {
        Self { subject, asked: RefCell::default() }
    }

    fn of(&self, path: &Path) -> Vec<WayIn> {
        if let Some(ways) = self.asked.borrow().get(path) {
            return ways.clone();
        }
        let ways = self.subject.ways_in(path);
        self.asked.borrow_mut().insert(path.to_owned(), ways.clone());
        ways
    }

    /// Whether the account could change what a path leads to.
    pub(crate) fn is_any(&self, path: &Path) -> bool {
        !self.of(path).is_empty()
    }
}

/// Findings of what the account could change of what root uses.
pub(crate) fn look_at(check: &'static str, subject: &Subject, uses: Vec<Use>) -> Vec<Finding> {
    let ways = Ways::new(subject);
    let uses = uses.into_iter().filter(counts).collect();
    judge(check, subject, uses, &|path| ways.of(path))
}

/// A terminal that a login made the account's is no file that root runs; and a folder among a program's arguments is, as
/// a rule, what it saves or shows.
fn counts(used: &Use) -> bool {
    let is_kernels = ["/dev", "/proc", "/sys"].iter().any(|top| used.path.starts_with(top));
    let is_memory = ["/dev/shm", "/dev/mqueue"].iter().any(|top| used.path.starts_with(top));
    (!is_kernels || is_memory)
        && (used.role != Role::Given || !fs::metadata(&used.path).is_ok_and(|at| at.is_dir()))
}

/// `ways` says how the account could change what a path leads to.
fn judge(
    check: &'static str,
    subject: &Subject,
    mut uses: Vec<Use>,
    ways: &dyn Fn(&Path) -> Vec<WayIn>,
) -> Vec<Finding> {
    uses.sort();
    uses.dedup();
    // Those that are open in the same way, in the order of their paths.
    let mut groups: Vec<(Grade, Vec<WayIn>, Vec<Use>)> = Vec::new();
    for used in uses {
        let mut open = ways(&used.path);
        if used.role == Role::Given {
            open.retain(|way| !matches!(way.who, Who::Unknown { .. })); // A lock, or what it is to make.
        }
        let grade = used.role.grade();
        if open.is_empty() {
            continue;
        }
        match groups.iter_mut().find(|(known, same, _)| *known == grade && *same == open) {
            Some((.., group)) => group.push(used),
            None => groups.push((grade, open, vec![used])),
        }
    }
    let more = groups.len().saturating_sub(MOST);
    let mut findings: Vec<Finding> = groups
        .iter()
        .take(MOST)
        .filter_map(|(_, ways, uses)| Some(finding(check, subject, ways, uses.split_first()?)))
        .collect();
    if more > 0 {
        let what = "more paths that root uses and this account can change";
        let finding = Finding::open(check, what, Role::Runs.why());
        let remedy = "mend those that are named, and look again";
        findings.push(finding.seen(format!("and {more} more")).remedy(remedy));
    }
    findings
}

fn finding(
    check: &'static str,
    subject: &Subject,
    ways: &[WayIn],
    (first, others): (&Use, &[Use]),
) -> Finding {
    let (what, why) = (first.words(), first.role.why());
    let finding = match first.role.grade() {
        Grade::Open => Finding::open(check, what, why),
        Grade::Undecided => Finding::undecided(check, what, why),
    };
    let mut finding = subject.told(finding, ways);
    if !others.is_empty() {
        let named: Vec<String> = others.iter().take(MOST_OTHERS).map(Use::words).collect();
        finding.evidence += &format!("; the same way leads to {}", named.join("; "));
        let more = others.len().saturating_sub(MOST_OTHERS);
        if more > 0 {
            finding.evidence += &format!("; and {more} more");
        }
    }
    if ways.iter().any(|way| way.place.starts_with(&subject.account.home)) {
        // What lies in a home stays its account's, whoever owns the file: it can be moved away.
        finding.remedy = format!(
            "put a copy where root alone can write (install -o root -g root), and have {} use that in place of {}",
            first.by,
            shell_word(&first.path.to_string_lossy())
        );
    }
    finding
}

/// One finding for all that could not be read.
pub(crate) fn unread(
    check: &'static str,
    subject: &Subject,
    what: &str,
    unread: &[String],
) -> Option<Finding> {
    let because = "what root runs by them can't be told";
    let shown: Vec<&str> = unread.iter().take(MOST_OTHERS).map(String::as_str).collect();
    let more = unread.len().saturating_sub(MOST_OTHERS);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    let evidence = format!("{}{more}", shown.join("; "));
    let remedy = if subject.is_root {
        "see why root can't read them, and look again".to_owned()
    } else {
        let_root_look(&subject.account)
    };
    (!unread.is_empty())
        .then(|| Finding::undecided(check, what, because).seen(evidence).remedy(remedy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Closing;
    use crate::subject::testing::subject;

    const DOCKER: u32 = 61_527;

    /// A member of docker.
    fn us() -> Subject {
        let mut us = subject(61_500, &[61_500, DOCKER]);
        us.account.groups[1].name = Some("docker".to_owned());
        us
    }

    fn way(place: &str, who: Who) -> WayIn {
        WayIn { place: place.into(), owner: 0, who }
    }

    fn open(place: &str) -> Vec<WayIn> {
        vec![way(place, Who::Everyone)]
    }

    fn docker() -> Who {
        Who::Group { gid: DOCKER, name: Some("docker".to_owned()) }
    }

    fn judged(uses: Vec<Use>, ways: &dyn Fn(&Path) -> Vec<WayIn>) -> Vec<Finding> {
        judge("unit", &us(), uses, ways)
    }

    #[test]
    fn what_is_closed_is_no_finding_and_what_is_open_says_how() {
        let uses = vec![
            Use::new("/opt/x", Role::Runs, "the unit x.service"),
            Use::new("/usr/bin/y", Role::Runs, "the unit y.service"),
        ];
        let found = judged(uses, &|path| match path.starts_with("/opt") {
            true => vec![way("/opt", Who::Everyone), way("/opt/x", docker())],
            false => Vec::new(),
        });
        let [found] = &found[..] else { panic!("{found:#?}") };
        assert_eq!(found.what, "/opt/x, which the unit x.service runs as root");
        assert_eq!((found.grade, found.closed_by), (Grade::Open, None));
        assert!(
            found.evidence.starts_with("/opt can be changed by everyone; /opt/x "),
            "{found:?}"
        );
        assert!(found.remedy.starts_with("chmod go-w /opt"), "{found:?}");
    }

    #[test]
    fn a_way_that_is_closed_by_leaving_groups_says_so() {
        for (who, expected) in [(Who::Everyone, None), (docker(), Some(Closing::Groups))] {
            let uses = vec![Use::new("/opt/x", Role::Runs, "cron")];
            let found = judged(uses, &|_| vec![way("/opt", who.clone())]);
            assert_eq!(found[0].closed_by, expected);
        }
    }

    #[test]
    fn what_is_open_in_the_same_way_is_one_finding() {
        let uses = (0..9).map(|at| Use::new(format!("/opt/{at}"), Role::Runs, "cron")).collect();
        let found = judged(uses, &|_| open("/opt"));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].what, "/opt/0, which cron runs as root");
        assert!(found[0].evidence.ends_with("/opt/5, which cron runs as root; and 3 more"));
    }

    #[test]
    fn more_than_can_be_read_is_counted() {
        let uses = (0..60).map(|at| Use::new(format!("/opt/{at}"), Role::Runs, "cron")).collect();
        let found = judged(uses, &|path| open(&path.display().to_string()));
        assert_eq!((found.len(), found[50].evidence.as_str()), (51, "and 10 more"));
    }

    #[test]
    fn what_is_only_given_is_undecided_and_a_home_is_left_its_accounts() {
        let used = |path: &str, role| vec![Use::new(path, role, "cron")];
        let found = judged(used("/opt/x", Role::Given), &|_| open("/opt"));
        assert_eq!(found[0].grade, Grade::Undecided);
        let unknown = || Who::Unknown { because: "it is not there".to_owned() };
        let missing = &|_: &Path| vec![way("/tmp/missing", unknown())];
        assert!(judged(used("/tmp/missing", Role::Given), missing).is_empty());
        assert_eq!(judged(used("/tmp/missing", Role::Runs), missing).len(), 1);
        let found = judged(used("/home/tst_u/x", Role::Runs), &|_| open("/home/tst_u"));
        assert!(found[0].remedy.starts_with("put a copy where root alone"), "{found:?}");
    }

    #[test]
    fn what_everybody_has_in_memory_counts_and_devices_do_not() {
        for (path, expected) in
            [("/dev/shm/x", true), ("/dev/tty1", false), ("/proc/1/exe", false), ("/opt/x", true)]
        {
            assert_eq!(counts(&Use::new(path, Role::Runs, "cron")), expected, "{path}");
        }
    }

    #[test]
    fn what_could_not_be_read_is_one_finding() {
        assert_eq!(unread("cron", &us(), "tables of cron", &[]), None);
        let list = ["/x: denied".to_owned()];
        let found = unread("cron", &us(), "tables of cron", &list).unwrap();
        assert_eq!((found.grade, found.evidence.as_str()), (Grade::Undecided, "/x: denied"));
    }
}
