//! `codex`: which public Codex is installed and of which version, and what `codex` means to a shell.
//!
//! The version is asked of the program itself, but never by root: a script's first line, PATH and what it loads decide what
//! would run, and any of it may be another account's.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use codex_config::{Lookup, NotInstalled, PublicCodex, find_public_codex};

use crate::Host;
use crate::check::blocking;
use crate::finding::Finding;
use crate::listing::quoted;

mod on_path;
mod version;

use on_path::OnPath;
use version::NoVersion;

const ID: &str = "codex";
/// How long a program may take to say its version.
const PATIENCE: Duration = Duration::from_secs(5);
/// The oldest that all this was measured with.
const MEASURED: [u32; 3] = [0, 169, 0];
const INSTALL: &str = "npm install -g @openai/codex";

/// What is known of a version.
enum Version {
    /// The three numbers of what it said; `None` where there are none in that.
    Said(Option<[u32; 3]>),
    None(NoVersion),
    /// This is root.
    NotAsked,
}

pub(crate) async fn look(host: Arc<Host>) -> Vec<Finding> {
    let asked = host.clone();
    let (installed, on_path) = blocking(move || (installed(&asked), OnPath::of(&asked))).await;
    let first = match installed {
        Err(error) => not_installed(&error),
        Ok(codex) => {
            let version = version_of(&codex, &host).await;
            public(&codex, version)
        }
    };
    let second = typed(&on_path, host.program.as_deref());
    [Some(first), second].into_iter().flatten().collect()
}

/// The public Codex, as the hand-over finds it.
fn installed(host: &Host) -> Result<PublicCodex, NotInstalled> {
    let (path, real_bin) = (host.variable("PATH"), host.variable("CODEX_REAL_BIN"));
    find_public_codex(&Lookup { path, real_bin, passed_over: host.program_id.as_slice() })
}

async fn version_of(codex: &PublicCodex, host: &Host) -> Version {
    if host.uid == 0 {
        return Version::NotAsked;
    }
    let program = codex.program.as_os_str();
    match version::asked(program, &["--version"], &host.variables, PATIENCE).await {
        Ok(said) => Version::Said(version::numbers(&said)),
        Err(none) => Version::None(none),
    }
}

fn not_installed(error: &NotInstalled) -> Finding {
    Finding::fail(ID, error.to_string(), error.hint())
}

fn public(codex: &PublicCodex, version: Version) -> Finding {
    let mut place = codex.program.display().to_string();
    if codex.named_by_variable {
        place.push_str(" (CODEX_REAL_BIN)");
    }
    let by_hand = format!("look at it by hand: {} --version", quoted(&codex.program));
    let words = |numbers: [u32; 3]| numbers.map(|number| number.to_string()).join(".");
    match version {
        Version::Said(Some(numbers)) => {
            let evidence = format!("the public Codex is {place}, version {}", words(numbers));
            if numbers >= MEASURED {
                return Finding::pass(ID, evidence);
            }
            let evidence = format!("{evidence}; older than {} was never tried", words(MEASURED));
            Finding::warn(ID, evidence, format!("install a newer one: {INSTALL}"))
        }
        Version::Said(None) => {
            let remedy = format!("is it the public Codex? Else install that: {INSTALL}");
            Finding::warn(ID, format!("{place} --version says no version"), remedy)
        }
        Version::None(NoVersion::Late(limit)) => {
            let evidence = format!("{place} --version has not answered in {limit:?}");
            Finding::warn(ID, evidence, by_hand)
        }
        Version::None(NoVersion::Broken(why)) => {
            let evidence = format!("{place} can't be run: {why}");
            Finding::fail(ID, evidence, format!("install it anew: {INSTALL}"))
        }
        Version::NotAsked => Finding::pass(
            ID,
            format!(
                "the public Codex is {place}, not asked for its version: root runs nobody else's program"
            ),
        ),
    }
}

/// What somebody gets who types `codex`. Where there is none at all, the other finding says it.
fn typed(on_path: &OnPath, program: Option<&Path>) -> Option<Finding> {
    let first = on_path.first()?.display();
    let finding = match (on_path.ours(), program) {
        (Some(_), _) if on_path.is_ours() => {
            Finding::pass(ID, format!("`codex` is this program, {first}"))
        }
        (Some(ours), _) => {
            let folder = quoted(ours.parent().unwrap_or(ours));
            let evidence = format!(
                "`codex` is {first}, and this program comes later on PATH, as {}",
                ours.display()
            );
            let remedy = format!("put its folder first: export PATH={folder}:\"$PATH\"");
            Finding::warn(ID, evidence, remedy)
        }
        (None, Some(program)) => {
            let place = program.display();
            let evidence =
                format!("`codex` is {first}; this program, {place}, is not on PATH as `codex`");
            let remedy = format!(
                "link to it from a folder that comes first on PATH: ln -s {} ~/.local/bin/codex",
                quoted(program)
            );
            Finding::warn(ID, evidence, remedy)
        }
        (None, None) => {
            let evidence = format!(
                "`codex` is {first}; whether that is this program is not known, for want of /proc"
            );
            Finding::warn(ID, evidence, "see which it is: type -a codex")
        }
    };
    Some(finding)
}

