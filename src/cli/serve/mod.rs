//! `tenure serve`: runs the HTTP server until a signal stops it.

mod announce;
mod nats;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use secrecy::ExposeSecret as _;
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::open;
use crate::clock::Stopwatch;
use crate::config::Config;
use crate::context::{Actor, Context};
use crate::dispatch::DispatchError;
use crate::http::HttpSettings;
use crate::ids::UserId;
use crate::operations::Refusal;
use crate::postgres::private::{PrivatePostgres, State};
use crate::projections::QueryError;
use crate::{Tenure, http, telemetry};
use announce::SignIn;

/// How to set the addresses.
const LISTEN: &str = "--listen or TENURE_LISTEN";
const METRICS_LISTEN: &str = "--metrics-listen or TENURE_METRICS_LISTEN";

/// How long stopping may take, whatever hangs. Docker kills a container after ten seconds, other managers later.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);

/// How long the engine may take to finish accepted commands, after the HTTP server had its time for the requests.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long an immediate shutdown of the private PostgreSQL may take.
const IMMEDIATE: Duration = Duration::from_secs(1);

/// SIGTERM and SIGINT. Once installed, they end the process only through this type.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn install() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

pub(super) async fn run(config: Config) -> anyhow::Result<()> {
    let mut signals = Signals::install()?;
    let metrics = telemetry::collect_metrics()?;
    // Before anything is started, so that an address in use is reported at once.
    let public = reserve(config.listen, LISTEN)?;
    let internal = reserve(config.metrics_listen, METRICS_LISTEN)?;
    let settings = settings(&config, public.local_addr()?);
    let mut private = None;
    let mut private_nats = None;
    let started = tokio::select! {
        started = start(&config, &settings, &mut private) => Some(started),
        () = signals.received() => None,
    };
    let outcome = match started {
        Some(Ok((tenure, sign_in))) => {
            let begun = tokio::select! {
                nats = nats::begin(&config, &tenure, &mut private_nats) => Some(nats),
                () = signals.received() => None,
            };
            let tenure = Arc::new(tenure);
            if let Some(nats) = begun {
                let node = Node { config: &config, tenure, nats, sign_in, private: private.as_ref() };
                node.serve(settings, [public, internal], metrics, &mut signals).await
            } else {
                tracing::info!("stopped by a signal while starting");
                let at = Stopwatch::start();
                let _ = timeout(CLOSE_TIMEOUT, tenure.close()).await;
                Ok(Ended { at, is_hastened: false, reason: None })
            }
        }
        Some(Err(error)) => Err(error),
        None => {
            tracing::info!("stopped by a signal while starting");
            Ok(Ended { at: Stopwatch::start(), is_hastened: false, reason: None })
        }
    };
    // Also after an error: the private server may be running although the start failed.
    let left = match &outcome {
        Ok(Ended { is_hastened: true, .. }) => Duration::ZERO,
        Ok(ended) => STOP_TIMEOUT.saturating_sub(ended.at.elapsed() + IMMEDIATE),
        Err(_) => STOP_TIMEOUT.saturating_sub(IMMEDIATE),
    };
    // Both at once: a container is killed after ten seconds.
    let stop_nats = async {
        if let Some(private_nats) = private_nats {
            let _ = timeout(left, private_nats.stop()).await;
        }
    };
    let (stopped, ()) = tokio::join!(stop_postgres(private, &mut signals, left), stop_nats);
    // The first error is the cause.
    let ended = outcome?;
    stopped?;
    match ended.reason {
        None => Ok(()),
        Some(reason) => anyhow::bail!(reason),
    }
}

/// A node that has started.
struct Node<'a> {
    config: &'a Config,
    tenure: Arc<Tenure>,
    nats: nats::Use,
    sign_in: SignIn,
    private: Option<&'a PrivatePostgres>,
}

/// How serving ended.
struct Ended {
    /// Since when the node is stopping.
    at: Stopwatch,
    /// Whether a second signal came.
    is_hastened: bool,
    /// Why it ended, if not by a signal.
    reason: Option<String>,
}

