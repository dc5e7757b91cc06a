//! Who could exchange the programs that are run here: ours, and the public Codex.
//!
//! Another account that can is a failure. That this account can exchange ours is a warning: an agent that runs as it
//! could put one in its place that keeps the next key. The public Codex never has the key, and usually lies in a
//! home. Only the way to the file counts: what a script or a shim then runs or loads is not looked at.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use codex_config::{Lookup, find_public_codex};
use codex_path_trust::{WayIn, Who, ways_in};

use crate::check::blocking;
use crate::finding::Finding;
use crate::host::Host;
use crate::listing::quoted;
use crate::ways_in::{Owner, remedy, trusting};

const ID: &str = "program";

/// A program, and who could exchange it.
#[derive(Debug)]
struct Program {
    path: PathBuf,
    /// Besides root and this account.
    others: Vec<WayIn>,
    /// Besides root: this account itself.
    ourselves: Option<WayIn>,
}

#[derive(Debug)]
struct Seen {
    uid: u32,
    ours: Option<Program>,
    public: Option<Program>,
}

pub(crate) async fn look(host: Arc<Host>) -> Vec<Finding> {
    blocking(move || judge(&gather(&host), |uid| host.account(uid))).await
}

fn gather(host: &Host) -> Seen {
    let (path, real_bin) = (host.variable("PATH"), host.variable("CODEX_REAL_BIN"));
    // That there is none is told by `codex`.
    let lookup = Lookup { path, real_bin, passed_over: host.program_id.as_slice() };
    let public = find_public_codex(&lookup).ok();
    Seen {
        uid: host.uid,
        ours: host.program.as_deref().map(|path| program(path, host)),
        public: public.map(|public| program(&public.program, host)),
    }
}

fn program(path: &Path, host: &Host) -> Program {
    let others = ways_in(path, &trusting([0, host.uid], host.etc()));
    let mut ways = ways_in(path, &trusting([0], host.etc())).into_iter();
    let ourselves = ways.find(|way| is_ours(way, host.uid, &host.gids));
    Program { path: path.to_owned(), others, ourselves }
}

/// Whether this account is one of those whose way in it is.
fn is_ours(way: &WayIn, uid: u32, gids: &[u32]) -> bool {
    match &way.who {
        Who::Owner => way.owner == uid,
        Who::Group { gid, .. } => gids.contains(gid),
        Who::Everyone => true,
        Who::Unknown { .. } => false,
    }
}

fn judge(seen: &Seen, account: impl Fn(u32) -> String) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(ours) = &seen.ours {
        findings.extend(ours.others.iter().map(|way| exchanged(ours, way, seen.uid, &account)));
        match &ours.ourselves {
            Some(way) if seen.uid != 0 => findings.push(by_ourselves(ours, way, &account)),
            _ if ours.others.is_empty() => {
                let evidence = format!("nobody but root can exchange {}", ours.path.display());
                findings.push(Finding::pass(ID, evidence));
            }
            _ => {}
        }
    }
    if let Some(public) = &seen.public {
        let others = public.others.iter();
        findings.extend(others.map(|way| exchanged(public, way, seen.uid, &account)));
        if public.others.is_empty() {
            let who = if seen.uid == 0 { "root" } else { "root and this account" };
            let path = public.path.display();
            let evidence = format!(
                "nobody but {who} can exchange {path}, the public Codex; what it loads was not looked at"
            );
            findings.push(Finding::pass(ID, evidence));
        }
    }
    findings
}

fn exchanged(program: &Program, way: &WayIn, uid: u32, account: impl Fn(u32) -> String) -> Finding {
    let (words, path) = (way.words(account), program.path.display());
    let remedy = remedy(way, uid, Owner::ROOT);
    match way.who {
        Who::Unknown { .. } => {
            Finding::warn(ID, format!("nobody can say who could exchange {path}: {words}"), remedy)
        }
        _ => Finding::fail(ID, format!("others could exchange {path}: {words}"), remedy),
    }
}

