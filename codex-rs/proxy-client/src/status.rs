//! What a proxy says about itself: every fact that an operator may want, and none of a client's words but its model.
//!
//! Written by the proxy and read by everybody else, so both directions stand here. Fields that are not known are
//! passed over when read: a newer proxy may say more.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, Serializer};

/// The answer to `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The proxy's version.
    pub version: String,
    /// The process that serves.
    pub pid: u32,
    /// Random, made anew by each start; the same as in server-info.
    pub instance: String,
    /// Unix time in seconds.
    pub started_at: u64,
    /// How long it has been serving.
    pub uptime_seconds: u64,
    /// The port on 127.0.0.1.
    pub port: u16,
    /// What a client's `base_url` is to be.
    pub base_url: String,
    /// Whether it takes requests.
    pub state: State,
    /// The account that serves.
    pub uid: u32,
    /// The account that made the listening socket.
    pub listener_uid: u32,
    /// Who started it through sudo; `None` when nobody did.
    pub starter_uid: Option<u32>,
    /// Where requests go.
    pub upstream: Upstream,
    /// What is known of the key: not a byte of it.
    pub key: Key,
    /// What the kernel says about the process.
    pub hardening: Hardening,
    /// Whom it serves, and how much.
    pub policy: Policy,
    /// The files that it has to do with.
    pub files: Files,
    /// What happened since the start.
    pub counters: Counters,
    /// The exchanges that are on their way, the oldest first.
    pub in_flight: Vec<InFlight>,
}

/// Whether a proxy takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It does.
    Serving,
    /// It takes no more; those that are on their way are brought to their end.
    Draining,
}

/// Where requests go, and on which way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Upstream {
    /// The one URL that requests are forwarded to.
    pub url: String,
    /// The proxy on the way there.
    pub proxy: Option<Hop>,
    /// The authorities that are believed besides the system's, or in their place.
    pub authorities: Vec<Authority>,
    /// The field that carries the key, as in `Authorization: Bearer` or `api-key`.
    pub key_field: String,
}

/// A proxy on the way to the upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hop {
    /// Its URL, without a password.
    pub url: String,
    /// The flag or variable that names it.
    pub named_by: String,
}

/// A file of certificate authorities.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    /// The file.
    #[serde(serialize_with = "readable")]
    pub path: PathBuf,
    /// The flag or variable that names it.
    pub named_by: String,
}

/// What is known of the key. An older proxy tells of its memory alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// The memory that holds it: `memfd_secret`, `locked page` or `unlocked page`.
    pub page: String,
    /// Where it was read from, in words, as in `standard input`.
    #[serde(default)]
    pub source: String,
    /// When it was read, in Unix time in seconds.
    #[serde(default)]
    pub since: u64,
    /// How often it was replaced.
    #[serde(default)]
    pub rotations: u64,
    /// The account that offered it; `None` while it is the first.
    #[serde(default)]
    pub rotated_by_uid: Option<u32>,
    /// Keys that were replaced and that exchanges under way still use.
    #[serde(default)]
    pub retired: u64,
}

/// What the kernel says about the process that serves; `None` where it can't be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hardening {
    /// Whether its memory is open to its own account (PR_GET_DUMPABLE).
    pub dumpable: Option<bool>,
    /// How large a core file may be (RLIMIT_CORE).
    pub core_limit_bytes: Option<CoreLimit>,
    /// Who traces it; 0 when nobody does.
    pub tracer_pid: Option<u32>,
    /// Whether it can't gain privileges by exec.
    pub no_new_privs: Option<bool>,
    /// The mode of seccomp: 0 none, 1 strict, 2 filter.
    pub seccomp: Option<u32>,
    /// CapEff, in hexadecimal.
    pub effective_capabilities: Option<String>,
}

/// A limit of the kernel's, in bytes (getrlimit(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoreLimit {
    /// The one that counts.
    pub soft: u64,
    /// How far the process may raise it.
    pub hard: u64,
}

/// Whom a proxy serves, and how much.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// The accounts that may use it; `None` when any account may.
    pub users: Option<Vec<Account>>,
    /// Exchanges of one account at once.
    pub max_concurrent: usize,
    /// How large a request's body may be.
    pub max_body_bytes: u64,
    /// How long the upstream may take to accept a connection.
    pub connect_timeout_ms: u64,
    /// How long the upstream may take to answer.
    pub header_timeout_ms: u64,
    /// How long exchanges may go on when it is stopped.
    pub drain_timeout_ms: u64,
    /// Whether `GET /shutdown` stops it.
    pub http_shutdown: bool,
    /// The names of the fields that the operator sets.
    pub set_fields: Vec<String>,
    /// The names of the fields that the operator lets through.
    pub forwarded_fields: Vec<String>,
}

impl Policy {
    /// Whether it serves this account.
    pub fn serves(&self, uid: u32) -> bool {
        self.users.as_ref().is_none_or(|users| users.iter().any(|user| user.uid == uid))
    }
}

/// An account of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its number.
    pub uid: u32,
    /// Its name, if it has one.
    pub user: Option<String>,
}

