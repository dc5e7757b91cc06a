//! What was typed: text only, checked for form. `settings` turns it into checked types.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, ValueEnum};

/// What stands below the flags in the help.
pub const AFTER_HELP: &str = "\
The key comes on standard input, or from --key-file; a terminal asks for it and does not show it:
  printenv OPENAI_API_KEY | ... --server-info /tmp/server-info.json

TIME is like 500ms, 10s or 2m; a bare number counts seconds. SIZE is like 512KiB or 64MiB.
Exit codes: 0 stopped as told (with --daemon: it serves), 1 failed, 2 wrong usage.";

/// The flags of the proxy, shared by `codex responses-api-proxy` and the stand-alone binary.
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// Listen on this port of 127.0.0.1 [default: one that is free]
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    pub port: u16,

    /// Write one JSON line with port and pid to this file once ready; removed when stopped
    #[arg(long, value_name = "FILE")]
    pub server_info: Option<PathBuf>,

    /// Read the key from this file, or from this systemd credential, instead of standard input
    #[arg(long, value_name = "PATH")]
    pub key_file: Option<PathBuf>,

    /// Go on where memory can't be locked: the key may then be written to swap
    #[arg(long)]
    pub allow_unlocked_key: bool,

    /// Let clients stop the proxy with GET /shutdown
    #[arg(long)]
    pub http_shutdown: bool,

    /// Write each exchange to a JSON file of its own in this folder, without the key
    #[arg(long, value_name = "DIR")]
    pub dump_dir: Option<PathBuf>,

    /// Append one JSON line for each request to this file; SIGHUP opens it anew
    #[arg(long, value_name = "FILE")]
    pub log_file: Option<PathBuf>,

    /// How the line for each request looks on standard error
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,

    /// Answer `codex proxy status`, `log`, `stop` and `rotate-key` on this Unix socket [default: in the run folder]
    #[arg(long, value_name = "PATH")]
    pub control_socket: Option<PathBuf>,

    /// Return once the proxy is ready, and leave it running on its own
    #[arg(long)]
    pub daemon: bool,

    /// This is the process that --daemon leaves running
    #[arg(long, hide = true, requires = "daemon")]
    pub(crate) daemon_serving: bool,

    /// Where requests go: https, or http to a loopback address
    #[arg(long, value_name = "URL", default_value = "https://api.openai.com/v1/responses")]
    pub upstream_url: String,

    /// Trust the certificate authorities in this PEM file besides the system's (repeatable)
    #[arg(long, value_name = "FILE")]
    pub upstream_ca: Vec<PathBuf>,

    /// Reach the upstream through this HTTP proxy (CONNECT) [default for users other than root: HTTPS_PROXY, NO_PROXY]
    #[arg(long, value_name = "URL")]
    pub upstream_proxy: Option<String>,

    /// Send the bare key in this field instead of Authorization: Bearer KEY, as in api-key
    #[arg(long, value_name = "NAME")]
    pub auth_header: Option<String>,

    /// Send this field with every request, in place of the client's (repeatable)
    #[arg(long, value_name = "NAME: VALUE")]
    pub set_header: Vec<String>,

    /// Let this field of the client's through that is otherwise kept back (repeatable)
    #[arg(long, value_name = "NAME")]
    pub forward_header: Vec<String>,

    /// Serve this account only (repeatable) [default: any account on this machine]
    #[arg(long, value_name = "NAME|UID")]
    pub allow_user: Vec<String>,

    /// How long name, TCP and TLS may take together to connect
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time_above_zero)]
    pub connect_timeout: Duration,

    /// How long nothing may move before the upstream begins its answer
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = time_above_zero)]
    pub header_timeout: Duration,

    /// How long running answers may go on after the proxy was told to stop
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    pub drain_timeout: Duration,

    /// The largest request body
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = size)]
    pub max_body: ByteSize,

    /// How many requests of one account may be under way at once
    #[arg(long, value_name = "NUMBER", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..))]
    pub max_concurrent: u16,

    #[command(flatten)]
    pub(crate) workload_identity: WorkloadIdentity,
}

/// What a line for each exchange looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Pretty,
    /// As in the log file.
    Json,
}

impl From<LogFormat> for codex_request_log::Format {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Pretty => Self::Pretty,
            LogFormat::Json => Self::Json,
        }
    }
}

/// Flags of the public proxy that are known here only to be refused in one sentence.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct WorkloadIdentity {
    #[arg(long, hide = true, num_args = 0..=1)]
    github_oidc: Option<Option<String>>,
    #[arg(long, hide = true, num_args = 0..=1)]
    oidc_audience: Option<Option<String>>,
    #[arg(long, hide = true, num_args = 0..=1)]
    identity_provider_id: Option<Option<String>>,
    #[arg(long, hide = true, num_args = 0..=1)]
    service_account_id: Option<Option<String>>,
    #[arg(long, hide = true, num_args = 0..=1)]
    github_oidc_request_url: Option<Option<String>>,
}

impl WorkloadIdentity {
    /// The first of its flags that was given.
    pub(crate) fn given(&self) -> Option<&'static str> {
        [
            (&self.github_oidc, "--github-oidc"),
            (&self.oidc_audience, "--oidc-audience"),
            (&self.identity_provider_id, "--identity-provider-id"),
            (&self.service_account_id, "--service-account-id"),
            (&self.github_oidc_request_url, "--github-oidc-request-url"),
        ]
        .into_iter()
        .find_map(|(value, flag)| value.as_ref().map(|_| flag))
    }
}

/// No time is longer: it could not be added to the clock.
const MAX_TIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A time like `10s`, `1m 30s` or `500ms`; a bare number counts seconds.
fn time(text: &str) -> Result<Duration, String> {
    let time = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => humantime::parse_duration(text)
            .map_err(|error| format!("{error}; write it like 10s, 500ms or 2m"))?,
    };
    if time > MAX_TIME { Err("must not be more than 365 days".to_owned()) } else { Ok(time) }
}

/// A size like `512KiB` or `64MiB`; a bare number counts bytes.
fn size(text: &str) -> Result<ByteSize, String> {
    text.parse().map_err(|_| "write it like 512KiB, 64MiB or a number of bytes".to_owned())
}

fn time_above_zero(text: &str) -> Result<Duration, String> {
    match time(text)? {
        Duration::ZERO => Err("must be more than zero".to_owned()),
        time => Ok(time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit_or_counts_seconds() {
        for (text, expected) in [
            ("10", Some(Duration::from_secs(10))),
            ("10s", Some(Duration::from_secs(10))),
            ("500ms", Some(Duration::from_millis(500))),
            ("1m 30s", Some(Duration::from_secs(90))),
            ("0", Some(Duration::ZERO)),
            ("365d", Some(MAX_TIME)),
            ("366d", None),
            ("18446744073709551615", None),
            ("ten", None),
            ("-1", None),
            ("", None),
        ] {
            assert_eq!(time(text).ok(), expected, "{text:?}");
        }
        assert!(time_above_zero("0s").is_err());
        assert!(size("64MiB").is_ok() && size("100").is_ok() && size("much").is_err());
    }
}
