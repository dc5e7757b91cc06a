//! `hardening`: what the kernel says of each proxy that runs, and which memory holds its key.

use std::sync::Arc;

use codex_proxy_client::status::{Hardening, Key};
use codex_proxy_client::{Found, Status};

use crate::Host;
use crate::finding::Finding;

const ID: &str = "hardening";
const START_ANEW: &str =
    "stop it (codex proxy stop) and start it anew, with no debugger or wrapper around it";

pub(crate) async fn look(host: Arc<Host>) -> Vec<Finding> {
    let running = host.proxies().await.iter().filter_map(|found| match found {
        Found::Running(proxy) => Some(&proxy.status),
        _ => None,
    });
    running.flat_map(judge).collect()
}

/// One that passes if all is as it should be, else one for each thing that is not.
fn judge(status: &Status) -> Vec<Finding> {
    let (pid, seen) = (status.pid, &status.hardening);
    let wrong = [
        memory(pid, seen),
        core_files(pid, seen),
        tracer(pid, seen),
        page(pid, &status.key),
        unknown(pid, seen),
    ];
    let wrong: Vec<Finding> = wrong.into_iter().flatten().collect();
    if wrong.is_empty() { vec![as_it_should_be(status)] } else { wrong }
}

fn as_it_should_be(status: &Status) -> Finding {
    let mut evidence = format!(
        "pid {}: memory closed to its own account, no core files, traced by nobody, key in {}",
        status.pid, status.key.page
    );
    // What more there may be: said, and not asked for.
    if status.hardening.no_new_privs == Some(true) {
        evidence.push_str(", no_new_privs");
    }
    if status.hardening.seccomp.is_some_and(|mode| mode != 0) {
        evidence.push_str(", seccomp");
    }
    Finding::pass(ID, evidence)
}

fn memory(pid: u32, seen: &Hardening) -> Option<Finding> {
    let evidence = format!("the memory of pid {pid} is open to its own account (dumpable)");
    (seen.dumpable == Some(true)).then(|| Finding::fail(ID, evidence, START_ANEW))
}

fn core_files(pid: u32, seen: &Hardening) -> Option<Finding> {
    let limit = seen.core_limit_bytes?;
    let evidence = format!(
        "pid {pid} may leave a core file of {} B, or raise that to {}",
        limit.soft, limit.hard
    );
    ((limit.soft, limit.hard) != (0, 0)).then(|| Finding::warn(ID, evidence, START_ANEW))
}

fn tracer(pid: u32, seen: &Hardening) -> Option<Finding> {
    let tracer = seen.tracer_pid.filter(|tracer| *tracer != 0)?;
    let evidence = format!("pid {tracer} traces pid {pid}, and can act in its place");
    let remedy = format!(
        "see what it is (ps -fp {tracer}) and end it; start the proxy anew with another key, since a tracer may have had this one"
    );
    Some(Finding::fail(ID, evidence, remedy))
}

/// The words are the proxy's own, and stand in its README.
fn page(pid: u32, key: &Key) -> Option<Finding> {
    let finding = match key.page.as_str() {
        "memfd_secret" => return None,
        "locked page" => {
            let evidence = format!("root can read the key of pid {pid}: it is in a locked page");
            let remedy = "let it have memfd_secret(2): Linux 5.14 or later, before 6.5 with secretmem.enable=1 at boot, and a container's seccomp profile that allows it";
            Finding::warn(ID, evidence, remedy)
        }
        "unlocked page" => {
            let evidence =
                format!("the key of pid {pid} may be written to swap: it is in an unlocked page");
            let remedy = "start it without --allow-unlocked-key, with a limit of locked memory that is not 0 (ulimit -l)";
            Finding::fail(ID, evidence, remedy)
        }
        other => {
            let evidence =
                format!("pid {pid} has its key in {other:?}, which this program does not know");
            Finding::warn(ID, evidence, "use the proxy and this program in the same version")
        }
    };
    Some(finding)
}

