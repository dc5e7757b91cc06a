//! Why the proxy did not start: one variant per cause, each with its remedy.

use std::path::PathBuf;
use std::process::ExitCode;

use codex_key_custody::CustodyError;
use codex_peer_identity::IdentityError;
use codex_process_hardening::HardeningError;
use codex_request_log::LogFileError;
use thiserror::Error;

use crate::control::ControlSocketError;
use crate::dump::DumpFolderError;
use crate::field_rules::FieldError;
use crate::key_source::{self, KeyFileError};
use crate::upstream_proxy::UpstreamProxyError;
use crate::upstream_url::UpstreamUrlError;

/// Why the proxy did not start. Nothing is left behind then: no process, no file, no port. (Folders that
/// were made for the server-info file stay.)
#[derive(Debug, Error)]
pub enum StartError {
    /// The process could not be protected from its neighbours.
    #[error(transparent)]
    Hardening(#[from] HardeningError),
    /// There is no key on standard input, or no memory for it wherever it comes from.
    #[error(transparent)]
    Key(#[from] CustodyError),
    /// `--key-file` can't be read, or others could have read it.
    #[error("the key file {path} can't be used", path = path.display())]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: KeyFileError,
    },
    /// What `--key-file` holds is no key.
    #[error("the API key in {place} can't be used")]
    KeyFileContent {
        /// Which file or credential.
        place: String,
        /// What is wrong with what is in it.
        source: CustodyError,
    },
    /// A flag of the public proxy that has no counterpart here.
    #[error(
        "{flag} is not supported: this proxy takes an API key on standard input, not a workload identity"
    )]
    WorkloadIdentity {
        /// The flag.
        flag: &'static str,
    },
    /// `--upstream-url` can't be used.
    #[error("--upstream-url {url:?} can't be used")]
    UpstreamUrl {
        /// As it was typed.
        url: String,
        /// What is wrong with it.
        source: UpstreamUrlError,
    },
    /// The proxy on the way to the upstream can't be used. Its URL, which may hold a password, is not repeated.
    #[error("the proxy that {named_by} names can't be used")]
    UpstreamProxy {
        /// The flag or variable.
        named_by: &'static str,
        /// What is wrong with it.
        source: UpstreamProxyError,
    },
    /// A field can't be what a flag makes of it.
    #[error("{flag} {name:?} can't be used")]
    Field {
        /// The flag.
        flag: &'static str,
        /// The field's name, as it was typed.
        name: String,
        /// What is wrong with it.
        source: FieldError,
    },
    /// `--allow-user` names nobody.
    #[error("--allow-user {user:?}: there is no such account")]
    NoSuchUser {
        /// As it was typed.
        user: String,
        /// What the system said, if it was not simply no.
        source: Option<std::io::Error>,
    },
    /// `--allow-user`, where accounts can't be told apart.
    #[error("--allow-user can't be kept here")]
    Identity(#[source] IdentityError),
    /// A file of certificate authorities can't be used.
    #[error("the certificate authorities in {path} ({named_by}) can't be used", path = path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// The flag or variable that named it.
        named_by: &'static str,
        /// What is wrong with it.
        source: anyhow::Error,
    },
    /// Neither the system nor the operator names an authority, so no upstream can be verified.
    #[error("this system has no certificate authorities to verify the upstream with")]
    NoAuthorities,
    /// The address can't be listened on.
    #[error("127.0.0.1:{port} can't be listened on")]
    Listen {
        /// The port asked for; 0 for any.
        port: u16,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The server-info file can't be written.
    #[error("the server-info file {path} can't be written", path = path.display())]
    ServerInfo {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// `--dump-dir` can't be used.
    #[error(transparent)]
    Dumps(#[from] DumpFolderError),
    /// `--log-file` can't be used.
    #[error(transparent)]
    LogFile(#[from] LogFileError),
    /// Others could make another file of the one that `--log-file` names.
    #[error("other accounts can change what {path} leads to", path = path.display())]
    LogFolder {
        /// The log file.
        path: PathBuf,
    },
    /// `--control-socket` can't be used.
    #[error(transparent)]
    ControlSocket(#[from] ControlSocketError),
    /// `--daemon`: the process that is to stay could not be started, or set free.
    #[error("the proxy could not be left running on its own")]
    Daemon(#[source] std::io::Error),
    /// Something that only a lack of resources explains.
    #[error("{what} could not be set up")]
    Resources {
        /// What was to be set up.
        what: &'static str,
        /// What was said.
        source: anyhow::Error,
    },
}

impl StartError {
    /// Something that the kernel does not give.
    pub(crate) fn lacking(what: &'static str, error: std::io::Error) -> Self {
        Self::Resources { what, source: error.into() }
    }

    /// What the person who started the proxy can do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Hardening(error) => error.hint(),
            Self::Key(error) => error.hint(),
            Self::KeyFile { source, .. } => source.hint(),
            Self::KeyFileContent { source, .. } => key_source::content_hint(source),
            Self::WorkloadIdentity { .. } => "leave the flag out and pipe the key in",
            Self::UpstreamUrl { .. } => {
                "give the full URL of the endpoint, as in https://api.openai.com/v1/responses"
            }
            Self::UpstreamProxy { .. } => {
                "name it like http://HOST:PORT or http://USER:PASSWORD@HOST:PORT; a loopback upstream needs none"
            }
            Self::Field { .. } => {
                "fields look like api-key or 'OpenAI-Project: proj_1'; those that frame or address a request, and the key's own, are the proxy's"
            }
            Self::NoSuchUser { .. } => "give a name that `getent passwd` knows, or a uid",
            Self::Identity(_) => {
                "leave --allow-user out to serve every account, or run it where NETLINK_SOCK_DIAG is allowed (Linux with the module tcp_diag)"
            }
            Self::Authorities { .. } => {
                "name a readable file with one or more PEM blocks that begin with -----BEGIN CERTIFICATE-----"
            }
            Self::NoAuthorities => {
                "install the package ca-certificates, or name a file with --upstream-ca"
            }
            Self::Listen { source, .. } => match source.kind() {
                std::io::ErrorKind::AddrInUse => {
                    "another program has this port: name another with --port, or leave --port out"
                }
                std::io::ErrorKind::PermissionDenied => {
                    "ports below net.ipv4.ip_unprivileged_port_start are root's: name a higher one"
                }
                _ => "leave --port out to get one that is free",
            },
            Self::ServerInfo { .. } => "name a file in a folder that this account may write to",
            Self::Dumps(error) => error.hint(),
            Self::LogFile(error) => error.hint(),
            Self::LogFolder { .. } => {
                "name a file in a folder where, and on the way to which, only root and this account may write"
            }
            Self::ControlSocket(error) => error.hint(),
            Self::Daemon(_) => {
                "run it without --daemon, in the background or under a service manager"
            }
            Self::Resources { .. } => {
                "see whether the machine is out of memory, processes or open files; else this is a defect"
            }
        }
    }

    /// 2 for wrong usage, else 1.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::WorkloadIdentity { .. } => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }
}
