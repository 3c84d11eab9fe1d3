//! Ends work without a time limit when its server stops answering.

use std::pin::pin;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_postgres::Client;

use super::connection::{Connection, Database};
use super::migrate_error::MigrateError;

/// How often the server is probed, and how long a probe may take.
const EVERY: Duration = Duration::from_secs(5);

/// After so many probes without an answer the server counts as gone. One may be a short stall.
const SILENT: u32 = 3;

/// When a server started. Another host of the same address, or a server that was promoted in the place of a frozen one, started at
/// another time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ServerStart {
    micros_since_1970: i64,
}

impl ServerStart {
    /// Asks a server.
    ///
    /// # Errors
    /// [`tokio_postgres::Error`] if it does not answer.
    pub async fn of(client: &Client) -> Result<Self, tokio_postgres::Error> {
        let sql = "select (extract(epoch from pg_postmaster_start_time()) * 1000000)::bigint";
        Ok(Self { micros_since_1970: client.query_one(sql, &[]).await?.try_get(0)? })
    }
}

/// Runs work without a time limit, for as long as its server answers another connection.
///
/// # Errors
/// [`MigrateError::TimedOut`] if the server stops answering.
pub async fn while_alive<T>(
    database: &Database,
    server: ServerStart,
    work: impl Future<Output = T>,
) -> Result<T, MigrateError> {
    let mut watch = Watch { database, server, connection: None };
    // The work goes on while the server is probed: it may hold locks.
    tokio::select! {
        biased;
        done = pin!(work) => Ok(done),
        () = watch.silence() => Err(MigrateError::TimedOut),
    }
}

/// Probes a server over a connection of its own: the busy one cannot be probed.
struct Watch<'a> {
    database: &'a Database,
    server: ServerStart,
    connection: Option<Connection>,
}

impl Watch<'_> {
    /// Ends when the server no longer answers.
    async fn silence(&mut self) {
        let mut silent = 0;
        while silent < SILENT {
            sleep(EVERY).await;
            silent = if self.answers().await { 0 } else { silent + 1 };
        }
    }

    async fn answers(&mut self) -> bool {
        let answered = timeout(EVERY, self.ask()).await.ok().flatten() == Some(self.server);
        if !answered {
            // The connection may be gone and the server not.
            self.connection = None;
        }
        answered
    }

    async fn ask(&mut self) -> Option<ServerStart> {
        let connection = match &self.connection {
            Some(connection) => connection,
            None => self.connection.insert(self.database.connect("tenure watch", "").await.ok()?),
        };
        ServerStart::of(&connection.client).await.ok()
    }
}
