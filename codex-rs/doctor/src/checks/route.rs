//! `route`: whether Codex would send what is meant for 127.0.0.1 to an HTTP proxy instead.
//!
//! Variables are named, never shown: a proxy's address may have a password in it.

use std::path::Path;
use std::sync::Arc;

use codex_config::{CodexHome, Effective, Mend, Route, Where};

use crate::Host;
use crate::check::blocking;
use crate::finding::Finding;

const ID: &str = "route";

struct Facts {
    route: Route,
    is_pointed: bool,
    /// Whether `codex` is this program, which puts 127.0.0.1 into NO_PROXY of the environment.
    is_guarded: bool,
}

pub(crate) async fn look(host: Arc<Host>) -> Vec<Finding> {
    let is_pointed = host.effective().await.is_some_and(Effective::is_ours);
    blocking(move || {
        let home = host.codex_home.as_ref().ok();
        let env_file = home.map(CodexHome::env_file);
        let text = match home.map_or(Ok(None), CodexHome::read_env_file) {
            Ok(text) => text,
            Err(error) => {
                let evidence = format!(
                    "{error}, so whether an HTTP proxy gets what is meant for 127.0.0.1 is not known"
                );
                return vec![Finding::warn(ID, evidence, error.hint())];
            }
        };
        let route = route_of(&host, env_file.as_deref().zip(text.as_deref()));
        vec![judge(&Facts { route, is_pointed, is_guarded: host.is_guarded() })]
    })
    .await
}

fn route_of(host: &Host, env_file: Option<(&Path, &str)>) -> Route {
    let said = |name: &str| {
        let value = host.variables.get(std::ffi::OsStr::new(name))?;
        Some(value.to_string_lossy().into_owned())
    };
    Route::of(said, env_file)
}

fn judge(facts: &Facts) -> Finding {
    let route = &facts.route;
    let Some((variable, place)) = &route.proxy_variable else {
        return Finding::pass(
            ID,
            "no HTTP proxy is set for Codex, so 127.0.0.1 is reached directly",
        );
    };
    let named = format!("{variable} ({})", words(place));
    let Some(mend) = route.mend() else {
        let by = route.exempted_by.as_ref();
        let by = by.map(|(variable, place)| format!(": {variable} ({}) exempts it", words(place)));
        let by = by.unwrap_or_default();
        return Finding::pass(ID, format!("{named} sets an HTTP proxy, but not for 127.0.0.1{by}"));
    };
    let evidence =
        format!("Codex would send what is meant for 127.0.0.1 to the HTTP proxy of {named}");
    let remedy = format!(
        "{}; end Codex programs that still run, they keep what they have (its background server: `codex app-server daemon stop`)",
        mending(mend)
    );
    // The file's variables replace the environment's.
    if facts.is_guarded && matches!(mend, Mend::Environment { .. }) {
        let evidence = format!("{evidence}; `codex` is this program, and exempts it while pointed");
        return Finding::warn(ID, evidence, remedy);
    }
    match facts.is_pointed {
        true => Finding::fail(ID, evidence, remedy),
        false => Finding::warn(ID, evidence, remedy),
    }
}

fn mending(mend: &Mend) -> String {
    match mend {
        Mend::Environment { no_proxy } => {
            format!("export NO_PROXY={}", codex_config::shell_word(no_proxy))
        }
        Mend::EnvFile { file, no_proxy } => {
            format!("set NO_PROXY={} in {}", codex_config::shell_word(no_proxy), file.display())
        }
    }
}

fn words(place: &Where) -> String {
    match place {
        Where::Environment => "environment".to_owned(),
        Where::EnvFile(file) => file.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::finding::Grade::{Fail, Pass, Warn};

    const FILE: &str = "/home/a/.codex/.env";
    const PROXY: &str = "http://user:secret@proxy:3128";

    /// What the environment and the file lead to.
    fn facts(environment: &[(&str, &str)], file: &str) -> Facts {
        let folder = tempfile::tempdir().unwrap();
        let mut host = Host::for_tests(folder.path());
        for (name, value) in environment {
            host = host.with_variable(name, value);
        }
        let route = route_of(&host, Some((Path::new(FILE), file)));
        Facts { route, is_pointed: true, is_guarded: false }
    }

    #[test]
    fn what_is_meant_for_the_proxy_goes_there_or_it_is_said_who_gets_it() {
        let http_proxy = ("HTTP_PROXY", PROXY);
        let none = "no HTTP proxy is set for Codex, so 127.0.0.1 is reached directly";
        let would = "Codex would send what is meant for 127.0.0.1 to the HTTP proxy of HTTP_PROXY (environment)";
        let file_would = format!(
            "Codex would send what is meant for 127.0.0.1 to the HTTP proxy of HTTP_PROXY ({FILE})"
        );
        let exempted = "HTTP_PROXY (environment) sets an HTTP proxy, but not for 127.0.0.1: NO_PROXY (environment) exempts it";
        let sets_proxy = format!("HTTP_PROXY={PROXY}\n");
        let exported = "export NO_PROXY=127.0.0.1; end Codex";
        let added = "export NO_PROXY=localhost,127.0.0.1; end";
        let quoted = "export NO_PROXY='a b,127.0.0.1'; end";
        let lower = "export NO_PROXY=b,127.0.0.1; end";
        let in_file = "set NO_PROXY=example.com,127.0.0.1 in /home/a/.codex/.env; end";
        for (environment, file, grade, evidence, remedy) in [
            (&[][..], "", Pass, none, ""),
            (&[http_proxy], "", Fail, would, exported),
            (&[http_proxy, ("NO_PROXY", "localhost")], "", Fail, would, added),
            (&[http_proxy, ("NO_PROXY", "a b")], "", Fail, would, quoted),
            (&[http_proxy, ("no_proxy", "b")], "", Fail, would, lower),
            (&[http_proxy, ("NO_PROXY", "a,127.0.0.1")], "", Pass, exempted, ""),
            (&[http_proxy], "NO_PROXY=example.com\n", Fail, would, in_file),
            (&[], &*sets_proxy, Fail, &*file_would, exported),
        ] {
            let finding = judge(&facts(environment, file));
            assert_eq!((finding.grade, finding.evidence.as_str()), (grade, evidence));
            let said = finding.remedy.unwrap_or_default();
            assert!(said.starts_with(remedy) && !said.contains("secret"), "{said}");
        }
    }

    #[test]
    fn it_is_less_bad_where_codex_is_this_program_or_not_pointed() {
        let facts = |file| facts(&[("HTTP_PROXY", PROXY)], file);
        let guarded = judge(&Facts { is_guarded: true, ..facts("") });
        assert_eq!(guarded.grade, Warn);
        assert!(guarded.evidence.ends_with("exempts it while pointed"));
        // Its variable would be replaced.
        let replaced = judge(&Facts { is_guarded: true, ..facts("NO_PROXY=a") });
        assert_eq!(replaced.grade, Fail);
        assert_eq!(judge(&Facts { is_pointed: false, ..facts("") }).grade, Warn);
    }

    #[tokio::test]
    async fn a_file_that_can_not_be_read_is_said_to_be_so() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("a b");
        let host = || Arc::new(Host::for_tests(&home));
        assert_eq!(look(host()).await[0].grade, Pass);
        fs::create_dir_all(home.join(".codex/.env")).unwrap();
        let findings = look(host()).await;
        assert_eq!(findings[0].grade, Warn);
        assert!(findings[0].evidence.contains("/.env is no regular file"), "{findings:?}");
        assert!(findings[0].remedy.is_some(), "{findings:?}");
    }
}
