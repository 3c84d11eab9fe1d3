//! Connections to a primary: opened, secured and set up within a bounded time, or refused with the reason.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::{TryStreamExt as _, stream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::config::LoadBalanceHosts;
use tokio_postgres::{AsyncMessage, Client, Config, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::address::Address;
use super::connect_error::ConnectError;
use super::tls;

/// How long connecting may take, TLS, authentication and session settings included; several hosts share it.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);

/// The longest `connect_timeout` of a connection string that is honoured, for each host.
const MAX_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The least time that each host gets.
const MIN_HOST_TIMEOUT: Duration = Duration::from_secs(1);

/// How long sent bytes may stay unacknowledged before a TCP connection counts as lost.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(10);

/// When an idle connection begins to be probed; short, because a load balancer forgets idle connections silently.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);

/// How often a connection that listens is asked whether it still lives.
const LISTENING_PROBE: Duration = Duration::from_secs(5);

/// How long any short statement beside the hot paths may take before its connection counts as lost.
pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);

/// A database that Tenure runs on.
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
}

struct Inner {
    hosts: Vec<Config>,
    /// Where the next attempt begins, if the hosts are to share the load.
    next_host: Option<AtomicUsize>,
    address: String,
    tls: MakeRustlsConnect,
    role: Option<String>,
}

/// A connection whose driving task ends with it.
pub struct Connection {
    /// The client.
    pub client: Client,
    driver: JoinHandle<()>,
}