#[cfg(test)]
mod tests {
    use codex_config::FileId;

    use super::*;
    use crate::finding::Grade::{Fail, Pass, Warn};

    fn codex(named_by_variable: bool) -> PublicCodex {
        let id = FileId { device: 1, inode: 2 };
        PublicCodex { program: "/b/codex".into(), id, named_by_variable }
    }

    #[test]
    fn a_public_codex_is_judged_by_its_version() {
        let said = |numbers| Version::Said(Some(numbers));
        let late = || Version::None(NoVersion::Late(PATIENCE));
        let broken = || Version::None(NoVersion::Broken("No such file".to_owned()));
        for (version, grade, evidence) in [
            (said([0, 169, 0]), Pass, "the public Codex is /b/codex, version 0.169.0"),
            (said([1, 0, 0]), Pass, "the public Codex is /b/codex, version 1.0.0"),
            (
                said([0, 9, 200]),
                Warn,
                "the public Codex is /b/codex, version 0.9.200; older than 0.169.0 was never tried",
            ),
            (Version::Said(None), Warn, "/b/codex --version says no version"),
            (late(), Warn, "/b/codex --version has not answered in 5s"),
            (broken(), Fail, "/b/codex can't be run: No such file"),
            (
                Version::NotAsked,
                Pass,
                "the public Codex is /b/codex, not asked for its version: root runs nobody else's program",
            ),
        ] {
            let finding = public(&codex(false), version);
            assert_eq!((finding.grade, finding.evidence.as_str()), (grade, evidence));
            assert_eq!(finding.remedy.is_some(), grade != Pass);
        }
        let named = public(&codex(true), said([0, 169, 0])).evidence;
        assert_eq!(named, "the public Codex is /b/codex (CODEX_REAL_BIN), version 0.169.0");
    }

    /// Not even root's own: its first line may name what is looked up on PATH.
    #[tokio::test]
    async fn root_runs_no_program_for_its_version() {
        let folder = tempfile::tempdir().unwrap();
        let mut host = Host::for_tests(folder.path()).with_variable("CODEX_REAL_BIN", "/bin/sh");
        host.uid = 0;
        let findings = look(Arc::new(host)).await;
        let expected = "the public Codex is /bin/sh (CODEX_REAL_BIN), not asked for its version: root runs nobody else's program";
        assert_eq!(findings, [Finding::pass(ID, expected)]);
    }

    #[test]
    fn paths_in_remedies_are_words_of_a_shell() {
        let program = PublicCodex { program: "/b b/codex".into(), ..codex(false) };
        let late = public(&program, Version::None(NoVersion::Late(PATIENCE)));
        let by_hand = "look at it by hand: '/b b/codex' --version";
        assert_eq!(late.remedy.as_deref(), Some(by_hand));
        let us = Path::new("/a b/us");
        for (found, expected) in [
            (&[("/b/codex", false), ("/a b/codex", true)][..], "export PATH='/a b':\"$PATH\""),
            (&[("/b/codex", false)], "ln -s '/a b/us' ~/.local/bin/codex"),
        ] {
            let remedy = typed(&OnPath::for_tests(found), Some(us)).unwrap().remedy.unwrap();
            assert!(remedy.ends_with(expected), "{remedy}");
        }
    }

    #[test]
    fn what_is_typed_is_this_program_or_comes_before_it() {
        let us = Some(Path::new("/opt/codex"));
        for (found, program, grade, evidence) in [
            (&[("/a/codex", true), ("/b/codex", false)][..], us, Pass, "this program, /a/codex"),
            (
                &[("/b/codex", false), ("/a/codex", true)],
                us,
                Warn,
                "`codex` is /b/codex, and this program comes later on PATH, as /a/codex",
            ),
            (
                &[("/b/codex", false)],
                us,
                Warn,
                "`codex` is /b/codex; this program, /opt/codex, is not on PATH as `codex`",
            ),
            (&[("/b/codex", false)], None, Warn, "is not known"),
        ] {
            let finding = typed(&OnPath::for_tests(found), program).unwrap();
            assert_eq!(finding.grade, grade);
            assert!(finding.evidence.contains(evidence), "{finding:?}");
            assert_eq!(finding.remedy.is_some(), grade != Pass);
        }
        assert_eq!(typed(&OnPath::for_tests(&[]), us), None);
    }

    #[tokio::test]
    async fn where_none_is_installed_it_is_said_how_to_install_it() {
        let folder = tempfile::tempdir().unwrap();
        let findings = look(Arc::new(Host::for_tests(folder.path()))).await;
        let [finding] = &findings[..] else { panic!("{findings:?}") };
        assert_eq!((finding.check, finding.grade), ("codex", Fail));
        assert!(finding.remedy.as_deref().unwrap().contains(INSTALL), "{finding:?}");
    }
}
