//! The life of the process: bind → read the key → write server-info → serve → drain → wipe the key.

use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use codex_key_custody::PageKind;
use codex_peer_identity::Peers;
use codex_process_hardening::Hardened;
use codex_request_log::{Hub, Reopener};
use nix::unistd::{Uid, geteuid};
use tokio::net::TcpListener;
use tokio::runtime::{self, Runtime};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::admission::Policy;
use crate::control::{Access, Control, ControlSocket, UpstreamChecks};
use crate::custody::Custody;
use crate::dump::{self, DumpFolder};
use crate::environment::Environment;
use crate::exchange::Proxy;
use crate::forwarder::Forwarder;
use crate::in_flight::UnderWay;
use crate::ledger::Records;
use crate::published::Published;
use crate::recording::{self, NewLogFile, Recording};
use crate::report::Words;
use crate::settings::{Authorities, Settings};
use crate::shares::Shares;
use crate::stop::Stop;
use crate::users::Users;
use crate::{ServeArgs, StartError, control, daemon, listener, report, server, status, tls};

/// How long the log's last lines may take when nobody reads them.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Runs the proxy until it is stopped by SIGTERM, SIGINT, SIGHUP or `GET /shutdown`, then until its
/// connections have ended or been ended. Blocks meanwhile; it brings its own runtime. With `--daemon` it returns
/// once the proxy runs by itself, or has failed; then that has said why, and the exit code is its own.
///
/// `hardened` is the evidence that this process may hold a key.
///
/// # Errors
///
/// The proxy starts whole or not at all: an error leaves no port, no file and no thread behind.
pub fn serve(args: ServeArgs, hardened: &Hardened) -> Result<ExitCode, StartError> {
    if args.daemon && !args.daemon_serving {
        report::environment(hardened, &Environment::default());
        return daemon::start(hardened, args.key_file.as_deref());
    }
    let is_daemon = args.daemon;
    if is_daemon {
        daemon::begin();
    }
    let environment = Environment::of(hardened);
    report::environment(hardened, &environment);
    let settings = Settings::resolve(args, &environment)?;
    report::authorities(&settings.authorities);
    let peers = peers(&settings.users)?;
    let tls = tls::client_config(&settings.authorities, settings.upstream.is_https())?;
    let dump_folder = settings.dump_dir.as_deref().map(DumpFolder::open).transpose()?;
    let log_file = settings.log_file.as_deref().map(recording::open).transpose()?;
    let (log_file, new_log_file) = log_file.unzip();
    let listener = listener::listen(settings.port)?;
    let key = settings.key_source.read(settings.allow_unlocked_key)?;
    let custody = Custody::new(key, &settings.key_source, settings.allow_unlocked_key);
    let custody_end = custody.end();
    let custody = Arc::new(custody);
    let forwarder = Forwarder::new(&settings, Arc::clone(custody.keys()), tls)?;

    let records = Recording::start(&settings, is_daemon, log_file)?;
    let (dumper, dumps) = match dump_folder {
        None => (None, None),
        Some(folder) => {
            let keys = Arc::clone(custody.keys());
            let tell = move |text: &str| report::line(&keys.mask(text));
            let (dumper, dumps) =
                dump::start(folder, [settings.fields.key.name().clone()].into(), tell)
                    .map_err(|error| StartError::lacking("the dumps", error))?;
            (Some(dumper), Some(dumps))
        }
    };
    let runtime = runtime()?;
    let Recording { log, recorder, hub, metrics, words_to } = records;
    let start = Start {
        settings: &settings,
        environment: &environment,
        peers,
        listener,
        custody,
        forwarder,
        hub,
        records: Records { log, metrics, under_way: UnderWay::default(), dumper },
        reopener: recorder.reopener(),
        new_log_file: new_log_file.flatten(),
        words_to,
    };
    let served = runtime.block_on(run(start));
    // With its tasks go the last that have a key in hand. A name that is still being resolved must not hold the end up.
    runtime.shutdown_timeout(LAST_WORDS);
    // Who reads nothing can't be told of it either.
    let _ = recorder.finish(LAST_WORDS);
    if let Some(dumps) = dumps {
        dumps.finish(LAST_WORDS); // They are masked with the key.
    }
    drop(custody_end); // Which wipes it.
    served.map(|()| ExitCode::SUCCESS)
}

