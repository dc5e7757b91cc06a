//! From what was typed to what is meant: checked once, here.

use std::path::PathBuf;
use std::time::Duration;

use codex_request_log::{Format, LogFileError};

use crate::control::ControlSocketError;
use crate::dump::DumpFolderError;
use crate::environment::Environment;
use crate::field_rules::FieldRules;
use crate::key_source::KeySource;
use crate::upstream_proxy::UpstreamProxy;
use crate::upstream_url::UpstreamUrl;
use crate::users::Users;
use crate::{ServeArgs, StartError};

/// Everything that the operator decides. Paths that are used later are absolute.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// 0 for any free port.
    pub(crate) port: u16,
    pub(crate) server_info: Option<PathBuf>,
    pub(crate) key_source: KeySource,
    /// Whether the key may stand in memory that can be written to swap.
    pub(crate) allow_unlocked_key: bool,
    pub(crate) http_shutdown: bool,
    /// Where each exchange is to be written.
    pub(crate) dump_dir: Option<PathBuf>,
    /// Where each exchange leaves a line.
    pub(crate) log_file: Option<PathBuf>,
    pub(crate) log_format: Format,
    /// Where the operator wants it; else it stands in the run folder.
    pub(crate) control_socket: Option<PathBuf>,
    pub(crate) upstream: UpstreamUrl,
    /// The hop before the upstream, if there is one.
    pub(crate) upstream_proxy: Option<UpstreamProxy>,
    /// Whom to trust besides the system's authorities.
    pub(crate) authorities: Vec<Authorities>,
    pub(crate) fields: FieldRules,
    pub(crate) users: Users,
    pub(crate) connect_timeout: Duration,
    pub(crate) header_timeout: Duration,
    pub(crate) drain_timeout: Duration,
    pub(crate) max_body_bytes: u64,
    /// For each account.
    pub(crate) max_concurrent: usize,
}

/// A file of certificate authorities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authorities {
    pub(crate) path: PathBuf,
    /// The flag or variable that named it.
    pub(crate) named_by: &'static str,
}

/// The flag that names authorities. Who uses it means each certificate in the file.
pub(crate) const UPSTREAM_CA: &str = "--upstream-ca";

impl Settings {
    /// Checks what was typed and what the environment says.
    pub(crate) fn resolve(args: ServeArgs, environment: &Environment) -> Result<Self, StartError> {
        if let Some(flag) = args.workload_identity.given() {
            return Err(StartError::WorkloadIdentity { flag });
        }
        let upstream = UpstreamUrl::parse(&args.upstream_url)
            .map_err(|source| StartError::UpstreamUrl { url: shown(&args.upstream_url), source })?;
        let upstream_proxy =
            UpstreamProxy::choose(args.upstream_proxy.as_deref(), environment, &upstream)
                .map_err(|(named_by, source)| StartError::UpstreamProxy { named_by, source })?;
        let fields = FieldRules::resolve(
            args.auth_header.as_deref(),
            &args.set_header,
            &args.forward_header,
        )
        .map_err(|(flag, name, source)| StartError::Field { flag, name, source })?;
        let from_flag = args.upstream_ca.into_iter().map(|path| (UPSTREAM_CA, path));
        let authorities = from_flag
            .chain(environment.authorities.iter().cloned())
            .map(|(named_by, path)| Authorities { path, named_by })
            .collect();
        let key_source = KeySource::resolve(args.key_file, environment.credentials.as_deref())?;
        let dump_dir = absolute(args.dump_dir, |path, source| {
            StartError::from(DumpFolderError::Open { path, source })
        })?;
        let server_info =
            absolute(args.server_info, |path, source| StartError::ServerInfo { path, source })?;
        let log_file = absolute(args.log_file, |path, source| {
            StartError::from(LogFileError::Unopenable { path, source })
        })?;
        let control_socket = absolute(args.control_socket, |path, source| {
            StartError::from(ControlSocketError::Make { path, source })
        })?;
        Ok(Self {
            port: args.port,
            server_info,
            key_source,
            allow_unlocked_key: args.allow_unlocked_key,
            http_shutdown: args.http_shutdown,
            dump_dir,
            log_file,
            log_format: args.log_format.into(),
            control_socket,
            upstream,
            upstream_proxy,
            authorities,
            fields,
            users: Users::resolve(&args.allow_user)?,
            connect_timeout: args.connect_timeout,
            header_timeout: args.header_timeout,
            drain_timeout: args.drain_timeout,
            max_body_bytes: args.max_body.as_u64(),
            max_concurrent: usize::from(args.max_concurrent),
        })
    }
}

/// A path that will still lead to the same place when we are elsewhere.
fn absolute(
    path: Option<PathBuf>,
    error: impl FnOnce(PathBuf, std::io::Error) -> StartError,
) -> Result<Option<PathBuf>, StartError> {
    let Some(path) = path else { return Ok(None) };
    std::path::absolute(&path).map(Some).map_err(|source| error(path, source))
}

/// A URL that can't be used, as it may be printed: without a password that is in it.
fn shown(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((_, rest)) => format!("…@{rest}"),
        None => url.to_owned(),
    }
}
