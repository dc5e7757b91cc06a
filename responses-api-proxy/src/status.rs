//! Every fact about the running proxy, for who asks on its control socket.

use std::sync::atomic::Ordering;

use codex_process_hardening::Facts as KernelFacts;
use codex_proxy_client::status::{
    Account, Authority, CoreLimit, Counters, Files, Hardening, Hop, Key, Policy, State, Status,
    Upstream,
};
use nix::unistd::{Uid, User};

use crate::control::{Access, Control, Standing};
use crate::field_rules::KeyField;
use crate::published::{Published, unix_seconds};
use crate::settings::Settings;
use crate::users::Users;

/// What does not change while the proxy runs. `now` fills in the rest.
pub(crate) fn standing_facts(
    settings: &Settings,
    access: &Access,
    published: &Published,
) -> Status {
    let info = &published.info;
    let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let fields = &settings.fields;
    Status {
        version: info.version.clone(),
        pid: info.pid,
        instance: info.instance.clone(),
        started_at: info.started_at,
        uptime_seconds: 0,
        port: info.port,
        base_url: info.base_url.clone(),
        state: State::Serving,
        uid: info.uid,
        listener_uid: info.listener_uid,
        starter_uid: access.starter.map(Uid::as_raw),
        upstream: Upstream {
            url: settings.upstream.to_string(),
            proxy: settings
                .upstream_proxy
                .as_ref()
                .map(|proxy| Hop { url: proxy.to_string(), named_by: proxy.named_by().to_owned() }),
            authorities: settings
                .authorities
                .iter()
                .map(|file| Authority {
                    path: file.path.clone(),
                    named_by: file.named_by.to_owned(),
                })
                .collect(),
            key_field: match &fields.key {
                KeyField::Bearer => "Authorization: Bearer".to_owned(),
                KeyField::Bare(name) => name.as_str().to_owned(),
            },
        },
        key: Key::default(),
        hardening: Hardening::default(),
        policy: Policy {
            users: accounts(&settings.users),
            max_concurrent: settings.max_concurrent,
            max_body_bytes: settings.max_body_bytes,
            connect_timeout_ms: millis(settings.connect_timeout),
            header_timeout_ms: millis(settings.header_timeout),
            drain_timeout_ms: millis(settings.drain_timeout),
            http_shutdown: settings.http_shutdown,
            set_fields: fields.set.keys().map(|name| name.as_str().to_owned()).collect(),
            forwarded_fields: fields
                .forwarded
                .iter()
                .map(|name| name.as_str().to_owned())
                .collect(),
        },
        files: Files {
            server_info: published.files(),
            control_socket: info.control_socket.clone().unwrap_or_default(),
            log_file: settings.log_file.clone(),
            dump_dir: settings.dump_dir.clone(),
        },
        counters: Counters::default(),
        in_flight: Vec::new(),
    }
}

fn accounts(users: &Users) -> Option<Vec<Account>> {
    let Users::Only(accounts) = users else { return None };
    let account = |uid: Uid| {
        let user = User::from_uid(uid).ok().flatten();
        Account { uid: uid.as_raw(), user: user.map(|user| user.name) }
    };
    Some(accounts.iter().map(|named| account(named.uid)).collect())
}

/// The facts as they are now, as far as this caller may see them.
pub(crate) fn now(control: &Control, standing: Standing) -> Status {
    let mut status = control.standing_facts.clone();
    status.uptime_seconds = unix_seconds().saturating_sub(status.started_at);
    if control.proxy.stop.is_told() {
        status.state = State::Draining;
    }
    status.key = control.proxy.custody.facts();
    status.hardening = hardening();
    status.counters = counters(control);
    status.in_flight = control.proxy.records.under_way.shown(standing.sees_only());
    status
}

/// As the kernel reports it.
fn hardening() -> Hardening {
    let facts = KernelFacts::read();
    Hardening {
        dumpable: facts.dumpable,
        core_limit_bytes: facts.core_limit_bytes.map(|(soft, hard)| CoreLimit { soft, hard }),
        tracer_pid: facts.tracer_pid,
        no_new_privs: facts.no_new_privs,
        seccomp: facts.seccomp,
        effective_capabilities: facts.effective_capabilities,
    }
}

fn counters(control: &Control) -> Counters {
    let records = &control.proxy.records;
    Counters {
        requests: control.proxy.exchanges.load(Ordering::Relaxed),
        records_dropped: records.log.dropped(),
        connections: records.metrics.open_connections(),
        ..records.metrics.counters()
    }
}

/// The same figures for Prometheus.
pub(crate) fn metrics(control: &Control) -> String {
    let records = &control.proxy.records;
    records.metrics.text(*records.under_way.count().borrow(), records.log.dropped())
}
