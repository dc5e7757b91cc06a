//! Why the proxy did not start: one variant per cause, each with its remedy.

use std::path::PathBuf;
use std::process::ExitCode;

use codex_key_custody::CustodyError;
use codex_process_hardening::HardeningError;
use thiserror::Error;

use crate::upstream_url::UpstreamUrlError;

/// Why the proxy did not start. Nothing is left behind then: no process, no file, no port. (Folders that
/// were made for the server-info file stay.)
#[derive(Debug, Error)]
pub enum StartError {
    /// The process could not be protected from its neighbours.
    #[error(transparent)]
    Hardening(#[from] HardeningError),
    /// There is no key.
    #[error(transparent)]
    Key(#[from] CustodyError),
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
    /// A file of certificate authorities can't be used.
    #[error("the certificate authorities in {path} can't be used", path = path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
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
    /// What the person who started the proxy can do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Hardening(error) => error.hint(),
            Self::Key(error) => error.hint(),
            Self::WorkloadIdentity { .. } => "leave the flag out and pipe the key in",
            Self::UpstreamUrl { .. } => {
                "give the full URL of the endpoint, as in https://api.openai.com/v1/responses"
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
