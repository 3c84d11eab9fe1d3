//! Recognising a connection pooler that gives each transaction another server session: session settings, prepared
//! statements, LISTEN and advisory locks are lost behind it, mostly without an error.

use tokio_postgres::{Client, SimpleQueryMessage};

/// Whether two open connections share a server session: only a pooler in transaction or statement mode lets them.
///
/// # Errors
/// One of the connections fails.
pub(super) async fn shares_sessions(one: &Client, two: &Client) -> Result<bool, tokio_postgres::Error> {
    let before = session(one, "select pg_backend_pid()").await?;
    // Takes the session that the other connection has just left, if it has left it.
    let other = match session(two, "begin; select pg_backend_pid()").await {
        Ok(other) => other,
        // In statement mode PgBouncer ends a connection that begins a transaction; no server does.
        Err(error) if error.as_db_error().is_some_and(|refused| refused.severity() == "FATAL") => {
            return Ok(true);
        }
        Err(error) => return Err(error),
    };
    let shares = before == other || session(one, "select pg_backend_pid()").await? != before;
    two.batch_execute("rollback").await?;
    Ok(shares)
}

/// The process of the server that answers. Not prepared: behind such a pooler that may fail.
async fn session(client: &Client, sql: &str) -> Result<Option<String>, tokio_postgres::Error> {
    let answer = client.simple_query(sql).await?;
    Ok(answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    }))
}
