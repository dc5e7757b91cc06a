//! From what was typed to what is meant: checked once, here.

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
    /// Files of certificate authorities that are trusted besides the system's.
    pub(crate) authorities: Vec<PathBuf>,
    pub(crate) connect_timeout: Duration,
    pub(crate) header_timeout: Duration,
    pub(crate) drain_timeout: Duration,
    pub(crate) max_body_bytes: u64,
    pub(crate) max_concurrent: usize,
}

impl Settings {
    /// Checks what was typed.
    pub(crate) fn resolve(args: ServeArgs) -> Result<Self, StartError> {
        if let Some(flag) = args.workload_identity.given() {
            return Err(StartError::WorkloadIdentity { flag });
        }
        let upstream = UpstreamUrl::parse(&args.upstream_url)
            .map_err(|source| StartError::UpstreamUrl { url: shown(&args.upstream_url), source })?;
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
            authorities: args.upstream_ca,
            connect_timeout: args.connect_timeout,
            header_timeout: args.header_timeout,
            drain_timeout: args.drain_timeout,
            max_body_bytes: args.max_body.as_u64(),
            max_concurrent: usize::from(args.max_concurrent),
        })
    }
}

/// A URL that can't be used, as it may be printed: without a password that is in it.
fn shown(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((_, rest)) => format!("…@{rest}"),
        None => url.to_owned(),
    }
}
