//! Opens connections to a primary within a time limit: connect, TLS, authentication, checks and session settings.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::{TryStreamExt as _, stream};
use tokio::net::lookup_host;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::config::{Host, LoadBalanceHosts};
use tokio_postgres::{AsyncMessage, Client, Config, SimpleQueryMessage};

use super::address::{Address, DEFAULT_PORT};
use super::connect_error::ConnectError;
use super::drivers::Drivers;
use super::tls::Tls;
use crate::clock::Stopwatch;

/// The time limit for connecting, including TLS, authentication and session settings. Several hosts share it, but each
/// gets at least one second.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);

/// The upper limit for the `connect_timeout` of a connection string, for each host.
const MAX_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The lower limit for the share of [`CONNECT_TIMEOUT`] that a host gets.
const MIN_HOST_TIMEOUT: Duration = Duration::from_secs(1);

/// How long an attempt must have lasted before its end says something of the host.
const GIVEN_UP_AFTER: Duration = Duration::from_millis(300);

/// How long sent bytes may stay unacknowledged before the kernel drops a TCP connection.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(10);

/// The idle time before TCP keepalive probes start; short, because load balancers drop idle connections silently.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);

/// How often a listening connection is probed.
const LISTENING_PROBE: Duration = Duration::from_secs(5);

/// How long a short statement outside the hot paths may take before its connection counts as lost.
pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);

/// Settings of every connection, before the caller's own. No query is large enough to be worth parallel workers, or code that the
/// server compiles for it: with `enable_seqscan = off`, PostgreSQL takes the cost of any table without a usable index for enormous, and
/// compiling takes it 0.4 s of CPU time for each statement.
///
/// Nor does a default isolation level of the database or the role apply: a statement that has waited for the head
/// lock has to see what was stored meanwhile.
const EVERY_SESSION: &str = "set jit = off; set max_parallel_workers_per_gather = 0;
                             set default_transaction_isolation = 'read committed';";

/// A database to connect to, with its hosts, TLS configuration and role. Cheap to clone.
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
    /// What drives its connections; none if each has a task of its own.
    drivers: Option<Drivers>,
}

struct Inner {
    hosts: Vec<Config>,
    /// The host at which the next attempt starts: the last one that was a primary, or the one after the host at which an attempt
    /// was given up.
    next_host: Arc<AtomicUsize>,
    /// Whether each attempt starts at another host: `load_balance_hosts=random`.
    spreads: bool,
    address: String,
    tls: Arc<Tls>,
    role: Option<String>,
}

/// A connection that owns what drives it.
pub struct Connection {
    /// The client that sends statements; usable until the connection is cut.
    pub client: Client,
    driver: Driver,
}

/// What polls a connection.
enum Driver {
    /// A task of its own.
    Task(JoinHandle<()>),
    /// The task that uses it, which knows it by this number.
    User(Drivers, u64),
}

impl Connection {
    /// Cuts the connection: every statement pending on it fails immediately.
    pub fn cut(&self) {
        match &self.driver {
            Driver::Task(task) => task.abort(),
            Driver::User(drivers, id) => drivers.remove(*id),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Otherwise the driver would wait for pending responses, which a silent server never sends.
        self.cut();
    }
}

/// A connection that receives the notifications of one channel.
pub struct Listening {
    connection: Connection,
    notifications: mpsc::Receiver<()>,
}

impl Listening {
    /// Waits for the next notification, ten seconds at most. Returns `false` if the connection is lost, `true`
    /// otherwise, even without a notification.
    pub async fn notified(&mut self) -> bool {
        if let Ok(notified) = timeout(LISTENING_PROBE, self.notifications.recv()).await {
            return notified.is_some();
        }
        // A load balancer may have dropped the connection silently.
        let probe = self.connection.client.batch_execute("");
        timeout(LISTENING_PROBE, probe).await.is_ok_and(|answer| answer.is_ok())
    }
}

impl Database {
    /// A database at this address; opens no connection.
    ///
    /// With a role, every connection runs `SET ROLE` to it.
    ///
    /// # Errors
    /// [`ConnectError::Tls`] if TLS cannot be set up as the address asks.
    pub fn new(address: &Address, role: Option<&str>) -> Result<Self, ConnectError> {
        let hosts = address.configs().into_iter().map(with_defaults).collect();
        let inner = Inner {
            hosts,
            next_host: Arc::default(),
            spreads: address.config.get_load_balance_hosts() == LoadBalanceHosts::Random,
            address: address.to_string(),
            tls: Arc::new(Tls::new(address)?),
            role: role.map(str::to_owned),
        };
        Ok(Self { inner: Arc::new(inner), drivers: None })
    }

