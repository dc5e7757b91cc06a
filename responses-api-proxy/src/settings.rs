//! From what was typed to what is meant: checked once, here.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::upstream_url::UpstreamUrl;
use crate::{ServeArgs, StartError};

/// Everything that the operator decides. Paths are absolute.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// 0 for any free port.
    pub(crate) port: u16,
    pub(crate) server_info: Option<PathBuf>,
    pub(crate) http_shutdown: bool,
    pub(crate) upstream: UpstreamUrl,
    pub(crate) authorities: Authorities,
    pub(crate) connect_timeout: Duration,
    pub(crate) header_timeout: Duration,
    pub(crate) drain_timeout: Duration,
    pub(crate) max_body_bytes: u64,
    pub(crate) max_concurrent: usize,
}

/// Whom the proxy trusts to vouch for the upstream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Authorities {
    /// `SSL_CERT_FILE`, in place of the system's.
    pub(crate) file: Option<PathBuf>,
    /// `SSL_CERT_DIR`, in place of the system's.
    pub(crate) folder: Option<PathBuf>,
    /// `--upstream-ca`, in addition.
    pub(crate) added: Vec<PathBuf>,
}

impl Authorities {
    /// The files and folders that are not the system's.
    pub(crate) fn not_default(&self) -> impl Iterator<Item = &PathBuf> {
        self.file.iter().chain(&self.folder).chain(&self.added)
    }
}

impl Settings {
    /// Checks what was typed; `variable` looks up the environment.
    pub(crate) fn resolve(
        args: ServeArgs,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, StartError> {
        if let Some(flag) = args.workload_identity.given() {
            return Err(StartError::WorkloadIdentity { flag });
        }
        let upstream = UpstreamUrl::parse(&args.upstream_url)
            .map_err(|source| StartError::UpstreamUrl { url: args.upstream_url, source })?;
        let named = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let server_info = match args.server_info {
            None => None,
            Some(path) => Some(
                std::path::absolute(&path)
                    .map_err(|source| StartError::ServerInfo { path, source })?,
            ),
        };
        Ok(Self {
            port: args.port,
            server_info,
            http_shutdown: args.http_shutdown,
            upstream,
            authorities: Authorities {
                file: named("SSL_CERT_FILE"),
                folder: named("SSL_CERT_DIR"),
                added: args.upstream_ca,
            },
            connect_timeout: args.connect_timeout,
            header_timeout: args.header_timeout,
            drain_timeout: args.drain_timeout,
            max_body_bytes: args.max_body.as_u64(),
            max_concurrent: usize::from(args.max_concurrent),
        })
    }
}
