//! What a proxy says of itself, as a sheet of facts: all of them, for people.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;

use codex_proxy_client::Status;
use codex_proxy_client::status::State;

use super::figures::{exact_bytes, exact_millis, moment_of, seconds};
use super::host::{Host, account};
use super::in_flight;
use super::key_text;
use super::sheet::Sheet;

pub(crate) fn write(status: &Status, host: Host, sheet: &mut Sheet) {
    let (base_url, pid) = (&status.base_url, status.pid);
    sheet.paragraph(&format!("{base_url} pid {pid} {}", state(status.state)));
    process(status, host, sheet);
    upstream(status, sheet);
    let now = status.started_at.saturating_add(status.uptime_seconds);
    key_text::write(&status.key, now, host, sheet);
    hardening(status, host, sheet);
    policy(status, sheet);
    files(status, sheet);
    counters(status, sheet);
    in_flight::write(&status.in_flight, host, sheet);
}

pub(crate) fn state(state: State) -> &'static str {
    match state {
        State::Serving => "is serving",
        State::Draining => "is draining: it takes no more requests",
    }
}

fn process(status: &Status, host: Host, sheet: &mut Sheet) {
    sheet.heading("Process");
    let since = moment_of(status.started_at);
    sheet.fact("since", &format!("{since}, for {}", seconds(status.uptime_seconds)));
    sheet.fact("port", &status.port.to_string());
    let mut account = host.account(status.uid);
    if let Some(starter) = status.starter_uid {
        account.push_str(&format!(", started by {} with sudo", host.account(starter)));
    }
    sheet.fact("account", &account);
    sheet.fact("socket made by", &host.account(status.listener_uid));
    sheet.fact("version", &status.version);
    sheet.fact("instance", &status.instance);
}

fn upstream(status: &Status, sheet: &mut Sheet) {
    let upstream = &status.upstream;
    sheet.heading("Upstream");
    sheet.fact("url", &upstream.url);
    sheet.fact("key", &format!("sent as {}", upstream.key_field));
    let proxy = upstream.proxy.as_ref();
    let proxy = proxy.map(|hop| format!("{} ({})", hop.url, hop.named_by));
    sheet.fact("proxy", &proxy.unwrap_or_else(|| "none".to_owned()));
    let mut authorities = vec!["the system's".to_owned()];
    let added = upstream.authorities.iter();
    authorities.extend(added.map(|file| format!("{} ({})", file.path.display(), file.named_by)));
    sheet.fact("authorities", &authorities.join(", "));
}

fn hardening(status: &Status, host: Host, sheet: &mut Sheet) {
    let seen = &status.hardening;
    sheet.heading("Hardening, as the kernel says");
    let memory = seen.dumpable.map(|dumpable| match dumpable {
        true => "OPEN to its own account (dumpable)",
        false => "closed to its own account (not dumpable)",
    });
    sheet.fact("memory", &known(memory));
    let core = seen.core_limit_bytes.map(|limit| match (limit.soft, limit.hard) {
        (0, 0) => "none (0/0)".to_owned(),
        (soft, hard) => format!("ALLOWED up to {soft} of {hard} B"),
    });
    sheet.fact("core files", &known(core));
    let tracer = seen.tracer_pid.map(|pid| match pid {
        0 => "nobody".to_owned(),
        _ => format!("pid {pid}"),
    });
    sheet.fact("traced by", &known(tracer));
    let gains = seen.no_new_privs.map(|set| match set {
        true => "it can gain none (no_new_privs)",
        false => "no_new_privs is not set",
    });
    sheet.fact("privileges", &known(gains));
    let seccomp = seen.seccomp.map(|mode| match mode {
        0 => "none".to_owned(),
        1 => "strict".to_owned(),
        2 => "filter".to_owned(),
        _ => format!("mode {mode}"),
    });
    sheet.fact("seccomp", &known(seccomp));
    let capabilities = seen.effective_capabilities.as_deref().map(|set| host.capabilities(set));
    sheet.fact("capabilities", &known(capabilities));
}

fn known(fact: Option<impl Display>) -> String {
    fact.map_or_else(|| "not known here".to_owned(), |fact| fact.to_string())
}

fn policy(status: &Status, sheet: &mut Sheet) {
    let policy = &status.policy;
    sheet.heading("Policy");
    let users = match &policy.users {
        None => "any account on this machine".to_owned(),
        Some(users) => listed(users.iter().map(|user| account(user.uid, user.user.as_deref()))),
    };
    sheet.fact("serves", &users);
    sheet.fact("at once", &format!("{} exchanges for each account", policy.max_concurrent));
    sheet.fact("largest body", &exact_bytes(policy.max_body_bytes));
    let times = [policy.connect_timeout_ms, policy.header_timeout_ms, policy.drain_timeout_ms];
    let [connect, header, drain] = times.map(exact_millis);
    sheet.fact("timeouts", &format!("connect {connect}, answer's head {header}, drain {drain}"));
    let shutdown = if policy.http_shutdown { "stops it" } else { "is refused" };
    sheet.fact("GET /shutdown", shutdown);
    sheet.fact("set fields", &listed(policy.set_fields.iter()));
    sheet.fact("forwarded fields", &listed(policy.forwarded_fields.iter()));
}