    /// The same database with another role. Both know the same host to start at.
    #[must_use]
    pub fn with_role(&self, role: Option<&str>) -> Self {
        let Inner { hosts, next_host, spreads, address, tls, .. } = &*self.inner;
        let inner = Inner {
            hosts: hosts.clone(),
            next_host: next_host.clone(),
            spreads: *spreads,
            address: address.clone(),
            tls: tls.clone(),
            role: role.map(str::to_owned),
        };
        Self { inner: Arc::new(inner), drivers: self.drivers.clone() }
    }

    /// The same database, for a task that drives its connections itself.
    #[must_use]
    pub fn driven_by(&self, drivers: &Drivers) -> Self {
        Self { inner: self.inner.clone(), drivers: Some(drivers.clone()) }
    }

    /// Whether the address names a single host.
    #[must_use]
    pub fn has_one_host(&self) -> bool {
        self.inner.hosts.len() == 1
    }

    /// The role that connections switch to; none if they keep the login's own.
    #[must_use]
    pub fn role(&self) -> Option<&str> {
        self.inner.role.as_deref()
    }

    /// Opens a connection to the primary and runs these session settings. `name` is its `application_name`.
    ///
    /// With several hosts, or several addresses of a host, the first one that is a primary is used.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(&self, name: &str, settings: &str) -> Result<Connection, ConnectError> {
        self.first_host(name, settings, Wanted::Primary, None).await.map(|(connection, _)| connection)
    }

