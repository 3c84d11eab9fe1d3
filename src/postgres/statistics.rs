//! Removes statistics that PostgreSQL has of columns that are to have none: they keep values long after their rows are gone.

use std::time::Duration;

use tokio::time::sleep;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

/// How long it may wait for a table, because every later reader queues behind it, and how long it may keep the table while indexes
/// of expressions are built again.
const SETTINGS: &str = "set local lock_timeout = '50ms'; set local statement_timeout = '1s'";

/// How many times it is tried while others hold the table, and the pause between tries. Few: a dump holds all tables for as long as it
/// takes, and no start waits for that.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(200);

/// Runs the statements that remove statistics of a table. `false` if that is not possible now: the next start tries it again.
pub(super) async fn forget(
    client: &Client,
    table: &str,
    statements: &str,
) -> Result<bool, tokio_postgres::Error> {
    let sql = format!("begin; {SETTINGS}; {statements} commit");
    for tries_left in (0..TRIES).rev() {
        let Err(error) = client.batch_execute(&sql).await else { return Ok(true) };
        client.batch_execute("rollback").await?;
        if tries_left > 0 && error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) {
            sleep(PAUSE).await;
            continue;
        }
        let reason = super::statement_reason(&error);
        tracing::warn!(
            table,
            reason,
            "PostgreSQL still has statistics of values that may be gone; the next start tries again to remove them"
        );
        break;
    }
    Ok(false)
}

/// Removes those of tables outside `view`.
pub(super) async fn forget_of_log(client: &Client) -> Result<(), tokio_postgres::Error> {
    // The same type again rewrites nothing.
    let sql = "select s.schemaname || '.' || s.tablename,
                      string_agg(format('alter table %I.%I alter column %I type %s, alter column %3$I set statistics 0;',
                                        s.schemaname, s.tablename, s.attname, format_type(a.atttypid, a.atttypmod)), ' ')
               from pg_stats s
               join pg_class c on c.relname = s.tablename
               join pg_namespace n on n.oid = c.relnamespace and n.nspname = s.schemaname
               join pg_attribute a on a.attrelid = c.oid and a.attname = s.attname
               where s.schemaname in ('log', 'coarse') and a.attstattarget = 0
               group by 1";
    for row in client.query(sql, &[]).await? {
        let (table, statements): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        forget(client, &table, &statements).await?;
    }
    Ok(())
}