fn listed(words: impl Iterator<Item = impl Display>) -> String {
    let words: Vec<String> = words.map(|word| word.to_string()).collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

fn files(status: &Status, sheet: &mut Sheet) {
    let files = &status.files;
    let path = |path: Option<&PathBuf>| listed(path.into_iter().map(|path| path.display()));
    sheet.heading("Files");
    sheet.fact("server-info", &listed(files.server_info.iter().map(|path| path.display())));
    sheet.fact("control socket", &files.control_socket.display().to_string());
    sheet.fact("request log", &path(files.log_file.as_ref()));
    sheet.fact("dumps", &path(files.dump_dir.as_ref()));
}

fn counters(status: &Status, sheet: &mut Sheet) {
    let counted = &status.counters;
    sheet.heading("Since the start");
    let ends = [
        ("completed", counted.completed),
        ("refused", counted.refused),
        ("upstream failed", counted.upstream_failed),
        ("client left", counted.client_left),
        ("cut", counted.cut),
    ];
    let ended = ends.iter().fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
    let under_way = counted.requests.saturating_sub(ended);
    let ends: Vec<String> = ends.iter().map(|(how, count)| format!("{count} {how}")).collect();
    let ends = ends.join(", ");
    sheet.fact("requests", &format!("{}: {ends}, {under_way} in flight", counted.requests));
    let tokens = format!(
        "{} in (of these {} cached), {} out (of these {} reasoning)",
        counted.input_tokens,
        counted.cached_tokens,
        counted.output_tokens,
        counted.reasoning_tokens
    );
    sheet.fact("tokens", &tokens);
    let (up, down) = (exact_bytes(counted.bytes_in), exact_bytes(counted.bytes_out));
    sheet.fact("bodies", &format!("{up} up, {down} down"));
    sheet.fact("refusals", &by_word(&counted.refusals));
    sheet.fact("upstream errors", &by_word(&counted.upstream_errors));
    sheet.fact("records lost", &counted.records_dropped.to_string());
    sheet.fact("connections now", &counted.connections.to_string());
}

fn by_word(counts: &BTreeMap<String, u64>) -> String {
    listed(counts.iter().map(|(word, count)| format!("{count} {word}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::host::testing::HOST;
    use super::*;

    fn sample() -> Status {
        serde_json::from_value(json!({
            "version": "0.1.0", "pid": 4711, "instance": "0123456789abcdef",
            "started_at": 1_800_000_000, "uptime_seconds": 7_380,
            "port": 4321, "base_url": "http://127.0.0.1:4321/v1", "state": "serving",
            "uid": 0, "listener_uid": 0, "starter_uid": 1000,
            "upstream": {
                "url": "https://api.openai.com/v1/responses",
                "proxy": { "url": "http://proxy.corp:3128", "named_by": "--upstream-proxy" },
                "authorities": [{ "path": "/etc/corp.pem", "named_by": "--upstream-ca" }],
                "key_field": "Authorization: Bearer"
            },
            "key": {
                "page": "memfd_secret", "source": "rotate-key", "since": 1_800_007_200,
                "rotations": 2, "rotated_by_uid": 1000, "retired": 1
            },
            "hardening": {
                "dumpable": false, "core_limit_bytes": { "soft": 0, "hard": 0 }, "tracer_pid": 0,
                "no_new_privs": false, "seccomp": 0, "effective_capabilities": "000001ffffffffff"
            },
            "policy": {
                "users": [{ "uid": 1000, "user": "alice" }, { "uid": 1001, "user": null }],
                "max_concurrent": 256, "max_body_bytes": 67_108_864, "connect_timeout_ms": 10_000,
                "header_timeout_ms": 600_000, "drain_timeout_ms": 1_500, "http_shutdown": false,
                "set_fields": ["openai-project"], "forwarded_fields": []
            },
            "files": {
                "server_info": ["/run/codex-responses-api-proxy/4321.json", "/tmp/server-info.json"],
                "control_socket": "/run/codex-responses-api-proxy/4321.sock",
                "log_file": "/var/log/codex-proxy.jsonl", "dump_dir": null
            },
            "counters": {
                "requests": 13, "completed": 8, "refused": 2, "upstream_failed": 1,
                "client_left": 1, "cut": 0, "bytes_in": 4_096, "bytes_out": 123_456,
                "input_tokens": 12_000, "cached_tokens": 1_024, "output_tokens": 420,
                "reasoning_tokens": 70, "records_dropped": 0, "connections": 3,
                "refusals": { "foreign_host": 1, "route_not_allowed": 1 },
                "upstream_errors": {}
            },
            "in_flight": [{
                "id": 13, "uid": 1000, "path": "/v1/responses", "model": "gpt-5",
                "started_at": "2027-01-15T10:02:59.000Z", "elapsed_ms": 1_200, "status": 200,
                "bytes_in": 400, "bytes_out": 2_048
            }]
        }))
        .unwrap()
    }

    fn shown(status: &Status, width: Option<usize>) -> Vec<String> {
        let mut sheet = Sheet::new(width);
        write(status, HOST, &mut sheet);
        sheet.lines
    }

    const AT_80: &str = "\
http://127.0.0.1:4321/v1 pid 4711 is serving

Process
  since             2027-01-15T08:00:00Z, for 2 h 03 min
  port              4321
  account           root (uid 0), started by alice (uid 1000) with sudo
  socket made by    root (uid 0)
  version           0.1.0
  instance          0123456789abcdef

Upstream
  url               https://api.openai.com/v1/responses
  key               sent as Authorization: Bearer
  proxy             http://proxy.corp:3128 (--upstream-proxy)
  authorities       the system's, /etc/corp.pem (--upstream-ca)

Key
  memory            memfd_secret: no other process can read it, not even root's
  from              rotate-key, 3 min 00 s ago (2027-01-15T10:00:00Z)
  replaced          2 times, last by alice (uid 1000)
  older keys        1 in use, by exchanges that began with it

Hardening, as the kernel says
  memory            closed to its own account (not dumpable)
  core files        none (0/0)
  traced by         nobody
  privileges        no_new_privs is not set
  seccomp           none
  capabilities      all (000001ffffffffff)

Policy
  serves            alice (uid 1000), uid 1001
  at once           256 exchanges for each account
  largest body      64 MiB
  timeouts          connect 10 s, answer's head 10 min, drain 1 s 500 ms
  GET /shutdown     is refused
  set fields        openai-project
  forwarded fields  none

Files
  server-info       /run/codex-responses-api-proxy/4321.json,
                    /tmp/server-info.json
  control socket    /run/codex-responses-api-proxy/4321.sock
  request log       /var/log/codex-proxy.jsonl
  dumps             none

Since the start
  requests          13: 8 completed, 2 refused, 1 upstream failed, 1 client
                    left, 0 cut, 1 in flight
  tokens            12000 in (of these 1024 cached), 420 out (of these 70
                    reasoning)
  bodies            4 KiB up, 120.6 KiB (123456 B) down
  refusals          1 foreign_host, 1 route_not_allowed
  upstream errors   none
  records lost      0
  connections now   3

In flight: 1
  #ID  WHO               STATUS  MODEL    FOR     UP   DOWN  PATH
   13  alice (uid 1000)     200  gpt-5  1.2 s  400 B  2 KiB  /v1/responses";

    #[test]
    fn all_that_a_proxy_says_stands_there() {
        assert_eq!(shown(&sample(), Some(80)).join("\n"), AT_80);
    }

    #[test]
    fn nothing_is_lost_and_no_line_too_wide_however_narrow_it_is() {
        let without_spaces = |text: &str| text.replace(char::is_whitespace, "");
        let facts = |lines: &[String]| {
            let until_table = lines.iter().take_while(|line| !line.starts_with("In flight"));
            without_spaces(&until_table.cloned().collect::<String>())
        };
        let all = facts(&shown(&sample(), None));
        for width in [1, 10, 24, 40, 44, 80, 200] {
            let lines = shown(&sample(), Some(width));
            if width >= 24 {
                assert_eq!(facts(&lines), all, "{width}");
                assert!(lines.iter().all(|line| line.chars().count() <= width), "{lines:#?}");
            }
        }
    }

    #[test]
    fn what_is_wrong_or_not_known_catches_the_eye() {
        let mut status = sample();
        status.hardening.dumpable = Some(true);
        status.hardening.tracer_pid = Some(99);
        status.hardening.seccomp = None;
        status.state = State::Draining;
        status.policy.users = None;
        status.in_flight.clear();
        let shown = shown(&status, None).join("\n");
        for part in [
            "/v1 pid 4711 is draining: it takes no more requests\n",
            "memory            OPEN to its own account",
            "traced by         pid 99",
            "seccomp           not known here",
            "serves            any account on this machine",
            "\nIn flight: none",
        ] {
            assert!(shown.contains(part), "{part:?}: {shown}");
        }
    }

    #[test]
    fn no_word_of_a_client_or_a_file_acts_on_the_terminal() {
        let mut status = sample();
        status.in_flight[0].model = Some("a\u{1b}[2J".to_owned());
        status.in_flight[0].path = "/\r\n".to_owned();
        status.upstream.url = "https://x\u{9b}".to_owned();
        for line in shown(&status, Some(80)) {
            assert!(!line.contains(char::is_control), "{line:?}");
        }
    }
}
