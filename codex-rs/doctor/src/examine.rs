//! All checks side by side: none waits for another, and none can hold up or spoil the others.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::timeout;

use crate::check::Check;
use crate::checks::checks;
use crate::finding::Finding;
use crate::host::Host;
use crate::looks_like_key::masked;
use crate::report::Report;

/// How long a check may take.
const LIMIT: Duration = Duration::from_secs(10);

const AGAIN: &str = "run the doctor again; if it stays so, look at this by hand";

/// How far the examination is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// How many checks are done.
    pub done: usize,
    /// How many there are.
    pub of: usize,
    /// Those that are not done, in their order.
    pub waiting_for: Vec<&'static str>,
}

/// Looks at everything, and tells how far it is: before the first check and after each.
///
/// A check that has not answered after 10 s is a warning, and one that breaks is a failure; the others don't notice.
/// Dropped, it waits for nothing; what a thread is about to read, it still reads.
pub async fn examine(host: Arc<Host>, progress: impl FnMut(Progress)) -> Report {
    examine_with(checks(), host, LIMIT, progress).await
}

async fn examine_with(
    checks: Vec<Check>,
    host: Arc<Host>,
    limit: Duration,
    mut progress: impl FnMut(Progress),
) -> Report {
    let mut tasks: JoinSet<Vec<Finding>> = JoinSet::new();
    let mut places: HashMap<Id, usize> = HashMap::new();
    for (place, check) in checks.iter().enumerate() {
        let task = tasks.spawn(look(*check, host.clone(), limit));
        places.insert(task.id(), place);
    }
    let mut found: Vec<Option<Vec<Finding>>> = vec![None; checks.len()];
    progress(state(&checks, &found));
    while let Some(ended) = tasks.join_next_with_id().await {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let Some(place) = places.remove(&id) else { continue };
        found[place] = Some(match ended {
            Ok((_, findings)) => findings,
            Err(_) => vec![broken(checks[place].id)],
        });
        progress(state(&checks, &found));
    }
    Report { findings: found.into_iter().flatten().flatten().map(without_keys).collect() }
}

/// The one gate for all words: names of files, programs and providers are other people's, and a key may stand in them.
fn without_keys(finding: Finding) -> Finding {
    let evidence = masked(&finding.evidence);
    let remedy = finding.remedy.map(|remedy| masked(&remedy));
    Finding { evidence, remedy, ..finding }
}

async fn look(check: Check, host: Arc<Host>, limit: Duration) -> Vec<Finding> {
    match timeout(limit, (check.run)(host)).await {
        Ok(findings) => findings,
        Err(_) => {
            let evidence = format!("not answered in {} s", limit.as_secs());
            vec![Finding::warn(check.id, evidence, AGAIN)]
        }
    }
}

/// Its own words are not passed on: they may quote what the check was reading.
fn broken(id: &'static str) -> Finding {
    Finding::fail(id, "the check itself broke, so nothing is known", AGAIN)
}

