//! The error of migrating a database.

use std::time::Duration;

use super::connect_error::ConnectError;
use super::version::TooOld;

/// How long to wait for another node that holds the migration lock.
pub(super) const LOCK_TIMEOUT: Duration = Duration::from_mins(10);

/// Why a database could not be migrated to this release.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The connection failed.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server is too old.
    #[error(transparent)]
    TooOld(#[from] TooOld),
    /// The address leads to a connection pooler in transaction or statement mode.
    #[error(
        "DATABASE_URL leads to a connection pooler in transaction mode, which loses session settings and locks: \
         connect to PostgreSQL directly, or set pool_mode = session in PgBouncer"
    )]
    Pooler,
    /// The database was migrated by a newer release.
    #[error(
        "the database has schema version {database}, but this release supports versions up to {binary}: run the \
         release that migrated the database, or a newer one"
    )]
    NewerSchema {
        /// The schema version of the database.
        database: i64,
        /// The newest schema version that this binary contains.
        binary: i64,
    },
    /// The database does not store text as UTF-8.
    #[error(
        "the database encoding is {0}, but Tenure needs UTF8; create a database with `encoding 'UTF8' template \
         template0`"
    )]
    Encoding(String),
    /// The database has the projections of a newer release.
    #[error(
        "the database holds the projections of a newer release ({database}): run that release, or go back to this one \
         with its `tenure projections rebuild`"
    )]
    NewerProjections {
        /// The name of the projection set in the database.
        database: String,
    },
    /// The database has the projections of another release, and other nodes still maintain them.
    #[error(
        "the database holds the projections of another release ({database}), and {nodes} nodes that cannot be asked to \
         stop writing use them: stop all nodes, then run `tenure migrate`"
    )]
    NodesRunning {
        /// The name of the projection set in the database.
        database: String,
        /// The number of such nodes.
        nodes: i64,
    },
    /// The database has the projections of another release, which nodes serve, and a command would replace them.
    #[error(
        "the database holds the projections of another release ({database}), which {nodes} nodes serve: use that release's \
         program, or start a node of this release to upgrade"
    )]
    NodesServing {
        /// The name of the projection set in the database.
        database: String,
        /// The number of such nodes.
        nodes: i64,
    },
    /// Another connection has held the migration lock for more than ten minutes.
    #[error(
        "another connection ({holder}) has held the migration lock for {} s: check what it does, terminate it if it is \
         stuck, then try again",
        LOCK_TIMEOUT.as_secs()
    )]
    Locked {
        /// The server process and the application name of that connection.
        holder: String,
    },
    /// Other sessions have kept an index from being built for more than ten minutes.
    #[error(
        "an index cannot be built, because other sessions hold the table or have had a transaction open for ten minutes: {0}; wait \
         until they end, or terminate them, then try again"
    )]
    Blocked(String),
    /// The login lacks a privilege that migrating needs (SQLSTATE 42501).
    #[error("{0}; run `tenure migrate` once with a login that owns the database or can create roles")]
    Denied(String),
    /// The serving role lacks privileges on the log.
    #[error(
        "the role `{role}` may not write to the log: run `tenure migrate` once with a login that owns the database, or \
         grant the role `tenure_app` to it"
    )]
    MayNotWrite {
        /// The name of the serving role.
        role: String,
    },
    /// A migration failed and was rolled back.
    #[error("a migration failed and was rolled back; fix the cause, then run `tenure migrate` again: {0}")]
    Migration(#[source] Box<refinery::Error>),
    /// A statement outside the migrations failed.
    #[error("cannot prepare the database: {}", crate::postgres::statement_reason(.0))]
    Statement(#[source] tokio_postgres::Error),
    /// The server stopped answering.
    #[error(
        "PostgreSQL stopped answering while the database was being prepared; check the server, then try again"
    )]
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
