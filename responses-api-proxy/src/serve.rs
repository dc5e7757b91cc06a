//! The life of the process: bind → read the key → write server-info → serve → drain.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use codex_key_custody::ApiKey;
use codex_peer_identity::Peers;
use codex_process_hardening::Hardened;
use codex_proxy_client::ServerInfo;
use codex_request_log::Writer;
use nix::unistd::geteuid;
use tokio::net::TcpListener;
use tokio::runtime;

use crate::admission::Policy;
use crate::dump::{self, DumpFolder};
use crate::environment::Environment;
use crate::exchange::Proxy;
use crate::forwarder::Forwarder;
use crate::ledger::Records;
use crate::server_info_file::ServerInfoFile;
use crate::settings::{Authorities, Settings};
use crate::shares::Shares;
use crate::stop::Stop;
use crate::users::Users;
use crate::{ServeArgs, StartError, listener, report, server, tls};

/// How long the log's last lines may take when nobody reads them.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Runs the proxy until it is stopped by SIGTERM, SIGINT, SIGHUP or `GET /shutdown`, then until its
/// connections have ended or been ended. Blocks meanwhile; it brings its own runtime.
///
/// `hardened` is the evidence that this process may hold a key.
///
/// # Errors
///
/// The proxy starts whole or not at all: an error leaves no port, no file and no thread behind.
pub fn serve(args: ServeArgs, hardened: &Hardened) -> Result<(), StartError> {
    let environment = Environment::of(hardened);
    report::environment(hardened, &environment);
    let settings = Settings::resolve(args, &environment)?;
    report::authorities(&settings.authorities);
    let peers = peers(&settings.users)?;
    let tls = tls::client_config(&settings.authorities, settings.upstream.is_https())?;
    let dump_folder = settings.dump_dir.as_deref().map(DumpFolder::open).transpose()?;
    let listener = listener::listen(settings.port)?;
    let key = ApiKey::read(std::io::stdin().as_fd(), "API key (it will not be shown): ")?;
    let forwarder = Forwarder::new(&settings, key, tls)?;

    let (log, writer) =
        Writer::start(std::io::stderr()).map_err(|error| lacking("the log", error))?;
    let (dumper, dumps) = match dump_folder {
        None => (None, None),
        Some(folder) => {
            let secrets = forwarder.secrets();
            let (dumper, dumps) = dump::start(folder, secrets, report::line)
                .map_err(|error| lacking("the dumps", error))?;
            (Some(dumper), Some(dumps))
        }
    };
    // Said here, so that no variable decides about it.
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .map_err(|error| lacking("the runtime", error))?;
    let records = Records { log, dumper };
    let served =
        runtime.block_on(run(&settings, &environment, peers, listener, forwarder, records));
    // A name that is still being resolved must not hold the end up.
    runtime.shutdown_background();
    writer.finish(LAST_WORDS);
    if let Some(dumps) = dumps {
        dumps.finish(LAST_WORDS);
    }
    served
}

/// From the first signal that is obeyed to the last connection's end.
async fn run(
    settings: &Settings,
    environment: &Environment,
    peers: Option<Peers>,
    listener: std::net::TcpListener,
    forwarder: Forwarder,
    records: Records,
) -> Result<(), StartError> {
    let stop = Stop::default();
    stop.obey_signals()?;
    let listener =
        TcpListener::from_std(listener).map_err(|error| lacking("the listener", error))?;
    let port = listener.local_addr().map_err(|error| lacking("the listener", error))?.port();
    let server_info = match &settings.server_info {
        None => None,
        Some(path) => Some(
            ServerInfoFile::publish(path.clone(), &server_info(port)?)
                .map_err(|source| StartError::ServerInfo { path: path.clone(), source })?,
        ),
    };
    report::line(&forwarder.key().mask(&ready(port, settings, environment)));
    let proxy = Proxy {
        policy: Policy {
            port,
            http_shutdown: settings.http_shutdown,
            users: settings.users.clone(),
            max_body_bytes: settings.max_body_bytes,
        },
        forwarder,
        peers,
        slots: Shares::new(settings.max_concurrent),
        max_concurrent: settings.max_concurrent,
        open_files: usize::try_from(listener::raise_open_files()).unwrap_or(usize::MAX),
        records,
        stop,
        exchanges: AtomicU64::new(0),
    };
    // Nobody is to find a proxy that takes no more requests.
    let close = move || drop(server_info);
    server::run(listener, Arc::new(proxy), settings.drain_timeout, close).await;
    Ok(())
}

/// The way to tell accounts apart. Who names some must have it; else their names are just missing in records.
fn peers(users: &Users) -> Result<Option<Peers>, StartError> {
    match (Peers::open(), users) {
        (Ok(peers), _) => Ok(Some(peers)),
        (Err(error), Users::Only(_)) => Err(StartError::Identity(error)),
        (Err(error), Users::Anyone) => {
            report::line(&format!("warning: records won't say which account was served: {error}"));
            Ok(None)
        }
    }
}

fn lacking(what: &'static str, error: std::io::Error) -> StartError {
    StartError::Resources { what, source: error.into() }
}

fn server_info(port: u16) -> Result<ServerInfo, StartError> {
    let mut instance = [0; 16];
    getrandom::fill(&mut instance)
        .map_err(|error| StartError::Resources { what: "a random number", source: error.into() })?;
    let uid = geteuid().as_raw();
    Ok(ServerInfo {
        port,
        pid: std::process::id(),
        base_url: format!("http://127.0.0.1:{port}/v1"),
        uid,
        listener_uid: uid,
        instance: format!("{:032x}", u128::from_ne_bytes(instance)),
        started_at: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

/// One line: address, upstream, pid, who may use it, and each hop and authority that is not the default.
fn ready(port: u16, settings: &Settings, environment: &Environment) -> String {
    let (upstream, pid, users) = (&settings.upstream, std::process::id(), &settings.users);
    let mut line = format!(
        "ready: http://127.0.0.1:{port}/v1 forwards POST /v1/responses to {upstream}, pid {pid}, for {users}"
    );
    if let (Users::Anyone, Some(user)) = (users, &environment.sudo_user) {
        line.push_str(&format!(" (--allow-user {} keeps it to that one)", user.escape_debug()));
    }
    if let Some(proxy) = &settings.upstream_proxy {
        line.push_str(&format!(", through the proxy {proxy} ({})", proxy.named_by()));
    }
    for Authorities { path, named_by } in &settings.authorities {
        line.push_str(&format!(", trusting {} ({named_by})", path.display()));
    }
    line
}
