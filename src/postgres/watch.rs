//! Ends work without a time limit when its server stops answering.

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
}

impl Watch {
    /// Watches the server of this connection, which only the watch uses from now on.
    ///
    /// # Errors
    /// [`tokio_postgres::Error`] if it does not answer.
    pub async fn of(database: &Database, connection: Connection) -> Result<Self, tokio_postgres::Error> {
        let started = started(&connection.client).await?;
        Ok(Self { database: database.clone(), connection: Some(connection), started })
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
        started(&connection.client).await.is_ok_and(|started| started == self.started)
    }
}

async fn started(client: &Client) -> Result<i64, tokio_postgres::Error> {
    let sql = "select (extract(epoch from pg_postmaster_start_time()) * 1000000)::bigint";
    client.query_one(sql, &[]).await?.try_get(0)
}
