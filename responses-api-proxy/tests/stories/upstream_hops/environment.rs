//! What the environment chooses: for a user the proxy between and whom to trust, for root nothing.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use codex_mock_upstream::{Certificate, MockUpstream};
use nix::unistd::getuid;

use super::tunnel::{ConnectProxy, LOGIN, Manner};
use super::{ask, fails, tls_mock};
use crate::support::*;

/// Neither root's nor anybody's: `nobody`, on most systems.
const USER: u32 = 65_534;

/// A user who starts the proxy, in a folder of its own. If the tests are root's, that is another account.
struct User {
    folder: tempfile::TempDir,
}

impl User {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        if getuid().is_root() {
            // By another program: what is open for writing here is open, for an instant, in each process that
            // another test starts, and such a file can't be run (ETXTBSY).
            let copy = folder.path().join("proxy");
            let copied =
                Command::new("install").args(["-m", "755", crate::PROXY.0]).arg(copy).status();
            assert!(copied.unwrap().success());
        }
        Self { folder }
    }

    fn has(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        path
    }

    /// The program that this user can run.
    fn programs_path(&self) -> PathBuf {
        if getuid().is_root() { self.folder.path().join("proxy") } else { crate::PROXY.0.into() }
    }

    fn program(&self) -> Command {
        let mut command = Command::new(self.programs_path());
        command.args(crate::PROXY.1).current_dir("/");
        if getuid().is_root() {
            command.uid(USER).gid(USER);
        }
        without_choices(command)
    }
}