    /// As [`Database::connect`], for a caller who has this much time: all hosts share it.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect_within(
        &self,
        most: Duration,
        name: &str,
        settings: &str,
    ) -> Result<Connection, ConnectError> {
        self.first_host(name, settings, Wanted::Primary, Some(most)).await.map(|(connection, _)| connection)
    }

    /// Opens a connection to the first server that answers, primary or not, to inspect it.
    ///
    /// # Errors
    /// As [`Database::connect`], except for [`ConnectError::Replica`] and [`ConnectError::ReadOnly`].
    pub async fn connect_to_any(&self, name: &str, settings: &str) -> Result<Connection, ConnectError> {
        self.first_host(name, settings, Wanted::Any, None).await.map(|(connection, _)| connection)
    }

    /// Opens a connection to the primary that listens on a channel.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn listen(&self, name: &str, channel: &str) -> Result<Listening, ConnectError> {
        let listen = format!("listen {channel}");
        let (connection, notifications) = self.first_host(name, &listen, Wanted::Primary, None).await?;
        Ok(Listening { connection, notifications })
    }

    async fn first_host(
        &self,
        name: &str,
        settings: &str,
        wanted: Wanted,
        most: Option<Duration>,
    ) -> Result<(Connection, mpsc::Receiver<()>), ConnectError> {
        let Inner { hosts, next_host, spreads, .. } = &*self.inner;
        let first = if *spreads {
            next_host.fetch_add(1, Ordering::Relaxed)
        } else {
            next_host.load(Ordering::Relaxed)
        };
        // One dead host must not use up the time of the others.
        let count = u32::try_from(hosts.len()).unwrap_or(1).max(1);
        let share = CONNECT_TIMEOUT / count;
        let mut failed: Option<ConnectError> = None;
        for place in (0..hosts.len()).map(|place| first.wrapping_add(place) % hosts.len()) {
            let host = &hosts[place];
            let given = host.get_connect_timeout().copied();
            let limit = given.unwrap_or(share.max(MIN_HOST_TIMEOUT)).min(MAX_CONNECT_TIMEOUT);
            let limit = most.map_or(limit, |most| limit.min(most / count));
            // The caller may have less time than all hosts together.
            let attempt = (!spreads && wanted == Wanted::Primary).then(|| Attempt::at(place, next_host));
            // The driver's own `connect_timeout` ends with the TCP connection; this limit covers everything after it
            // too.
            let trying = async {
                let mut addresses = addresses(host).await;
                if *spreads {
                    let by = first % addresses.len();
                    addresses.rotate_left(by);
                }
                self.any_address(&addresses, limit, name, settings, wanted).await
            };
            let ended = timeout(limit, trying).await;
            let timed_out = || ConnectError::TimedOut { address: self.inner.address.clone(), timeout: limit };
            let ended = ended.unwrap_or_else(|_| Err(timed_out()));
            match attempt {
                // A host that took too long counts as given up.
                Some(attempt) if matches!(ended, Err(ConnectError::TimedOut { .. })) => drop(attempt),
                Some(attempt) => attempt.end(ended.is_ok()),
                None => {}
            }
            match ended {
                Ok(connection) => return Ok(connection),
                Err(error) => failed = Some(more_telling(failed, error)),
            }
        }
        Err(failed.unwrap_or_else(|| self.refused("the address names no host".to_owned())))
    }

    /// Tries the addresses of a host one after the other. One that does not answer in its share of the time is tried once more when the
    /// others have refused.
    async fn any_address(
        &self,
        addresses: &[Config],
        limit: Duration,
        name: &str,
        settings: &str,
        wanted: Wanted,
    ) -> Result<(Connection, mpsc::Receiver<()>), ConnectError> {
        let attempt = |address| Box::pin(self.one_host(address, name, settings, wanted));
        if let [only] = addresses {
            return attempt(only).await;
        }
        let share = limit / u32::try_from(addresses.len()).unwrap_or(1).max(1);
        let (mut failed, mut slow) = (None, None);
        for address in addresses {
            match timeout(share, attempt(address)).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => failed = Some(more_telling(failed, error)),
                Err(_) => slow = slow.or(Some(address)),
            }
        }
        match (slow, failed) {
            (Some(slow), _) => attempt(slow).await,
            (None, failed) => {
                Err(failed.unwrap_or_else(|| self.refused("the host has no address".to_owned())))
            }
        }
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
        let refused = |error: tokio_postgres::Error| ConnectError::Refused {
            address: self.inner.address.clone(),
            reason: connect_reason(&error),
            answered: error.as_db_error().is_some(),
        };
        let (client, mut connected) = config.connect(self.inner.tls.connector()?).await.map_err(refused)?;
        // Capacity 1 is enough: a notification only says that there are new events, so further ones can be dropped.
        let (notify, notifications) = mpsc::channel(1);
        let driving = async move {
            let mut messages = stream::poll_fn(move |context| connected.poll_message(context));
            loop {
                match messages.try_next().await {
                    Ok(Some(AsyncMessage::Notification(_))) => drop(notify.try_send(())),
                    Ok(Some(_)) => {}
                    Ok(None) => return,
                    Err(error) => {
                        tracing::debug!(%error, "lost a connection to PostgreSQL");
                        return;
                    }
                }
            }
        };
        let driver = match &self.drivers {
            Some(drivers) => Driver::User(drivers.clone(), drivers.add(driving)),
            None => Driver::Task(tokio::spawn(driving)),
        };
        let connection = Connection { client, driver };
        let role = self.role().map_or_else(String::new, |role| format!("set role {role};"));
        // The state is read before the settings: a replica refuses some settings with errors that do not name the
        // reason.
        let state = "select pg_is_in_recovery(), current_setting('transaction_read_only')::boolean;";
        let batch = match wanted {
            Wanted::Primary => state.to_owned(),
            Wanted::Any => format!("{role}{EVERY_SESSION}{settings}"),
        };
        let answer = connection.client.simple_query(&batch).await.map_err(refused)?;
        if wanted == Wanted::Primary {
            let address = || self.inner.address.clone();
            match state_of(&answer) {
                (false, false) => {}
                (true, _) => return Err(ConnectError::Replica { address: address() }),
                (false, true) => return Err(ConnectError::ReadOnly { address: address() }),
            }
            connection
                .client
                .batch_execute(&format!("{role}{EVERY_SESSION}{settings}"))
                .await
                .map_err(refused)?;
        }
        Ok((connection, notifications))
    }

    fn refused(&self, reason: String) -> ConnectError {
        ConnectError::Refused { address: self.inner.address.clone(), reason, answered: false }
    }
}