fn state(checks: &[Check], found: &[Option<Vec<Finding>>]) -> Progress {
    let each = checks.iter().zip(found);
    let waiting_for = each.filter(|(_, found)| found.is_none()).map(|(check, _)| check.id);
    let waiting_for: Vec<&'static str> = waiting_for.collect();
    Progress { done: checks.len() - waiting_for.len(), of: checks.len(), waiting_for }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::future::pending;
    use std::os::unix::fs::PermissionsExt;

    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::check::Looking;
    use crate::finding::Grade;

    fn check(id: &'static str, run: fn(Arc<Host>) -> Looking) -> Check {
        Check { id, run }
    }

    fn quick() -> Check {
        check("quick", |_| Box::pin(async { vec![Finding::pass("quick", "done")] }))
    }

    fn slower() -> Check {
        check("slower", |_| {
            Box::pin(async {
                sleep(Duration::from_secs(3)).await;
                vec![Finding::pass("slower", "one"), Finding::warn("beside", "two", "mend it")]
            })
        })
    }

    fn nothing() -> Check {
        check("nothing", |_| Box::pin(async { Vec::new() }))
    }

    fn endless() -> Check {
        check("endless", |_| Box::pin(pending()))
    }

    fn panicking() -> Check {
        check("panicking", |_| Box::pin(async { broken_inside() }))
    }

    fn broken_inside() -> Vec<Finding> {
        panic!("with sk-something in its words")
    }

    /// The report, and how far it was each time that it was told.
    async fn examined(checks: Vec<Check>) -> (Vec<Finding>, Vec<Progress>) {
        let folder = tempfile::tempdir().unwrap();
        let host = Arc::new(Host::for_tests(folder.path()));
        let mut told = Vec::new();
        let report = examine_with(checks, host, LIMIT, |progress| told.push(progress)).await;
        (report.findings, told)
    }

    fn words(findings: &[Finding]) -> Vec<(&'static str, Grade, &str)> {
        findings.iter().map(|found| (found.check, found.grade, found.evidence.as_str())).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn findings_keep_the_order_of_the_checks_whoever_is_first() {
        let begun = Instant::now();
        let (findings, _) = examined(vec![slower(), nothing(), quick()]).await;
        let expected = [
            ("slower", Grade::Pass, "one"),
            ("beside", Grade::Warn, "two"),
            ("quick", Grade::Pass, "done"),
        ];
        assert_eq!(words(&findings), expected);
        assert_eq!(begun.elapsed().as_secs(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn checks_run_side_by_side_and_a_slow_one_is_cut_at_the_limit() {
        let begun = Instant::now();
        let (findings, _) = examined(vec![endless(), slower(), slower(), endless(), quick()]).await;
        let slow = ("endless", Grade::Warn, "not answered in 10 s");
        let (one, two) = (("slower", Grade::Pass, "one"), ("beside", Grade::Warn, "two"));
        let expected = [slow, one, two, one, two, slow, ("quick", Grade::Pass, "done")];
        assert_eq!(words(&findings), expected);
        assert_eq!(begun.elapsed().as_secs(), 10);
        assert!(findings[0].remedy.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_a_failure_of_that_check_alone_and_its_words_stay_inside() {
        let (findings, _) = examined(vec![quick(), panicking(), slower()]).await;
        let expected = [
            ("quick", Grade::Pass, "done"),
            ("panicking", Grade::Fail, "the check itself broke, so nothing is known"),
            ("slower", Grade::Pass, "one"),
            ("beside", Grade::Warn, "two"),
        ];
        assert_eq!(words(&findings), expected);
        assert!(findings[1].remedy.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_told_how_far_it_is_before_the_first_check_and_after_each() {
        let (_, told) = examined(vec![endless(), slower(), quick()]).await;
        let progress = |done, waiting_for: &[&'static str]| Progress {
            done,
            of: 3,
            waiting_for: waiting_for.to_vec(),
        };
        let expected = [
            progress(0, &["endless", "slower", "quick"]),
            progress(1, &["endless", "slower"]),
            progress(2, &["endless"]),
            progress(3, &[]),
        ];
        assert_eq!(told, expected);
    }

    #[tokio::test]
    async fn where_nothing_is_to_be_looked_at_nothing_is_found() {
        let (findings, told) = examined(Vec::new()).await;
        assert!(findings.is_empty());
        assert_eq!(told, [Progress { done: 0, of: 0, waiting_for: Vec::new() }]);
    }

    #[tokio::test]
    async fn whatever_has_a_key_for_a_name_is_told_without_it() {
        const KEY: &str = "sk-proj-0123456789abcdef";
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at(".codex")).unwrap();
        fs::write(at(".codex/config.toml"), format!("model_provider = {KEY:?}\n")).unwrap();
        let profile = at(&format!(".codex/{KEY}.config.toml"));
        fs::write(&profile, "").unwrap();
        fs::set_permissions(&profile, fs::Permissions::from_mode(0o666)).unwrap();
        let real_bin = format!("/nowhere/{KEY}");
        let mut host = Host::for_tests(folder.path()).with_variable("CODEX_REAL_BIN", &real_bin);
        host.proc_folder = at("proc");
        fs::create_dir_all(at("proc/7")).unwrap();
        let status = format!("Name:\t{KEY}\nPPid:\t1\nUid:\t{}\t0\t0\t0\n", host.uid);
        fs::write(at("proc/7/status"), status).unwrap();
        fs::write(at("proc/7/environ"), format!("OPENAI_API_KEY={KEY}\0")).unwrap();
        let report = examine(Arc::new(host), |_| ()).await;
        for check in ["provider", "owners", "codex", "environment"] {
            let mut of_check = report.findings.iter().filter(|finding| finding.check == check);
            assert!(of_check.any(|it| it.evidence.contains("sk-…")), "{check}: {report:?}");
        }
        assert!(!format!("{report:?}").contains("0123456789"), "{report:?}");
    }
}
