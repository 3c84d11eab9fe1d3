//! Connections: the pool that reads, and single ones for the committer, the listener and migrations.

use std::time::Duration;

use deadpool::managed::QueueMode;
use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Pool, RecyclingMethod};
use futures::{FutureExt as _, TryStreamExt as _, stream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_postgres::{AsyncMessage, Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::tls;
use super::url::Address;

/// The most connections that a node uses by default.
pub const DEFAULT_CONNECTIONS: usize = 64;

/// How long connecting may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// How long sent bytes may stay unacknowledged before a TCP connection counts as lost.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// TLS cannot be set up as asked.
    #[error("TLS to PostgreSQL: {0}")]
    Tls(String),
    /// The server cannot be reached or refuses.
    #[error("cannot connect to PostgreSQL at {address}: {reason}")]
    Refused {
        /// Host, port and database.
        address: String,
        /// What the driver or the server said.
        reason: String,
    },
}

/// A database that Tenure runs on.
#[derive(Clone)]
pub struct Database {
    config: Config,
    address: String,
    tls: MakeRustlsConnect,
    role: Option<String>,
    pool: Pool,
}

/// A connection whose driving task ends with it.
pub struct Connection {
    /// The client.
    pub client: Client,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A connection that is told of commits.
pub struct Listening {
    client: Client,
    notifications: mpsc::Receiver<()>,
    driver: JoinHandle<()>,
}

impl Listening {
    /// Waits for the next notification; `false` when the connection is lost.
    pub async fn notified(&mut self) -> bool {
        self.notifications.recv().await.is_some()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Database {
    /// A database at this address, with at most so many connections in the pool; none is opened yet.
    ///
    /// With a role, every connection acts as it (`SET ROLE`).
    ///
    /// # Errors
    /// TLS cannot be set up as the address asks.
    pub fn new(address: &Address, role: Option<&str>, connections: usize) -> Result<Self, ConnectError> {
        let mut config = address.config.clone();
        config.connect_timeout(CONNECT_WITHIN);
        config.tcp_user_timeout(TCP_USER_TIMEOUT);
        config.keepalives_idle(Duration::from_secs(30));
        let tls = MakeRustlsConnect::new(tls::client_config(address)?);
        let mut pooled = config.clone();
        if pooled.get_application_name().is_none() {
            pooled.application_name("tenure");
        }
        let manager = Manager::from_config(
            pooled,
            tls.clone(),
            ManagerConfig { recycling_method: RecyclingMethod::Fast },
        );
        let role = role.map(str::to_owned);
        let setup = format!("{PLANS}{}", set_role(role.as_deref()));
        let pool = Pool::builder(manager)
            .max_size(connections)
            .queue_mode(QueueMode::Lifo)
            .runtime(deadpool_postgres::Runtime::Tokio1)
            .wait_timeout(Some(CONNECT_WITHIN))
            .create_timeout(Some(CONNECT_WITHIN))
            .post_create(Hook::async_fn(move |client, _| {
                let setup = setup.clone();
                async move { client.batch_execute(&setup).await.map_err(HookError::Backend) }.boxed()
            }))
            .build()
            .map_err(|error| ConnectError::Tls(error.to_string()))?;
        Ok(Self { config, address: address.to_string(), tls, role, pool })
    }

    /// The same database under another role.
    ///
    /// # Errors
    /// As [`Database::new`].
    pub fn with_role(address: &Address, role: Option<&str>) -> Result<Self, ConnectError> {
        Self::new(address, role, DEFAULT_CONNECTIONS)
    }

    /// The connections that read.
    #[must_use]
    pub const fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The role that connections act as, if it is not the login's own.
    #[must_use]
    pub fn role(&self) -> Option<&str> {
        self.role.as_deref()
    }

    /// Opens a connection of its own.
    ///
    /// # Errors
    /// [`ConnectError::Refused`]
    pub async fn connect(&self, name: &str) -> Result<Connection, ConnectError> {
        let mut config = self.config.clone();
        config.application_name(name);
        let (client, connection) =
            config.connect(self.tls.clone()).await.map_err(|error| self.refused(&error))?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to PostgreSQL ended");
            }
        });
        let connection = Connection { client, driver };
        let role = set_role(self.role.as_deref());
        connection.client.batch_execute(&role).await.map_err(|error| self.refused(&error))?;
        Ok(connection)
    }

    /// Opens a connection that listens on a channel.
    ///
    /// # Errors
    /// [`ConnectError::Refused`]
    pub async fn listen(&self, name: &str, channel: &str) -> Result<Listening, ConnectError> {
        let mut config = self.config.clone();
        config.application_name(name);
        let (client, mut connection) =
            config.connect(self.tls.clone()).await.map_err(|error| self.refused(&error))?;
        // One place is enough: a notification only says that there is something to look for.
        let (notify, notifications) = mpsc::channel(1);
        let driver = tokio::spawn(async move {
            let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
            while let Ok(Some(message)) = messages.try_next().await {
                if matches!(message, AsyncMessage::Notification(_)) {
                    let _ = notify.try_send(());
                }
            }
        });
        let listening = Listening { client, notifications, driver };
        let statement = format!("listen {channel}");
        listening.client.batch_execute(&statement).await.map_err(|error| self.refused(&error))?;
        Ok(listening)
    }

    fn refused(&self, error: &tokio_postgres::Error) -> ConnectError {
        let reason = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
        ConnectError::Refused { address: self.address.clone(), reason }
    }
}

/// A question is planned once and by its index, however small the tables were at that time: each has one.
const PLANS: &str = "set plan_cache_mode = force_generic_plan; set enable_seqscan = off; set jit = off;";

/// What every connection does first. Role names are our own constants.
fn set_role(role: Option<&str>) -> String {
    role.map_or_else(String::new, |role| format!("set role {role}"))
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Database({})", self.address)
    }
}
