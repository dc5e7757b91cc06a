//! Programs like sudo that were started before and wait for a password: what is changed now does not reach them.

use crate::finding::{Closing, Finding, let_root_look};
use crate::processes::{self, StaleProcess};
use crate::subject::Subject;

/// Its id.
pub(crate) const CHECK: &str = "waiting_sudo";
/// So many are told one by one.
const MOST: usize = 50;
const WHY: &str =
    "it has read the rules before they were changed, so the right password still makes it root";

pub(crate) fn look(subject: &Subject) -> Vec<Finding> {
    if !subject.is_root {
        let finding = Finding::undecided(CHECK, "a sudo that waits for a password", WHY);
        let finding = finding.seen("only root sees what root's processes run");
        return vec![finding.remedy(let_root_look(&subject.account))];
    }
    let account = &subject.account;
    let found = processes::waiting(account).and_then(|of_account| {
        Ok((of_account, processes::unattributed(account)?, processes::busy(account)?))
    });
    match found {
        Ok((of_account, of_nobody, busy)) => {
            findings(&of_account, &of_nobody).into_iter().chain(running(&busy)).collect()
        }
        Err(error) => {
            let finding = Finding::undecided(CHECK, "a sudo that waits for a password", WHY);
            let finding = finding.seen(format!("/proc can't be listed: {error}"));
            vec![finding.remedy("mount -t proc proc /proc")]
        }
    }
}

/// One for each of the account's, and one for all that may be.
fn findings(of_account: &[StaleProcess], of_nobody: &[StaleProcess]) -> Vec<Finding> {
    let (told, rest) = of_account.split_at(of_account.len().min(MOST));
    let mut findings: Vec<Finding> = told.iter().map(finding).collect();
    if !rest.is_empty() {
        let what = format!("… and {} more that wait for a password", rest.len());
        let finding = Finding::open(CHECK, what, WHY).seen(format!("pids {}", pids(rest)));
        findings.push(finding.remedy("kill -9 them").closed_by(Closing::Processes));
    }
    if !of_nobody.is_empty() {
        let what = "programs that wait for a password, and nothing says whose they are";
        let why = "the account may have started one before the rules were changed, and then the right password still \
            makes it root";
        let each = of_nobody.iter().take(MOST);
        let each: Vec<String> = each.map(|it| format!("{} (pid {})", it.name, it.pid)).collect();
        let finding = Finding::undecided(CHECK, what, why).seen(each.join(", "));
        findings.push(
            finding.remedy(format!("end what nobody is waiting for: kill -9 {}", pids(of_nobody))),
        );
    }
    findings
}

/// Those that seem to be past the password. One that waits can be made to look so.
fn running(busy: &[StaleProcess]) -> Option<Finding> {
    let each = busy.iter().take(MOST).map(|it| format!("{} (pid {})", it.name, it.pid));
    let seen = each.collect::<Vec<_>>().join(", ");
    let what = "programs like sudo that the account has started, and that run something";
    let why = "what they run is not the account's, or they only look so and wait for a password";
    let finding = Finding::undecided(CHECK, what, why).seen(seen);
    (!busy.is_empty())
        .then(|| finding.remedy(format!("end what is not needed: kill -9 {}", pids(busy))))
}

fn finding(process: &StaleProcess) -> Finding {
    let StaleProcess { pid, name, command, .. } = process;
    let what = format!("the {name} that waits for a password (pid {pid})");
    Finding::open(CHECK, what, WHY)
        .seen(format!("it has run nothing yet; its command line is: {command}"))
        .remedy(format!("kill -9 {pid}"))
        .closed_by(Closing::Processes)
}

fn pids(processes: &[StaleProcess]) -> String {
    processes.iter().map(|process| process.pid.to_string()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Grade;
    use crate::processes::samples::subject;

    fn process(pid: u32) -> StaleProcess {
        StaleProcess {
            pid,
            uid: 0,
            started: 7,
            name: "sudo".to_owned(),
            command: "sudo -S sh".to_owned(),
            gids: [].into(),
            is_ours: false,
        }
    }

    #[test]
    fn the_accounts_are_open_and_nobodys_are_one_finding() {
        let found = findings(&[process(12)], &[process(40), process(41)]);
        let [own, others] = &found[..] else { panic!("{found:#?}") };
        assert_eq!(own.what, "the sudo that waits for a password (pid 12)");
        assert_eq!((own.grade, own.closed_by), (Grade::Open, Some(Closing::Processes)));
        assert_eq!(own.remedy, "kill -9 12");
        assert!(own.evidence.ends_with("sudo -S sh"));
        assert_eq!((others.grade, others.closed_by), (Grade::Undecided, None));
        assert_eq!(others.evidence, "sudo (pid 40), sudo (pid 41)");
        assert!(others.remedy.ends_with("kill -9 40 41"));
        assert_eq!(findings(&[], &[]), []);
    }

    #[test]
    fn many_are_counted() {
        let many: Vec<StaleProcess> = (100..152).map(process).collect();
        let found = findings(&many, &[]);
        assert_eq!(found.len(), MOST + 1);
        assert_eq!(found[MOST].evidence, "pids 150 151");
    }

    #[test]
    fn who_is_not_root_sees_none_and_says_so() {
        let found = look(&Subject { is_root: false, ..subject() });
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].grade, Grade::Undecided);
    }
}
