//! `tenure serve`: runs the HTTP server until a signal stops it.

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

/// How long the engine may take to finish accepted commands; afterwards the process ends with a warning.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

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
    // Bound before anything is started, so that an address in use is reported at once.
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
            // The private server may be running although the start failed or was interrupted.
            if ended.is_none() {
                tracing::info!("stopped by a signal while starting");
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
    let state = http::AppState::new(tenure.clone(), settings).map_err(|reason| anyhow::anyhow!(reason))?;
    let serve = |listener, router| tokio::spawn(http::serve(listener, router, stop.clone()));
    let servers = [serve(public, http::public(state)), serve(internal, http::internal(metrics))];
    // Announced after both listeners are served: scripts connect as soon as they read this.
    announce(&config, listen, metrics_listen, &database, first_link.as_deref())?;

    // The supervisor restarts PostgreSQL; only when it gives up does the process end.
    let failed = async {
        match &mut postgres_state {
            Some(state) => match state.wait_for(|state| matches!(state, State::Failed { .. })).await {
                Ok(state) => format!("{:?}", *state),
                Err(_) => "the private PostgreSQL has ended".to_owned(),
            },
            None => std::future::pending().await,
        }
    };
    let reason = tokio::select! {
        () = signals.received() => None,
        reason = failed => Some(format!("PostgreSQL stopped and cannot be restarted: {reason}")),
        error = tenure.broken() => Some(format!("the log can no longer be trusted: {error}")),
    };
    tracing::info!("stopping: finishing accepted requests");
    // In this order: requests need the engine, and the engine needs PostgreSQL.
    stop.cancel();
    for server in servers {
        let _ = server.await;
    }
    if timeout(CLOSE_TIMEOUT, tenure.close()).await.is_err() {
        tracing::warn!("the database does not answer: the outcome of some commands is unknown");
    }
    if let Some(private) = private {
        private.stop().await?;
    }
    match reason {
        None => Ok(()),
        Some(reason) => anyhow::bail!(reason),
    }
}

/// Starts the private PostgreSQL, if no database is configured, and the engine. Also returns a sign-in link if this
/// start created the first operator.
///
/// The server is stored in `private`, so that the caller can stop it when a signal cancels this future.
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
    // `tenure user sign-in-link` in another process reads it to print links that lead here.
    tenure.record_public_url(&settings.public_url).await?;
    let first_link = first_operator(&tenure, settings).await?;
    Ok((tenure, first_link))
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

/// Raises the soft limit of open files to the hard limit, at most 65,536: every connection needs one.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(now, most)| setrlimit(Resource::RLIMIT_NOFILE, now.max(most.min(65_536)), most));
    if let Err(error) = raised {
        tracing::warn!(%error, "cannot raise the limit of open files");
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
        format!("\n  sign in   {link}\n            (as `{FIRST_OPERATOR}`, who runs this instance; valid once, for ten minutes)")
    });
    output::line(&format!(
        "Tenure {} is listening on http://{listen}
  health    http://{listen}/healthz   http://{listen}/readyz
  API       http://{listen}/docs
  metrics   http://{metrics_listen}/metrics
  database  {database}{first}

Next, in another terminal:
  target/release/tenure user add ada --email ada@example.org --operator{data_dir}
  target/release/tenure account open acme --owner ada{data_dir}
  target/release/tenure user sign-in-link ada{data_dir}
  target/release/tenure events tail{data_dir}
  target/release/tenure tour            (a demonstration on a throwaway database)",
        env!("CARGO_PKG_VERSION")
    ))
}
