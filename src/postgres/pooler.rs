//! Detects a connection pooler in transaction or statement mode, which loses session settings, prepared statements,
//! LISTEN and advisory locks, mostly without an error.

use tokio_postgres::{Client, SimpleQueryMessage};

/// Whether two open connections share a server session; only a pooler in transaction or statement mode does that.
///
/// # Errors
/// [`tokio_postgres::Error`] if one of the connections fails.
pub(super) async fn shares_sessions(one: &Client, two: &Client) -> Result<bool, tokio_postgres::Error> {
    let before = session(one, "select pg_backend_pid()").await?;
    // A pooler that hands its sessions out in turn gives one connection another session each time.
    if session(one, "select pg_backend_pid()").await? != before {
        return Ok(true);
    }
    // An open transaction pins the session: if the pooler has just got it back from `one`, `two` gets that session.
    let other = match session(two, "begin; select pg_backend_pid()").await {
        Ok(other) => other,
        // In statement mode, PgBouncer closes a connection that begins a transaction; PostgreSQL never does.
        Err(error) if error.as_db_error().is_some_and(|refused| refused.severity() == "FATAL") => {
            return Ok(true);
        }
        Err(error) => return Err(error),
    };
    // `one` answers from another session only if a pooler gave its first one to another client.
    let shares = before == other || session(one, "select pg_backend_pid()").await? != before;
    two.batch_execute("rollback").await?;
    Ok(shares)
}

/// The server process that answers. Uses the simple protocol: a prepared statement may fail behind such a pooler.
async fn session(client: &Client, sql: &str) -> Result<Option<String>, tokio_postgres::Error> {
    let answer = client.simple_query(sql).await?;
    Ok(answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    }))
}