/// Takes away what the environment of the tests chooses.
fn without_choices(mut command: Command) -> Command {
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
    command.env_remove("CODEX_CA_CERTIFICATE");
    clean(command)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_environment_names_the_proxy_and_the_hosts_that_need_none() {
    let upstream = tls_mock(Certificate::Valid).await;
    let user = User::new();
    let authority = user.has("authority.pem", upstream.authority_pem().unwrap());
    let between = ConnectProxy::start(LOGIN).await;
    let url = between.url_with("me:s3cret");
    let url = url.as_str();
    let unused = "http://127.0.0.1:9"; // Nobody is there.
    let way = format!(", through the proxy {}", between.url());
    let mut tunnels = 0;
    for (variables, goes_through) in [
        (vec![("HTTPS_PROXY", url)], true),
        (vec![("https_proxy", url)], true),
        (vec![("HTTPS_PROXY", url), ("https_proxy", unused)], true),
        (vec![("HTTPS_PROXY", url), ("NO_PROXY", "elsewhere.example,10.0.0.0/8")], true),
        (vec![("HTTPS_PROXY", url), ("NO_PROXY", "localhost,127.0.0.1")], false),
        (vec![("https_proxy", url), ("no_proxy", "127.0.0.0/8")], false),
        (vec![("HTTPS_PROXY", url), ("NO_PROXY", "*")], false),
        (vec![("HTTP_PROXY", unused), ("ALL_PROXY", unused)], false),
        (vec![("http_proxy", unused), ("all_proxy", unused)], false),
        (vec![("HTTPS_PROXY", "")], false),
    ] {
        let mut command = user.program();
        command.args(["--upstream-url", &upstream.responses_url()]);
        command.args(["--upstream-ca", str(&authority)]).envs(variables.iter().copied());
        let proxy = Proxy::spawn(&mut command);
        assert_eq!(proxy.ready.contains(&way), goes_through, "{variables:?}: {}", proxy.ready);
        assert_eq!(proxy.ready.contains("through"), goes_through, "{}", proxy.ready);
        assert_eq!(ask(&proxy).status, 200, "{variables:?}");
        tunnels += usize::from(goes_through);
        assert_eq!(between.heads().len(), tunnels, "{variables:?}");
        let said = proxy.stop();
        assert!(!said.contains("s3cret") && !said.contains("warning"), "{said}");
    }
    between.assert_saw_no_key();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_environment_names_authorities() {
    let upstream = tls_mock(Certificate::Valid).await;
    let user = User::new();
    let authority = user.has("authority.pem", upstream.authority_pem().unwrap());
    for name in ["CODEX_CA_CERTIFICATE", "SSL_CERT_FILE"] {
        let mut command = user.program();
        command.args(["--upstream-url", &upstream.responses_url()]);
        let proxy = Proxy::spawn(command.env(name, &authority));
        let trusting = format!(", trusting {} ({name})", str(&authority));
        assert!(proxy.ready.contains(&trusting), "{}", proxy.ready);
        assert_eq!(ask(&proxy).status, 200);

        let nowhere = user.folder.path().join("nowhere.pem");
        let mut command = user.program();
        let output = command.env(name, &nowhere).stdin(Stdio::null()).output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(str(&nowhere)) && said.contains(name), "{said}");
    }
}

/// The file of the system's authorities, under the names that Debian and Fedora have for it.
const SYSTEMS_AUTHORITIES: [&str; 2] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// In a mount namespace of its own a system has one mock's authority, and the user names another's.
#[tokio::test(flavor = "multi_thread")]
async fn authorities_that_a_user_names_are_trusted_besides_the_systems() {
    let systems = SYSTEMS_AUTHORITIES.into_iter().find(|path| Path::new(path).exists());
    let missing = match systems {
        _ if !getuid().is_root() => Some("it mounts a file: run the tests as root"),
        None => Some("this system has no authorities: install the package ca-certificates"),
        Some(_) => None,
    };
    if !can_run(missing) {
        return;
    }
    let known_to_the_system = tls_mock(Certificate::Valid).await;
    let named_by_the_user = tls_mock(Certificate::Valid).await;
    let user = User::new();
    let of_the_system = user.has("system.pem", known_to_the_system.authority_pem().unwrap());
    let of_the_user = user.has("user.pem", named_by_the_user.authority_pem().unwrap());
    let start = |upstream: &MockUpstream, name: &str| {
        let mut command = without_choices(Command::new("unshare"));
        command.args(["--mount", "--propagation", "private", "sh", "-c"]);
        command.arg(r#"mount --bind "$0" "$1" && shift && exec setpriv "$@""#);
        command.arg(&of_the_system).arg(systems.unwrap());
        command.args([format!("--reuid={USER}"), format!("--regid={USER}")]);
        command.arg("--clear-groups").arg(user.programs_path());
        command.args(crate::PROXY.1).args(["--upstream-url", &upstream.responses_url()]);
        Proxy::spawn(command.env(name, &of_the_user))
    };
    for name in ["CODEX_CA_CERTIFICATE", "SSL_CERT_FILE"] {
        assert_eq!(ask(&start(&known_to_the_system, name)).status, 200, "{name}");
        assert_eq!(ask(&start(&named_by_the_user, name)).status, 200, "{name}");
    }
    let mut proxy = start(&named_by_the_user, "NOTHING_IN_PARTICULAR");
    fails(&mut proxy, 502, "upstream_tls", &["not trusted"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn roots_environment_leads_the_key_nowhere_and_that_is_said() {
    if !can_run((!getuid().is_root()).then_some("it is about root: run the tests as root")) {
        return;
    }
    let upstream = tls_mock(Certificate::Valid).await;
    let between = ConnectProxy::start(Manner::Tunnels).await;
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("authority.pem");
    fs::write(&authority, upstream.authority_pem().unwrap()).unwrap();
    let start = |flags: &[&str]| {
        let mut command = without_choices(program());
        command.args(["--upstream-url", &upstream.responses_url()]).args(flags);
        command.env("HTTPS_PROXY", between.url());
        command.env("CODEX_CA_CERTIFICATE", &authority).env("SSL_CERT_FILE", &authority);
        Proxy::spawn(&mut command)
    };
    let mut proxy = start(&[]);
    let warning = proxy.said.iter().find(|line| line.contains("warning: not used as root: "));
    let warning = warning.unwrap();
    for name in ["HTTPS_PROXY", "CODEX_CA_CERTIFICATE", "SSL_CERT_FILE"] {
        assert!(warning.contains(name), "{warning}");
    }
    let said = proxy.said.join("\n");
    assert!(!said.contains("through the proxy") && !said.contains("trusting"), "{said}");
    fails(&mut proxy, 502, "upstream_tls", &["not trusted", "--upstream-ca"]);
    drop(proxy);

    let proxy = start(&["--upstream-ca", str(&authority)]);
    assert_eq!(ask(&proxy).status, 200);
    assert!(between.heads().is_empty(), "root's environment chose the way");
}
