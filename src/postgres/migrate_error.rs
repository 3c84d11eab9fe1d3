//! Why a database could not be brought up to this release.

use std::time::Duration;

use super::connect_error::ConnectError;
use super::version::TooOld;

/// How long another node may hold the migration lock.
pub(super) const LOCK_TIMEOUT: Duration = Duration::from_mins(10);

/// Why a database could not be brought up to this release.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server is too old.
    #[error(transparent)]
    TooOld(#[from] TooOld),
    /// The address leads to a pooler that does not keep sessions.
    #[error(
        "DATABASE_URL leads to a connection pooler in transaction mode (PgBouncer: pool_mode), behind which session \
         settings and locks are lost: connect to PostgreSQL itself, or set pool_mode = session"
    )]
    Pooler,
    /// The database was migrated by a newer release.
    #[error(
        "the database has schema version {database}, this release knows {binary}: \
         run the release that made it, or a newer one"
    )]
    NewerSchema {
        /// The version of the database.
        database: i64,
        /// The newest version that this binary knows.
        binary: i64,
    },
    /// The database does not store text as UTF-8.
    #[error("the database is encoded as {0}; create one with `encoding 'UTF8' template template0`")]
    Encoding(String),
    /// The projections of another release are there, and other nodes still maintain them.
    #[error(
        "the database holds the projections of another release ({database}), and {nodes} other connections of Tenure use \
         them: stop all nodes, then run `tenure migrate`"
    )]
    NodesRunning {
        /// The set in the database.
        database: String,
        /// How many connections of other nodes there are.
        nodes: i64,
    },
    /// Another node has held the migration lock for too long.
    #[error("another connection ({holder}) has held the migration lock for {} s: end it, then try again", LOCK_TIMEOUT.as_secs())]
    Locked {
        /// Its process and application name.
        holder: String,
    },
    /// The login may not do what has to be done.
    #[error("{0}; migrate once with a login that owns the database, or that may create roles")]
    Denied(String),
    /// The role that serves may not write.
    #[error(
        "the role `{role}` may not write to the log: migrate once with a login that owns the database, or grant it \
         membership of `tenure_app`"
    )]
    MayNotWrite {
        /// The role.
        role: String,
    },
    /// A migration failed; nothing of it remains.
    #[error("a migration failed: {0}")]
    Migration(#[source] Box<refinery::Error>),
    /// A statement failed.
    #[error("preparing the database failed: {}", crate::postgres::statement_reason(.0))]
    Statement(#[source] tokio_postgres::Error),
    /// The server stopped answering.
    #[error("PostgreSQL stopped answering while the database was being prepared")]
    TimedOut,
}

impl From<tokio_postgres::Error> for MigrateError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(refused) if refused.code().code() == "42501" => Self::Denied(refused.message().to_owned()),
            _ => Self::Statement(error),
        }
    }
}