/// An attempt at one of several hosts. If it is given up after a while, the next one starts at the host after it: otherwise a caller with
/// little time would wait for the same dead host again and again.
struct Attempt<'a> {
    place: usize,
    next_host: Option<&'a AtomicUsize>,
    /// What `next_host` was when the attempt began.
    found: usize,
    since: Stopwatch,
}

impl<'a> Attempt<'a> {
    fn at(place: usize, next_host: &'a AtomicUsize) -> Self {
        let found = next_host.load(Ordering::Relaxed);
        Self { place, next_host: Some(next_host), found, since: Stopwatch::start() }
    }

    /// The attempt was not given up; if it ended well, the next one starts here.
    fn end(mut self, well: bool) {
        if let (Some(next_host), true) = (self.next_host.take(), well) {
            next_host.store(self.place, Ordering::Relaxed);
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if let Some(next_host) = self.next_host
            && self.since.elapsed() >= GIVEN_UP_AFTER
        {
            // Unless another attempt has found a primary meanwhile, or has gone on.
            let (found, next) = (self.found, self.place + 1);
            let _ = next_host.compare_exchange(found, next, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

/// One configuration for each address of a host; the configuration itself if there is one, or none is known.
async fn addresses(host: &Config) -> Vec<Config> {
    if let ([Host::Tcp(name)], []) = (host.get_hosts(), host.get_hostaddrs()) {
        let port = host.get_ports().first().copied().unwrap_or(DEFAULT_PORT);
        if let Ok(found) = lookup_host((name.as_str(), port)).await {
            let mut all: Vec<IpAddr> = Vec::new();
            for address in found.map(|found| found.ip()) {
                if !all.contains(&address) {
                    all.push(address);
                }
            }
            if all.len() > 1 {
                let at = |address: IpAddr| {
                    let mut config = host.clone();
                    config.hostaddr(address);
                    config
                };
                return all.into_iter().map(at).collect();
            }
        }
    }
    vec![host.clone()]
}

/// Of two failures, the one that says more: an answer of a server more than none, and the later one of two alike.
fn more_telling(earlier: Option<ConnectError>, later: ConnectError) -> ConnectError {
    match earlier {
        Some(earlier) if rank(&earlier) > rank(&later) => earlier,
        _ => later,
    }
}

const fn rank(error: &ConnectError) -> u8 {
    match error {
        ConnectError::TimedOut { .. } => 0,
        ConnectError::Refused { answered: false, .. } => 1,
        _ => 2,
    }
}

/// The kind of server that a connection needs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Primary,
    Any,
}

/// Whether the server is in recovery, and whether it is read-only. A missing or unreadable answer counts as yes, so
/// that an unknown server is never written to.
fn state_of(answer: &[SimpleQueryMessage]) -> (bool, bool) {
    let row = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let is_false = |place| row.and_then(|row| row.try_get(place).ok().flatten()) == Some("f");
    (!is_false(0), !is_false(1))
}

/// Adds the limits that the connection string does not set.
fn with_defaults(mut config: Config) -> Config {
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(TCP_USER_TIMEOUT);
    }
    // The driver does not say whether this was set. Its default is two hours, so more than one hour counts as unset.
    if config.get_keepalives_idle() > Duration::from_hours(1) {
        config.keepalives_idle(KEEPALIVE_IDLE);
    }
    config
}

/// Why connecting failed, without the prefix that the driver adds.
fn connect_reason(error: &tokio_postgres::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Database({})", self.inner.address)
    }
}
