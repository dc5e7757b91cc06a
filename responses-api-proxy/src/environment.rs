//! What the environment may choose: for a user the way to the upstream, for root next to nothing.
//!
//! Whoever starts a program chooses its environment. A user who starts the proxy has the key already; but
//! where root starts it, the environment may come from somebody who is not to have it.
//! Where credentials stand is asked for root too: it is the service manager that says it, and whoever said it, what is
//! there is believed by its owner and mode alone (`key_source`).

use std::ffi::OsString;
use std::path::PathBuf;

use codex_process_hardening::Hardened;
use nix::unistd::geteuid;

/// The names are tried in this order.
const HTTPS_PROXY: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];
const NO_PROXY: [&str; 2] = ["NO_PROXY", "no_proxy"];
const AUTHORITIES: [&str; 2] = ["CODEX_CA_CERTIFICATE", "SSL_CERT_FILE"];
/// Set by systemd for a service that loads credentials (systemd.exec(5)).
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// A folder in place of the system's: there is no way to have it besides those.
const NEVER_USED: &str = "SSL_CERT_DIR";

/// The variables that count, by name where they have to be named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Environment {
    /// Who called sudo, when we are root by it.
    pub(crate) sudo_user: Option<String>,
    pub(crate) sudo_uid: Option<u32>,
    /// The variable and what it says.
    pub(crate) https_proxy: Option<(&'static str, String)>,
    pub(crate) no_proxy: String,
    /// The variable and the file that it names.
    pub(crate) authorities: Vec<(&'static str, PathBuf)>,
    /// The folder where the service manager has put credentials.
    pub(crate) credentials: Option<PathBuf>,
    /// Variables that are there and change nothing.
    pub(crate) not_used: Vec<&'static str>,
}

impl Environment {
    /// This process's. Some of it stands in what hardening has removed.
    pub(crate) fn of(hardened: &Hardened) -> Self {
        let uid = geteuid();
        // `sudo -u SERVICE` may hand on the environment of somebody who is not to have the key either.
        let caller = std::env::var("SUDO_UID").ok().filter(|caller| *caller != uid.to_string());
        Self::read(uid.is_root(), uid.is_root() || caller.is_some(), |name| {
            std::env::var_os(name).or_else(|| hardened.removed_value(name).map(OsString::from))
        })
    }

    fn read(is_root: bool, is_anothers: bool, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let variable = |name: &'static str| {
            variable(name).filter(|value| !value.is_empty()).map(|value| (name, value))
        };
        let text =
            |(name, value): (&'static str, OsString)| (name, value.to_string_lossy().into_owned());
        let https_proxy = HTTPS_PROXY.into_iter().find_map(variable).map(text);
        let authorities: Vec<_> = AUTHORITIES.into_iter().filter_map(variable).collect();
        let credentials = variable(CREDENTIALS).map(|(_, folder)| PathBuf::from(folder));
        let mut not_used: Vec<_> = variable(NEVER_USED).map(|(name, _)| name).into_iter().collect();
        if is_anothers {
            let proxy = https_proxy.iter().map(|(name, _)| *name);
            not_used.extend(proxy.chain(authorities.iter().map(|(name, _)| *name)));
            let sudo_user =
                variable("SUDO_USER").filter(|_| is_root).map(text).map(|(_, user)| user);
            let sudo_uid = variable("SUDO_UID").filter(|_| is_root).map(text);
            let sudo_uid = sudo_uid.and_then(|(_, uid)| uid.parse().ok());
            return Self { sudo_user, sudo_uid, credentials, not_used, ..Self::default() };
        }
        let authorities =
            authorities.into_iter().map(|(name, file)| (name, PathBuf::from(file))).collect();
        let no_proxy = NO_PROXY.into_iter().find_map(variable).map(text);
        let no_proxy = no_proxy.map(|(_, hosts)| hosts).unwrap_or_default();
        Self {
            sudo_user: None,
            sudo_uid: None,
            https_proxy,
            no_proxy,
            authorities,
            credentials,
            not_used,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(is_root: bool, variables: &[(&str, &str)]) -> Environment {
        Environment::read(is_root, is_root, |name| {
            variables.iter().find(|(found, _)| *found == name).map(|(_, value)| value.into())
        })
    }

    const ALL: [(&str, &str); 9] = [
        ("HTTPS_PROXY", "http://upper:1"),
        ("https_proxy", "http://lower:1"),
        ("no_proxy", "a,b"),
        ("SSL_CERT_FILE", "/s"),
        ("CODEX_CA_CERTIFICATE", "/c"),
        ("SSL_CERT_DIR", "/d"),
        ("SUDO_USER", "alice"),
        ("HTTP_PROXY", "http://never:1"),
        ("CREDENTIALS_DIRECTORY", "/run/credentials/a"),
    ];

    #[test]
    fn a_users_environment_chooses_the_way_to_the_upstream() {
        let expected = Environment {
            sudo_user: None,
            sudo_uid: None,
            https_proxy: Some(("HTTPS_PROXY", "http://upper:1".to_owned())),
            no_proxy: "a,b".to_owned(),
            authorities: vec![
                ("CODEX_CA_CERTIFICATE", "/c".into()),
                ("SSL_CERT_FILE", "/s".into()),
            ],
            credentials: Some("/run/credentials/a".into()),
            not_used: vec!["SSL_CERT_DIR"],
        };
        assert_eq!(read(false, &ALL), expected);
        let lower = read(false, &[("HTTPS_PROXY", ""), ("https_proxy", "http://lower:1")]);
        assert_eq!(lower.https_proxy, Some(("https_proxy", "http://lower:1".to_owned())));
    }

    /// `sudo -u SERVICE`: it is another's environment, and no root's.
    #[test]
    fn a_callers_environment_chooses_nothing_but_credentials_for_the_account_that_he_runs_us_as() {
        let variable =
            |name: &str| ALL.iter().find(|(found, _)| *found == name).map(|(_, it)| it.into());
        let expected = Environment {
            not_used: vec!["SSL_CERT_DIR", "HTTPS_PROXY", "CODEX_CA_CERTIFICATE", "SSL_CERT_FILE"],
            credentials: Some("/run/credentials/a".into()),
            ..Environment::default()
        };
        assert_eq!(Environment::read(false, true, variable), expected);
    }

    #[test]
    fn roots_environment_chooses_nothing_but_credentials_and_that_is_said() {
        let expected = Environment {
            sudo_user: Some("alice".to_owned()),
            not_used: vec!["SSL_CERT_DIR", "HTTPS_PROXY", "CODEX_CA_CERTIFICATE", "SSL_CERT_FILE"],
            credentials: Some("/run/credentials/a".into()),
            ..Environment::default()
        };
        assert_eq!(read(true, &ALL), expected);
    }
}