/// The files that a proxy has to do with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    /// Where it wrote its server-info.
    #[serde(serialize_with = "all_readable")]
    pub server_info: Vec<PathBuf>,
    /// Where it answers this.
    #[serde(serialize_with = "readable")]
    pub control_socket: PathBuf,
    /// Where its records go.
    #[serde(default, serialize_with = "readable_if_any")]
    pub log_file: Option<PathBuf>,
    /// Where it keeps whole exchanges.
    #[serde(default, serialize_with = "readable_if_any")]
    pub dump_dir: Option<PathBuf>,
}

/// What happened since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Requests that have begun: those that are under way, and the five below.
    pub requests: u64,
    /// The answer went through whole.
    pub completed: u64,
    /// Not forwarded.
    pub refused: u64,
    /// The upstream gave no answer that could be relayed.
    pub upstream_failed: u64,
    /// The client left before the answer had ended.
    pub client_left: u64,
    /// The answer was cut before its end.
    pub cut: u64,
    /// Bytes of requests' bodies.
    pub bytes_in: u64,
    /// Bytes of answers' bodies.
    pub bytes_out: u64,
    /// Tokens that the upstream read.
    pub input_tokens: u64,
    /// Of these, the ones that it had read before.
    pub cached_tokens: u64,
    /// Tokens that the upstream wrote.
    pub output_tokens: u64,
    /// Of these, the ones that it thought with.
    pub reasoning_tokens: u64,
    /// Records that were lost because something took them too slowly.
    pub records_dropped: u64,
    /// Connections that are open now.
    pub connections: u64,
    /// Refusals by reason.
    pub refusals: BTreeMap<String, u64>,
    /// Failures of the upstream's by reason or by its own word.
    pub upstream_errors: BTreeMap<String, u64>,
}

/// An exchange that is on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFlight {
    /// What its record will be called.
    pub id: u64,
    /// The account of the client; `None` if it could not be told.
    pub uid: Option<u32>,
    /// The target's path, without its query.
    pub path: String,
    /// As far as it is known yet.
    pub model: Option<String>,
    /// When the request's head had been read (RFC 3339).
    pub started_at: String,
    /// How long ago that is.
    pub elapsed_ms: u64,
    /// The status that the client got; `None` when it has none yet.
    pub status: Option<u16>,
    /// Bytes of the request's body so far.
    pub bytes_in: u64,
    /// Bytes of the answer's body so far.
    pub bytes_out: u64,
}

/// JSON has no words for a path that is not UTF-8. One such must not take the whole status with it.
fn readable<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

fn readable_if_any<S: Serializer>(
    path: &Option<PathBuf>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    path.as_deref().map(Path::to_string_lossy).serialize(serializer)
}

fn all_readable<S: Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(|path| path.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    use serde_json::{Value, json};

    use super::*;
    use crate::pretended::status;

    #[test]
    fn what_is_written_is_read_back() {
        let status = Status {
            policy: Policy {
                users: Some(vec![Account { uid: 1_000, user: Some("alice".to_owned()) }]),
                ..status().policy
            },
            in_flight: vec![InFlight {
                id: 7,
                uid: None,
                path: "/v1/responses".to_owned(),
                model: None,
                started_at: "2027-01-15T08:00:00.000Z".to_owned(),
                elapsed_ms: 12,
                status: None,
                bytes_in: 1,
                bytes_out: 0,
            }],
            ..status()
        };
        let text = serde_json::to_string(&status).unwrap();
        assert_eq!(serde_json::from_str::<Status>(&text).unwrap(), status);
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["state"], "serving");
        assert_eq!(json["hardening"]["core_limit_bytes"], json!({"soft": 0, "hard": 4}));
        assert_eq!(json["starter_uid"], Value::Null);
        assert_eq!(json["in_flight"][0]["model"], Value::Null);
    }

    #[test]
    fn what_a_newer_proxy_adds_is_passed_over_and_what_it_does_not_know_is_none() {
        let mut json = serde_json::to_value(status()).unwrap();
        json["moon"] = json!({"phase": "full"});
        json["files"]["moon_file"] = json!("/moon");
        json["hardening"] = json!({"moon": true});
        let read: Status = serde_json::from_value(json).unwrap();
        assert_eq!(read, Status { hardening: Hardening::default(), ..status() });
    }

    #[test]
    fn a_proxy_that_can_not_rotate_its_key_tells_of_its_memory_alone() {
        let mut json = serde_json::to_value(status()).unwrap();
        json["key"] = json!({"page": "locked page"});
        let read: Status = serde_json::from_value(json).unwrap();
        assert_eq!(read.key, Key { page: "locked page".to_owned(), ..Key::default() });
    }

    #[test]
    fn a_path_that_is_not_utf_8_costs_itself_alone() {
        let odd = PathBuf::from(OsString::from_vec(b"/tmp/\xff".to_vec()));
        let files = Files {
            server_info: vec![odd.clone()],
            control_socket: odd.clone(),
            log_file: Some(odd.clone()),
            dump_dir: None,
        };
        let json = serde_json::to_value(files).unwrap();
        let readable = "/tmp/\u{fffd}";
        assert_eq!(
            json,
            json!({
                "server_info": [readable],
                "control_socket": readable,
                "log_file": readable,
                "dump_dir": null,
            })
        );
        let authority = Authority { path: odd, named_by: "--upstream-ca".to_owned() };
        assert_eq!(serde_json::to_value(authority).unwrap()["path"], readable);
    }
}