impl Node<'_> {
    /// Serves until a signal or a failure, then lets accepted requests finish.
    async fn serve(
        self,
        settings: HttpSettings,
        [public, internal]: [TcpSocket; 2],
        metrics: PrometheusHandle,
        signals: &mut Signals,
    ) -> anyhow::Result<Ended> {
        let (listen, metrics_listen) = (public.local_addr()?, internal.local_addr()?);
        let stop = CancellationToken::new();
        raise_file_limit();
        let state = http::AppState::new(self.tenure.clone(), settings, self.nats.handle())
            .map_err(|reason| anyhow::anyhow!(reason))?;
        let (public, internal) = (accept(public, LISTEN)?, accept(internal, METRICS_LISTEN)?);
        let serve = |listener, router| tokio::spawn(http::serve(listener, router, stop.clone()));
        let servers = [serve(public, http::public(state)), serve(internal, http::internal(metrics))];
        // Announced after both listeners are served: scripts connect as soon as they read this.
        self.announce(listen, metrics_listen);
        let reason = tokio::select! {
            () = signals.received() => None,
            reason = self.postgres_failed() => {
                Some(format!("PostgreSQL stopped and cannot be restarted: {reason}"))
            }
            error = self.tenure.broken() => Some(format!("the log can no longer be trusted: {error}")),
        };
        let at = Stopwatch::start();
        tracing::info!("stopping: finishing accepted requests; a second signal stops at once");
        stop.cancel();
        let is_hastened = tokio::select! {
            () = finish(servers, &self.nats, &self.tenure) => false,
            () = signals.received() => {
                tracing::warn!("a second signal: not waiting for accepted requests");
                true
            }
        };
        Ok(Ended { at, is_hastened, reason })
    }

    /// Prints where the node serves. On a thread of its own, which nothing waits for: a terminal can be held, and a pipe
    /// can be full.
    fn announce(&self, listen: SocketAddr, metrics_listen: SocketAddr) {
        let database = match (self.private, &self.config.database) {
            (Some(private), _) => {
                format!("private PostgreSQL, socket in {}", private.endpoint().socket_dir.display())
            }
            (None, Some(address)) => address.to_string(),
            (None, None) => String::new(),
        };
        let (config, sign_in, nats) = (self.config.clone(), self.sign_in.clone(), self.nats.said());
        tokio::task::spawn_blocking(move || {
            let addresses = announce::Addresses { listen, metrics_listen, database, nats };
            if let Err(error) = announce::announce(&config, &addresses, &sign_in) {
                // It serves all the same: standard output may be closed, or a file on a full disk.
                tracing::warn!(%error, "the addresses could not be printed");
            }
        });
    }

    /// Waits until the private server cannot be restarted; never returns if there is none.
    async fn postgres_failed(&self) -> String {
        let Some(private) = self.private else { return std::future::pending().await };
        match private.state().wait_for(|state| matches!(state, State::Failed { .. })).await {
            Ok(state) => match &*state {
                State::Failed { reason } => reason.clone(),
                _ => "it has ended".to_owned(),
            },
            Err(_) => "the private PostgreSQL has ended".to_owned(),
        }
    }
}

/// Waits for accepted requests, then for the commands that they gave. In this order: requests need the engine.
async fn finish(servers: [JoinHandle<()>; 2], nats: &nats::Use, tenure: &Tenure) {
    for server in servers {
        let _ = server.await;
    }
    if let Some(nats) = nats.handle() {
        nats.close().await;
    }
    if timeout(CLOSE_TIMEOUT, tenure.close()).await.is_err() {
        tracing::warn!("the database does not answer: the outcome of some commands is unknown");
    }
}

/// Stops the private server within this time; at once after a signal.
async fn stop_postgres(
    private: Option<PrivatePostgres>,
    signals: &mut Signals,
    limit: Duration,
) -> anyhow::Result<()> {
    let Some(mut private) = private else { return Ok(()) };
    tokio::select! {
        stopped = private.stop_within(limit, IMMEDIATE) => Ok(stopped?),
        () = signals.received() => Ok(private.stop_within(Duration::ZERO, IMMEDIATE).await?),
    }
}