impl Connection {
    /// Cuts the connection: every statement that still waits on it fails at once.
    pub fn cut(&self) {
        self.driver.abort();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A connection that is told of commits.
pub struct Listening {
    connection: Connection,
    notifications: mpsc::Receiver<()>,
}

impl Listening {
    /// Waits for the next notification, a few seconds at most; `false` when the connection is lost.
    pub async fn notified(&mut self) -> bool {
        if let Ok(notified) = timeout(LISTENING_PROBE, self.notifications.recv()).await {
            return notified.is_some();
        }
        // A load balancer may have dropped the connection without a word.
        let probe = self.connection.client.batch_execute("");
        timeout(LISTENING_PROBE, probe).await.is_ok_and(|answer| answer.is_ok())
    }
}

impl Database {
    /// A database at this address; nothing is opened yet.
    ///
    /// With a role, every connection acts as it (`SET ROLE`).
    ///
    /// # Errors
    /// TLS cannot be set up as the address asks.
    pub fn new(address: &Address, role: Option<&str>) -> Result<Self, ConnectError> {
        let hosts = address.configs().into_iter().map(with_defaults).collect();
        let spread = address.config.get_load_balance_hosts() == LoadBalanceHosts::Random;
        let inner = Inner {
            hosts,
            next_host: spread.then(AtomicUsize::default),
            address: address.to_string(),
            tls: MakeRustlsConnect::new(tls::client_config(address)?),
            role: role.map(str::to_owned),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The role that connections act as, if it is not the login's own.
    #[must_use]
    pub fn role(&self) -> Option<&str> {
        self.inner.role.as_deref()
    }

    /// Opens a connection to the primary, with these session settings.
    ///
    /// Of several hosts the first one that is a primary is taken.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(&self, name: &str, settings: &str) -> Result<Connection, ConnectError> {
        self.first_host(name, settings, Wanted::Primary).await.map(|(connection, _)| connection)
    }

    /// Opens a connection to whatever server answers, to look at it.
    ///
    /// # Errors
    /// As [`Database::connect`], but for a replica and a read-only server.
    pub async fn connect_to_any(&self, name: &str, settings: &str) -> Result<Connection, ConnectError> {
        self.first_host(name, settings, Wanted::Any).await.map(|(connection, _)| connection)
    }

    /// Opens a connection to the primary that listens on a channel.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn listen(&self, name: &str, channel: &str) -> Result<Listening, ConnectError> {
        let listen = format!("listen {channel}");
        let (connection, notifications) = self.first_host(name, &listen, Wanted::Primary).await?;
        Ok(Listening { connection, notifications })
    }

    async fn first_host(
        &self,
        name: &str,
        settings: &str,
        wanted: Wanted,
    ) -> Result<(Connection, mpsc::Receiver<()>), ConnectError> {
        let hosts = &self.inner.hosts;
        let first = self.inner.next_host.as_ref().map_or(0, |next| next.fetch_add(1, Ordering::Relaxed));
        let share = CONNECT_TIMEOUT / u32::try_from(hosts.len()).unwrap_or(1).max(1);
        let mut failed = None;
        for place in 0..hosts.len() {
            let host = &hosts[(first + place) % hosts.len()];
            let given = host.get_connect_timeout().copied();
            let limit = given.unwrap_or(share.max(MIN_HOST_TIMEOUT)).min(MAX_CONNECT_TIMEOUT);
            match timeout(limit, self.one_host(host, name, settings, wanted)).await {
                Ok(Ok(connection)) => return Ok(connection),
                // What a host said is worth more than that another did not answer.
                Ok(Err(error)) => failed = Some(error),
                Err(_) if failed.is_some() => {}
                Err(_) => {
                    let address = self.inner.address.clone();
                    failed = Some(ConnectError::TimedOut { address, timeout: limit });
                }
            }
        }
        Err(failed.unwrap_or_else(|| self.refused("no host is named".to_owned())))
    }

    async fn one_host(
        &self,
        host: &Config,
        name: &str,
        settings: &str,
        wanted: Wanted,
    ) -> Result<(Connection, mpsc::Receiver<()>), ConnectError> {
        let mut config = host.clone();
        config.application_name(name);
        let refused = |error: tokio_postgres::Error| self.refused(connect_reason(&error));
        let (client, mut driven) = config.connect(self.inner.tls.clone()).await.map_err(refused)?;
        // One place is enough: a notification only says that there is something to look for.
        let (notify, notifications) = mpsc::channel(1);
        let driving = tokio::spawn(async move {
            let mut messages = stream::poll_fn(move |context| driven.poll_message(context));
            loop {
                match messages.try_next().await {
                    Ok(Some(AsyncMessage::Notification(_))) => drop(notify.try_send(())),
                    Ok(Some(_)) => {}
                    Ok(None) => return,
                    Err(error) => {
                        tracing::debug!(%error, "a connection to PostgreSQL ended");
                        return;
                    }
                }
            }
        });
        let connection = Connection { client, driver: driving };
        let role = self.role().map_or_else(String::new, |role| format!("set role {role};"));
        // The state comes first: a replica refuses some settings with words that do not say why.
        let state = "select pg_is_in_recovery(), current_setting('transaction_read_only')::boolean;";
        let batch = match wanted {
            Wanted::Primary => state.to_owned(),
            Wanted::Any => format!("{role}{settings}"),
        };
        let answer = connection.client.simple_query(&batch).await.map_err(refused)?;
        if wanted == Wanted::Primary {
            let address = || self.inner.address.clone();
            match state_of(&answer) {
                (false, false) => {}
                (true, _) => return Err(ConnectError::Replica { address: address() }),
                (false, true) => return Err(ConnectError::ReadOnly { address: address() }),
            }
            connection.client.batch_execute(&format!("{role}{settings}")).await.map_err(refused)?;
        }
        Ok((connection, notifications))
    }

    fn refused(&self, reason: String) -> ConnectError {
        ConnectError::Refused { address: self.inner.address.clone(), reason }
    }
}

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Primary,
    Any,
}

/// Whether a server is in recovery, and whether it is read-only; a server that does not say counts as a replica.
fn state_of(answer: &[SimpleQueryMessage]) -> (bool, bool) {
    let row = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let is_false = |place| row.and_then(|row| row.try_get(place).ok().flatten()) == Some("f");
    (!is_false(0), !is_false(1))
}

/// Limits that a connection string has not set itself.
fn with_defaults(mut config: Config) -> Config {
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(TCP_USER_TIMEOUT);
    }
    // The driver's own default is two hours, and so is libpq's.
    if config.get_keepalives_idle() > Duration::from_hours(1) {
        config.keepalives_idle(KEEPALIVE_IDLE);
    }
    config
}

/// Why connecting failed, without the driver's own preamble.
fn connect_reason(error: &tokio_postgres::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Database({})", self.inner.address)
    }
}