fn by_ourselves(program: &Program, way: &WayIn, account: impl Fn(u32) -> String) -> Finding {
    let evidence = format!(
        "an agent that runs as this account could exchange {} for a program that keeps the next key: {}",
        program.path.display(),
        way.words(account)
    );
    let remedy = format!(
        "have a copy that is root's, and start that: sudo install -m 755 -t /usr/local/bin {}",
        quoted(&program.path)
    );
    Finding::warn(ID, evidence, remedy)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::finding::Grade;

    fn way(place: &str, owner: u32, who: Who) -> WayIn {
        WayIn { place: place.into(), owner, who }
    }

    fn seen(uid: u32, others: Vec<WayIn>, ourselves: Option<WayIn>) -> Seen {
        let ours = Some(Program { path: "/opt/codex".into(), others, ourselves });
        Seen { uid, ours, public: None }
    }

    fn words(findings: Vec<Finding>) -> Vec<(Grade, String, Option<String>)> {
        findings.into_iter().map(|it| (it.grade, it.evidence, it.remedy)).collect()
    }

    #[test]
    fn our_program_is_to_be_roots() {
        let everyone = || way("/opt", 0, Who::Everyone);
        let unknown = way("/opt", 0, Who::Unknown { because: "gone".to_owned() });
        let mine = || Some(way("/opt/codex", 7, Who::Owner));
        let exchanged = "others could exchange /opt/codex: /opt can be changed by everyone";
        let by_agent = "an agent that runs as this account could exchange /opt/codex for a program that keeps the next \
                        key: /opt/codex belongs to uid 7";
        let pass = "nobody but root can exchange /opt/codex";
        let unsure = "nobody can say who could exchange /opt/codex: /opt can't be looked at: gone";
        for (seen, expected) in [
            (seen(7, vec![], None), vec![(Grade::Pass, pass)]),
            (seen(7, vec![], mine()), vec![(Grade::Warn, by_agent)]),
            (seen(7, vec![everyone()], None), vec![(Grade::Fail, exchanged)]),
            (
                seen(7, vec![everyone()], mine()),
                vec![(Grade::Fail, exchanged), (Grade::Warn, by_agent)],
            ),
            (seen(7, vec![unknown], None), vec![(Grade::Warn, unsure)]),
            (seen(0, vec![], None), vec![(Grade::Pass, pass)]),
        ] {
            let found = words(judge(&seen, |uid| format!("uid {uid}")));
            let found: Vec<(Grade, &str)> =
                found.iter().map(|(grade, evidence, _)| (*grade, &**evidence)).collect();
            assert_eq!(found, expected, "{seen:?}");
        }
    }

    #[test]
    fn the_public_codex_may_be_this_accounts() {
        let program = |others| {
            let ourselves = Some(way("/h/codex", 7, Who::Owner));
            Some(Program { path: "/h/codex".into(), others, ourselves })
        };
        let seen = |uid, others| Seen { uid, ours: None, public: program(others) };
        let pass = |who: &str| {
            format!(
                "nobody but {who} can exchange /h/codex, the public Codex; what it loads was not looked at"
            )
        };
        let account = |uid: u32| format!("uid {uid}");
        let found = words(judge(&seen(7, vec![]), account));
        assert_eq!(found, [(Grade::Pass, pass("root and this account"), None)]);
        let found = words(judge(&seen(0, vec![]), account));
        assert_eq!(found, [(Grade::Pass, pass("root"), None)]);
        let found = words(judge(&seen(7, vec![way("/h/codex", 8, Who::Owner)]), account));
        let evidence = "others could exchange /h/codex: /h/codex belongs to uid 8".to_owned();
        let remedy = Some("sudo chown -h 0:0 /h/codex".to_owned());
        assert_eq!(found, [(Grade::Fail, evidence, remedy)]);
    }

    #[test]
    fn a_way_in_is_this_accounts_by_its_number_or_one_of_its_groups() {
        let group = |gid| Who::Group { gid, name: None };
        let unknown = Who::Unknown { because: "gone".to_owned() };
        for (owner, who, expected) in [
            (7, Who::Owner, true),
            (8, Who::Owner, false),
            (8, group(70), true),
            (8, group(71), true),
            (7, group(72), false),
            (8, Who::Everyone, true),
            (7, unknown, false),
        ] {
            let way = way("/opt", owner, who);
            assert_eq!(is_ours(&way, 7, &[70, 71]), expected, "{way:?}");
        }
    }

    #[tokio::test]
    async fn both_programs_are_looked_at_where_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            fs::create_dir(folder.path().join(name)).unwrap();
            // Whatever the umask is.
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(folder.path().join(name), mode).unwrap();
            let path = folder.path().join(name).join("codex");
            fs::write(&path, "#!/bin/sh\n").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        let (ours, public) = (make("ours"), make("public"));
        let path = format!("{}/ours:{}/public", folder.path().display(), folder.path().display());
        let host = Host::for_tests(folder.path()).with_variable("PATH", &path);
        let mut host = host.with_program(ours.clone());
        let seen = gather(&host);
        assert_eq!(seen.public.unwrap().path, public);
        let program = seen.ours.unwrap();
        assert_eq!(program.path, ours);
        // Root needs nobody's leave.
        assert_eq!(program.ourselves.is_some(), host.uid != 0, "{program:?}");
        (host.program, host.program_id) = (None, None);
        host.variables.clear();
        assert!(look(Arc::new(host)).await.is_empty());
    }
}