fn unknown(pid: u32, seen: &Hardening) -> Option<Finding> {
    let facts = [
        ("whether its memory is open", seen.dumpable.is_none()),
        ("how large a core file may be", seen.core_limit_bytes.is_none()),
        ("who traces it", seen.tracer_pid.is_none()),
    ];
    let unknown: Vec<&str> =
        facts.iter().filter(|(_, is_unknown)| *is_unknown).map(|(fact, _)| *fact).collect();
    let evidence = format!("pid {pid} could not ask the kernel {}", unknown.join(", "));
    let remedy = "run the proxy on Linux with /proc mounted, where it can";
    (!unknown.is_empty()).then(|| Finding::warn(ID, evidence, remedy))
}

#[cfg(test)]
mod tests {
    use codex_proxy_client::status::CoreLimit;

    use super::super::proxy::samples::{running, silent, status};
    use super::*;
    use crate::finding::Grade::{self, Fail, Pass, Warn};

    const GOOD: &str = "pid 17: memory closed to its own account, no core files, traced by nobody, key in memfd_secret";

    fn judged(change: impl FnOnce(&mut Status)) -> Vec<(Grade, String)> {
        let mut status = status(4_000);
        change(&mut status);
        let findings = judge(&status);
        assert!(findings.iter().all(|it| it.remedy.is_some() == (it.grade != Pass)));
        findings.into_iter().map(|finding| (finding.grade, finding.evidence)).collect()
    }

    #[test]
    fn a_proxy_that_is_as_it_should_be_passes_and_says_what_more_it_has() {
        assert_eq!(judged(|_| {}), [(Pass, GOOD.to_owned())]);
        let more = judged(|status| {
            status.hardening.no_new_privs = Some(true);
            status.hardening.seccomp = Some(2);
        });
        assert_eq!(more, [(Pass, format!("{GOOD}, no_new_privs, seccomp"))]);
    }

    #[test]
    fn each_thing_that_is_not_as_it_should_be_is_a_finding_of_its_own() {
        type Change = fn(&mut Status);
        let page: [(&str, Grade, &str); 3] = [
            ("locked page", Warn, "root can read the key of pid 17: it is in a locked page"),
            (
                "unlocked page",
                Fail,
                "the key of pid 17 may be written to swap: it is in an unlocked page",
            ),
            (
                "the moon",
                Warn,
                "pid 17 has its key in \"the moon\", which this program does not know",
            ),
        ];
        for (word, grade, evidence) in page {
            let found = judged(|status| status.key.page = word.to_owned());
            assert_eq!(found, [(grade, evidence.to_owned())]);
        }
        let others: [(Change, Grade, &str); 4] = [
            (
                |status| status.hardening.dumpable = Some(true),
                Fail,
                "the memory of pid 17 is open to its own account (dumpable)",
            ),
            (
                |status| status.hardening.core_limit_bytes = Some(CoreLimit { soft: 0, hard: 9 }),
                Warn,
                "pid 17 may leave a core file of 0 B, or raise that to 9",
            ),
            (
                |status| status.hardening.tracer_pid = Some(99),
                Fail,
                "pid 99 traces pid 17, and can act in its place",
            ),
            (
                |status| status.hardening = Hardening::default(),
                Warn,
                "pid 17 could not ask the kernel whether its memory is open, how large a core file may be, who traces it",
            ),
        ];
        for (change, grade, evidence) in others {
            assert_eq!(judged(change), [(grade, evidence.to_owned())]);
        }
        let all = judged(|status| {
            status.hardening.dumpable = Some(true);
            status.hardening.tracer_pid = Some(99);
            status.key.page = "locked page".to_owned();
        });
        assert_eq!(all.iter().map(|(grade, _)| *grade).collect::<Vec<_>>(), [Fail, Fail, Warn]);
    }

    #[tokio::test]
    async fn each_proxy_that_runs_is_looked_at_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let proxies = vec![running(1, |_| {}), silent(2, true), running(3, |_| {})];
        let host = Host::for_tests(folder.path()).with_proxies(proxies);
        assert_eq!(look(Arc::new(host)).await.len(), 2);
        assert!(look(Arc::new(Host::for_tests(folder.path()))).await.is_empty());
    }
}
