//! All that is looked at, in the order in which it is shown: what has to work, from the proxy to Codex; then where a key
//! could be read.

mod auth_file;
mod codex;
mod environment;
mod files;
mod groups;
mod hardening;
mod owners;
mod port;
mod program;
mod provider;
mod proxy;
mod route;
mod run_folder;
mod upstream;

use std::sync::Arc;

use crate::Host;
use crate::check::{Check, Looking};

/// All checks, in the order in which they are shown.
pub fn checks() -> Vec<Check> {
    vec![
        check("proxy", |host| Box::pin(proxy::look(host))),
        check("port", |host| Box::pin(port::look(host))),
        check("hardening", |host| Box::pin(hardening::look(host))),
        check("run_folder", |host| Box::pin(run_folder::look(host))),
        check("upstream", |host| Box::pin(upstream::look(host))),
        check("codex", |host| Box::pin(codex::look(host))),
        // And `layers`: the same files tell both.
        check("provider", |host| Box::pin(provider::look(host))),
        check("route", |host| Box::pin(route::look(host))),
        check("environment", |host| Box::pin(environment::look(host))),
        check("auth_file", |host| Box::pin(auth_file::look(host))),
        check("files", |host| Box::pin(files::look(host))),
        check("owners", |host| Box::pin(owners::look(host))),
        check("program", |host| Box::pin(program::look(host))),
        check("sudo", |host| Box::pin(groups::look(host))),
    ]
}

fn check(id: &'static str, run: fn(Arc<Host>) -> Looking) -> Check {
    Check { id, run }
}

/// For tests elsewhere: what may be found in the place of a proxy.
#[cfg(test)]
pub(crate) mod samples {
    pub(crate) use super::proxy::samples::{info, running};
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_check_has_a_name_of_its_own_in_snake_case() {
        let checks = checks();
        let names: BTreeSet<&str> = checks.iter().map(|check| check.id).collect();
        assert_eq!(names.len(), checks.len());
        for check in checks {
            let is_plain = |letter: char| letter.is_ascii_lowercase() || letter == '_';
            assert!(check.id.chars().all(is_plain), "{check:?}");
        }
    }
}