fn runtime() -> Result<Runtime, StartError> {
    // Said here, so that no variable decides about it.
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .map_err(|error| StartError::lacking("the runtime", error))
}

/// Everything that serving needs.
struct Start<'start> {
    settings: &'start Settings,
    environment: &'start Environment,
    peers: Option<Peers>,
    listener: std::net::TcpListener,
    custody: Arc<Custody>,
    forwarder: Forwarder,
    hub: Hub,
    records: Records,
    /// With a log file.
    reopener: Option<Reopener>,
    /// The same, if it was not there before.
    new_log_file: Option<NewLogFile>,
    /// With `--daemon`: what its standard error is to be.
    words_to: Option<OwnedFd>,
}

/// From the first signal that is obeyed to the last connection's end.
async fn run(start: Start<'_>) -> Result<(), StartError> {
    let Start { settings, environment, listener, .. } = start;
    let stop = Stop::default();
    stop.obey_signals(start.reopener)?;
    let listener = TcpListener::from_std(listener)
        .map_err(|error| StartError::lacking("the listener", error))?;
    let port =
        listener.local_addr().map_err(|error| StartError::lacking("the listener", error))?.port();
    let access = Access {
        serving: geteuid(),
        starter: environment.sudo_uid.map(Uid::from_raw),
        users: settings.users.clone(),
    };
    let published = Published::publish(settings, &access, port)?;
    let log = start.records.log.clone();
    let proxy = Arc::new(Proxy {
        policy: Policy {
            port,
            http_shutdown: settings.http_shutdown,
            users: settings.users.clone(),
            max_body_bytes: settings.max_body_bytes,
        },
        custody: start.custody,
        forwarder: start.forwarder,
        peers: start.peers,
        slots: Shares::new(settings.max_concurrent),
        max_concurrent: settings.max_concurrent,
        open_files: usize::try_from(listener::raise_open_files()).unwrap_or(usize::MAX),
        records: start.records,
        stop,
        exchanges: AtomicU64::new(0),
    });
    let standing_facts = status::standing_facts(settings, &access, &published);
    let Published { named, standing, socket, .. } = published;
    let (socket_file, socket) = socket.map(ControlSocket::into_parts).unzip();
    let ended = CancellationToken::new();
    let control = Control {
        access,
        hub: start.hub,
        proxy: Arc::clone(&proxy),
        standing_facts,
        upstream_checks: UpstreamChecks::new(proxy.forwarder.connector().clone()),
        ended: ended.clone(),
        words: Words::start()
            .map_err(|error| StartError::lacking("the words to the operator", error))?,
    };
    let control = socket.map(|socket| control::start(socket, control)).transpose();
    let control = control.map_err(|error| StartError::lacking("the control socket", error))?;
    let keys = proxy.custody.keys();
    report::line(&keys.mask(&ready(port, settings, environment, keys.page())));
    if let Some(words_to) = start.words_to {
        daemon::leave(words_to.as_fd()).map_err(StartError::Daemon)?;
    }
    if let Some(new_log_file) = start.new_log_file {
        new_log_file.leave();
    }
    // Nobody is to find a proxy that takes no more requests.
    let close = move || drop(named);
    server::run(listener, proxy, settings.drain_timeout, close).await;
    log.close(); // No exchange is left: who follows gets what is still on its way, and then the end.
    ended.cancel();
    if let Some(control) = control {
        let _ = spawn_blocking(|| control.join()).await; // Its end is all there is to know.
    }
    drop((standing, socket_file));
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

/// One line: address, upstream, pid, who may use it, each hop and authority that is not the default, and the memory that
/// holds the key.
fn ready(
    port: u16,
    settings: &Settings,
    environment: &Environment,
    page: Option<PageKind>,
) -> String {
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
    line.push_str(match page {
        Some(PageKind::MemfdSecret) => ", key in memfd_secret",
        Some(PageKind::Locked) => ", key in a locked page",
        Some(PageKind::Unlocked) => ", key in an unlocked page (--allow-unlocked-key)",
        None => "",
    });
    line
}
