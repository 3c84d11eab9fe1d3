//! `tenure serve`: the process that answers, until it is told to stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{open, output};
use crate::config::Config;
use crate::context::{Actor, Context};
use crate::dispatch::DispatchError;
use crate::http::HttpSettings;
use crate::ids::UserId;
use crate::operations::Refusal;
use crate::postgres::private::{PrivatePostgres, State};
use crate::{Tenure, http, telemetry};

/// How long the engine may take to finish what it has accepted.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// The signals that end the process. From the moment they are installed on, nothing else handles them.
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
    // Bound before anything is started, so that an address in use is found out at once.
    let public = bind(config.listen).await?;
    let internal = bind(config.metrics_listen).await?;
    let (listen, metrics_listen) = (public.local_addr()?, internal.local_addr()?);

    let settings = settings(&config, listen);
    let mut private = None;
    let started = tokio::select! {
        started = start(&config, &settings, &mut private) => Some(started),
        () = signals.received() => None,
    };
    let (tenure, first_link) = match started {
        Some(Ok((tenure, first_link))) => (Arc::new(tenure), first_link),
        ended => {
            if ended.is_none() {
                tracing::info!("told to stop while starting");
            }
            if let Some(private) = private {
                private.stop().await?;
            }
            return ended.map_or(Ok(()), |failed| failed.map(|_| ()));
        }
    };
    let database = match (&private, &config.database) {
        (Some(private), _) => {
            format!("private PostgreSQL, socket in {}", private.endpoint().socket_dir.display())
        }
        (None, Some(address)) => address.to_string(),
        (None, None) => String::new(),
    };
    let mut postgres_state = private.as_ref().map(PrivatePostgres::state);

    let stop = CancellationToken::new();
    raise_file_limit();
    let door = http::AppState::new(tenure.clone(), settings).map_err(|reason| anyhow::anyhow!(reason))?;
    let serve = |listener, router| tokio::spawn(http::serve(listener, router, stop.clone()));
    let doors = [serve(public, http::public(door)), serve(internal, http::internal(metrics))];
    announce(&config, listen, metrics_listen, &database, first_link.as_deref())?;

    let failed = async {
        match &mut postgres_state {
            Some(state) => match state.wait_for(|state| matches!(state, State::Failed { .. })).await {
                Ok(state) => format!("{:?}", *state),
                Err(_) => "the private PostgreSQL is gone".to_owned(),
            },
            None => std::future::pending().await,
        }
    };
    let reason = tokio::select! {
        () = signals.received() => None,
        reason = failed => Some(format!("PostgreSQL does not come back: {reason}")),
        error = tenure.broken() => Some(format!("the log can no longer be trusted: {error}")),
    };
    tracing::info!("stopping: finishing what was accepted");
    stop.cancel();
    for door in doors {
        let _ = door.await;
    }
    if timeout(CLOSE_TIMEOUT, tenure.close()).await.is_err() {
        tracing::warn!("the database does not answer: the outcome of some commands is not known");
    }
    if let Some(private) = private {
        private.stop().await?;
    }
    match reason {
        None => Ok(()),
        Some(reason) => anyhow::bail!(reason),
    }
}

/// Starts what serves: the private PostgreSQL, if no database is named, and the engine on it. Gives the link of the first
/// operator too, if there was none before.
async fn start(
    config: &Config,
    settings: &HttpSettings,
    private: &mut Option<PrivatePostgres>,
) -> anyhow::Result<(Tenure, Option<String>)> {
    let address = match &config.database {
        Some(address) => address.clone(),
        None => open::address(private.insert(open::start_private(config).await?).endpoint()),
    };
    let tenure = open::engine(config, address).await?;
    tenure.record_public_url(&settings.public_url).await?;
    let first_link = first_operator(&tenure, settings).await?;
    Ok((tenure, first_link))
}

/// The settings of what is served on this address.
fn settings(config: &Config, listen: SocketAddr) -> HttpSettings {
    let mut settings = config.doors.clone();
    if !settings.public_url_is_set {
        // The port may have been left to the system.
        settings.public_url = HttpSettings::new(listen).public_url;
        if !listen.ip().is_loopback() {
            let url = &settings.public_url;
            tracing::warn!(%url, "links, the issuer and forms go by this address: set --public-url to the one that people use");
        }
    }
    settings
}

/// What the first person is called who runs an instance that had nobody.
const FIRST_OPERATOR: &str = "operator";

/// On a log in which nobody is yet: makes the first operator and a link to sign in by.
async fn first_operator(tenure: &Tenure, settings: &HttpSettings) -> anyhow::Result<Option<String>> {
    if !tenure.reader().users_after(UserId::UNAUTHENTICATED, 1).await?.is_empty() {
        return Ok(None);
    }
    let operator = Context::of(Actor::Operator);
    let user = match tenure.insert_operator(&operator, FIRST_OPERATOR, "operator@local").await {
        Ok(done) => done.answer,
        // Another node was faster, and has printed its link.
        Err(DispatchError::Refused(Refusal::UsernameTaken)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let link = tenure.issue_sign_in_link(&operator, user).await?.answer;
    Ok(Some(http::sign_in_link_url(&settings.public_url, link.expose_secret())))
}

/// As many open files as this process may have: a connection is one.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(now, most)| setrlimit(Resource::RLIMIT_NOFILE, now.max(most.min(65_536)), most));
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| anyhow::anyhow!("cannot listen on {address}: {error}"))
}

fn announce(
    config: &Config,
    listen: SocketAddr,
    metrics_listen: SocketAddr,
    database: &str,
    first_link: Option<&str>,
) -> anyhow::Result<()> {
    if config.json {
        return output::json(&json!({
            "listen": listen, "metrics_listen": metrics_listen, "database": database,
            "sign_in_link": first_link,
        }));
    }
    let data_dir = match config.data_dir.to_str() {
        Some(".tenure") | None => String::new(),
        Some(path) => format!(" --data-dir {path}"),
    };
    let first = first_link.map_or_else(String::new, |link| {
        format!("\n  sign in   {link}\n            (as `{FIRST_OPERATOR}`, who runs this instance; once, within ten minutes)")
    });
    output::line(&format!(
        "Tenure {} serves on http://{listen}
  health    http://{listen}/healthz   http://{listen}/readyz
  API       http://{listen}/docs
  metrics   http://{metrics_listen}/metrics
  database  {database}{first}

Next, in another terminal:
  target/release/tenure user add ada --email ada@example.org --operator{data_dir}
  target/release/tenure account open acme --owner ada{data_dir}
  target/release/tenure user sign-in-link ada{data_dir}
  target/release/tenure events tail{data_dir}
  target/release/tenure tour            (a tenant's ttl, on a database of its own)",
        env!("CARGO_PKG_VERSION")
    ))
}