/// Starts the private PostgreSQL, if no database is configured, and the engine. Also returns how to sign in.
///
/// The server is stored in `private` before it is up, so that the caller can stop it when a signal cancels this future.
async fn start(
    config: &Config,
    settings: &HttpSettings,
    private: &mut Option<PrivatePostgres>,
) -> anyhow::Result<(Tenure, SignIn)> {
    let address = if let Some(address) = &config.database {
        address.clone()
    } else {
        let private = private.insert(PrivatePostgres::begin(open::private_options(config))?);
        private.ready().await?;
        open::address(private.endpoint())
    };
    let tenure = open::node(config, address).await?;
    // `tenure user sign-in-link` in another process reads it to print links that lead here.
    tenure.record_public_url(&settings.public_url).await?;
    let sign_in = match first_operator(&tenure, settings).await? {
        Some(link) => SignIn::First { username: FIRST_OPERATOR, link },
        None => SignIn::Later(known_operator(&tenure).await?),
    };
    Ok((tenure, sign_in))
}

/// The HTTP settings for this listen address.
fn settings(config: &Config, listen: SocketAddr) -> HttpSettings {
    let mut settings = config.http.clone();
    if !settings.public_url_is_set {
        // Uses the bound address: with port 0 the system chose the port.
        settings.public_url = HttpSettings::new(listen).public_url;
        if !listen.ip().is_loopback() {
            let url = &settings.public_url;
            tracing::warn!(%url, "links, the issuer and forms use this address; set --public-url to the address that users open");
        }
    }
    settings
}

/// The username of the first operator of a new instance.
const FIRST_OPERATOR: &str = "operator";

/// Creates the first operator and a sign-in link, if the log has no users yet.
async fn first_operator(tenure: &Tenure, settings: &HttpSettings) -> anyhow::Result<Option<String>> {
    if !tenure.reader().users_after(UserId::UNAUTHENTICATED, 1).await?.is_empty() {
        return Ok(None);
    }
    let operator = Context::of(Actor::Operator);
    let user = match tenure.insert_operator(&operator, FIRST_OPERATOR, "operator@local").await {
        Ok(done) => done.answer,
        // Another node was faster and has printed its link.
        Err(DispatchError::Refused(Refusal::UsernameTaken)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let link = tenure.issue_sign_in_link(&operator, user).await?.answer;
    Ok(Some(http::sign_in_link_url(&settings.public_url, link.expose_secret())))
}

/// The username of the first operator, if that user is still there under that name.
async fn known_operator(tenure: &Tenure) -> anyhow::Result<Option<String>> {
    match tenure.reader().user_by_username(FIRST_OPERATOR).await {
        Ok(user) => Ok(user.operator.then_some(user.username)),
        Err(QueryError::NotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Raises the soft limit of open files to the hard limit, at most 65,536: every connection needs one.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(now, most)| setrlimit(Resource::RLIMIT_NOFILE, now.max(most.min(65_536)), most));
    if let Err(error) = raised {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

/// How many connections the kernel keeps until they are accepted.
const BACKLOG: u32 = 1_024;

/// Binds a socket without listening: an address in use is reported before anything is started, and until then clients
/// are refused instead of waiting for an answer.
fn reserve(address: SocketAddr, setting: &str) -> anyhow::Result<TcpSocket> {
    let bound = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let bound = bound.and_then(|socket| {
        // As servers do: the address is free although closed connections to it linger.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(socket)
    });
    bound.map_err(|error| cannot_listen(address, &error, setting))
}

/// Listens on a reserved socket. Another process may have reserved the same address and listened first.
fn accept(socket: TcpSocket, setting: &str) -> anyhow::Result<TcpListener> {
    let address = socket.local_addr()?;
    socket.listen(BACKLOG).map_err(|error| cannot_listen(address, &error, setting))
}

fn cannot_listen(address: SocketAddr, error: &std::io::Error, setting: &str) -> anyhow::Error {
    anyhow::anyhow!("cannot listen on {address}: {error}; set another address with {setting}")
}
