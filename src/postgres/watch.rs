//! Ends work without a time limit when its server stops answering, and says whom it waits for.

use std::pin::pin;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_postgres::Client;

use super::connect_error::ConnectError;
use super::connection::{Connection, Database};
use super::migrate_error::MigrateError;

/// How often the server is probed, and how long a probe may take.
const EVERY: Duration = Duration::from_secs(5);

/// After so many probes without an answer the server counts as gone. One may be a short stall.
const SILENT: u32 = 3;

/// Probes a server over a connection of its own: the busy one cannot be probed.
pub struct Watch {
    database: Database,
    connection: Option<Connection>,
    /// When the server started, in microseconds since 1970. Another host of the same address, or a server that was promoted in the
    /// place of a frozen one, started at another time.
    started: i64,
    /// The server process that does the work, if the watch is to say whom it waits for.
    process: Option<i32>,
    /// Whom the work waited for at the last probe.
    holders: Option<String>,
}

impl Watch {
    /// Watches the server of this connection, which only the watch uses from now on.
    ///
    /// # Errors
    /// [`tokio_postgres::Error`] if it does not answer.
    pub async fn of(database: &Database, connection: Connection) -> Result<Self, tokio_postgres::Error> {
        let state = state(&connection.client, None).await?;
        let connection = Some(connection);
        Ok(Self {
            database: database.clone(),
            connection,
            started: state.started,
            process: None,
            holders: None,
        })
    }

    /// Also logs which sessions keep this client's waiting for a lock.
    ///
    /// # Errors
    /// [`tokio_postgres::Error`] if the server does not answer.
    pub async fn telling(mut self, client: &Client) -> Result<Self, tokio_postgres::Error> {
        self.process = Some(client.query_one("select pg_backend_pid()", &[]).await?.try_get(0)?);
        Ok(self)
    }

    /// The sessions that the work waited for at the last probe.
    #[must_use]
    pub fn holders(&self) -> Option<&str> {
        self.holders.as_deref()
    }

    /// Runs work without a time limit, for as long as the server answers.
    ///
    /// # Errors
    /// [`MigrateError::TimedOut`] if the server stops answering.
    pub async fn during<T>(&mut self, work: impl Future<Output = T>) -> Result<T, MigrateError> {
        // The work goes on while the server is probed: it may hold locks.
        tokio::select! {
            biased;
            done = pin!(work) => Ok(done),
            () = self.silence() => Err(MigrateError::TimedOut),
        }
    }

    /// Ends when the server no longer answers.
    async fn silence(&mut self) {
        let mut silent = 0;
        while silent < SILENT {
            sleep(EVERY).await;
            silent = if self.answers().await { 0 } else { silent + 1 };
        }
    }

    async fn answers(&mut self) -> bool {
        let answered = timeout(EVERY, self.ask()).await.unwrap_or(false);
        if !answered {
            // The connection may be gone and the server not.
            self.connection = None;
        }
        answered
    }

    async fn ask(&mut self) -> bool {
        let connection = match &self.connection {
            Some(connection) => connection,
            None => match self.database.connect("tenure watch", "").await {
                Ok(connection) => self.connection.insert(connection),
                // Such as "too many clients". Of several hosts another one may have said so.
                Err(ConnectError::Refused { answered: true, .. }) => return self.database.has_one_host(),
                Err(_) => return false,
            },
        };
        let Ok(state) = state(&connection.client, self.process).await else { return false };
        if let Some(holders) = &state.holders {
            tracing::warn!(
                holders,
                "waiting for a lock that other sessions hold, or for the end of their transactions"
            );
        }
        self.holders = state.holders;
        state.started == self.started
    }
}

/// What a probe finds out.
struct State {
    started: i64,
    holders: Option<String>,
}

async fn state(client: &Client, process: Option<i32>) -> Result<State, tokio_postgres::Error> {
    let sql = "select (extract(epoch from pg_postmaster_start_time()) * 1000000)::bigint,
                      (select string_agg(distinct format('process %s (%s, %s)', b.pid,
                                                         coalesce(nullif(a.application_name, ''), 'unnamed'), a.usename), ', ')
                       from unnest(pg_blocking_pids($1)) b(pid) left join pg_stat_activity a on a.pid = b.pid)";
    let row = client.query_one(sql, &[&process]).await?;
    Ok(State { started: row.try_get(0)?, holders: row.try_get(1)? })
}
