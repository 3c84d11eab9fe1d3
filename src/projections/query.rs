//! The base of all typed queries: one statement per query, on the primary or on tables as they were, and one error type.

use std::sync::Arc;

use tokio::time::timeout;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::aggregates::ClaimHasher;
use crate::credentials::key_ring::KeyRing;
use crate::event_log::{Primary, PrimaryError, ReadError};
use crate::postgres::{Connection, STATEMENT_TIMEOUT};

/// Why a query returned no result.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// No row matches the query.
    #[error("not found")]
    NotFound,
    /// The database could not be read.
    #[error(transparent)]
    Unavailable(#[from] ReadError),
}

impl From<tokio_postgres::Error> for QueryError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Unavailable(error.into())
    }
}

/// Queries the projections. Clones share the connections.
#[derive(Clone)]
pub struct Reader {
    primary: Primary,
    keys: Arc<KeyRing>,
    /// Reads the tables as they were instead of the live ones.
    past: Option<Past>,
}

/// A connection whose temporary tables are the projections as they were at a position.
#[derive(Clone)]
struct Past {
    connection: Arc<Connection>,
    position: i64,
}

impl Reader {
    /// A reader on this primary; `keys` are the key ring of its log.
    #[must_use]
    pub const fn new(primary: Primary, keys: Arc<KeyRing>) -> Self {
        Self { primary, keys, past: None }
    }

    /// A reader on the temporary tables of this connection, which are the projections as they were at a position.
    #[must_use]
    pub(crate) const fn of_past(
        primary: Primary,
        keys: Arc<KeyRing>,
        connection: Arc<Connection>,
        position: i64,
    ) -> Self {
        Self { primary, keys, past: Some(Past { connection, position }) }
    }

    /// Hashes names into claim keys, because rows are found by name only through the claims.
    pub(super) fn hasher(&self) -> &dyn ClaimHasher {
        &*self.keys
    }

    /// The newest position, at which a list begins that shows only rows that exist by then.
    pub(super) async fn newest(&self) -> Result<i64, QueryError> {
        if let Some(past) = &self.past {
            return Ok(past.position);
        }
        let sql = "select coalesce((select position from log.event order by position desc limit 1), 0)";
        self.one(sql, &[], |row| row.try_get(0)).await
    }

    pub(super) async fn rows(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, QueryError> {
        if let Some(past) = &self.past {
            // Temporary tables have a schema of their own.
            let sql = sql.replace("view.", "pg_temp.").replace("coarse.", "pg_temp.");
            let asked = timeout(STATEMENT_TIMEOUT, past.connection.client.query(&sql, parameters)).await;
            let late = |_| ReadError::from(PrimaryError::TimedOut(STATEMENT_TIMEOUT));
            return Ok(asked.map_err(late)??);
        }
        Ok(self.primary.rows(sql, parameters).await?)
    }

    pub(super) async fn list<T>(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
        read: fn(&Row) -> Result<T, tokio_postgres::Error>,
    ) -> Result<Vec<T>, QueryError> {
        self.rows(sql, parameters).await?.iter().map(|row| read(row).map_err(QueryError::from)).collect()
    }

    pub(super) async fn one<T>(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
        read: fn(&Row) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, QueryError> {
        self.list(sql, parameters, read).await?.into_iter().next().ok_or(QueryError::NotFound)
    }

    pub(super) async fn count(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<u32, QueryError> {
        let count: i64 = self.one(sql, parameters, |row| row.try_get(0)).await?;
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }
}
