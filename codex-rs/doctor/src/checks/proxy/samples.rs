//! For the tests of checks: what may be found in the place of a proxy.

use codex_proxy_client::{Found, RunningProxy, ServerInfo, Status};
use serde_json::json;

/// The process of every sample.
pub(crate) const PID: u32 = 17;

pub(crate) fn info(port: u16) -> ServerInfo {
    serde_json::from_value(json!({
        "port": port, "pid": PID, "base_url": format!("http://127.0.0.1:{port}/v1"),
        "control_socket": "/run/codex-responses-api-proxy/it.sock", "uid": 0, "listener_uid": 0,
        "instance": "0123456789abcdef", "started_at": 1_800_000_000, "version": "0.1.0"
    }))
    .unwrap()
}

/// Of root's proxy, which serves uid 1000 and is protected as it should be.
pub(crate) fn status(port: u16) -> Status {
    serde_json::from_value(json!({
        "version": "0.1.0", "pid": PID, "instance": "0123456789abcdef",
        "started_at": 1_800_000_000, "uptime_seconds": 60,
        "port": port, "base_url": format!("http://127.0.0.1:{port}/v1"), "state": "serving",
        "uid": 0, "listener_uid": 0, "starter_uid": null,
        "upstream": {
            "url": "https://api.openai.com/v1/responses", "proxy": null, "authorities": [],
            "key_field": "Authorization: Bearer"
        },
        "key": { "page": "memfd_secret" },
        "hardening": {
            "dumpable": false, "core_limit_bytes": { "soft": 0, "hard": 0 }, "tracer_pid": 0,
            "no_new_privs": false, "seccomp": 0, "effective_capabilities": "0000000000000000"
        },
        "policy": {
            "users": [{ "uid": 1000, "user": "alice" }], "max_concurrent": 256,
            "max_body_bytes": 1, "connect_timeout_ms": 1, "header_timeout_ms": 1,
            "drain_timeout_ms": 1, "http_shutdown": false, "set_fields": [],
            "forwarded_fields": []
        },
        "files": { "server_info": [], "control_socket": "/run/codex-responses-api-proxy/it.sock" },
        "counters": {
            "requests": 0, "completed": 0, "refused": 0, "upstream_failed": 0, "client_left": 0,
            "cut": 0, "bytes_in": 0, "bytes_out": 0, "input_tokens": 0, "cached_tokens": 0,
            "output_tokens": 0, "reasoning_tokens": 0, "records_dropped": 0, "connections": 0,
            "refusals": {}, "upstream_errors": {}
        },
        "in_flight": []
    }))
    .unwrap()
}

/// A proxy that runs on this port, and says what was changed so.
pub(crate) fn running(port: u16, change: impl FnOnce(&mut Status)) -> Found {
    let mut status = status(port);
    change(&mut status);
    Found::Running(RunningProxy { file: "/run/it.json".into(), info: info(port), status })
}

/// One that does not tell this account about itself, because it may not know or because it hangs.
pub(crate) fn silent(port: u16, not_allowed: bool) -> Found {
    let because = if not_allowed { "it tells this account nothing: no" } else { "it is silent" };
    let because = because.to_owned();
    Found::Silent { file: "/run/it.json".into(), info: info(port), because, not_allowed }
}
