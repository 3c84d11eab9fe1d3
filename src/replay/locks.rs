//! Locks that others hold on the tables that a rebuild needs.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::sleep;
use tokio_postgres::Client;

use super::error::{ReplayError, is_lock};
use crate::clock::Stopwatch;
use crate::event_log::rows::Table;
use crate::postgres::migrate::MIGRATE;

/// How long a transaction must hold a lock on `view` before it is named: every query of a node holds one for some
/// milliseconds.
const LONG_HELD: Duration = Duration::from_secs(1);

/// Maintenance takes this lock on a table, and other locks on its indexes. An index that is built concurrently takes it, too, and would be
/// built on the table that is replaced; so would statistics.
const IS_MAINTENANCE: &str = "(c.relkind in ('i', 'I')
     or l.mode = 'ShareUpdateExclusiveLock'
        and (a.backend_type is not distinct from 'autovacuum worker'
             or exists (select from pg_stat_progress_vacuum p where p.pid = l.pid)
             or exists (select from pg_stat_progress_analyze p where p.pid = l.pid)))";

/// Who has the lock `l`, as session `a`.
const HOLDER: &str = "case when l.pid is null then 'a prepared transaction, see pg_prepared_xacts'
     else format('process %s (%s, %s)', l.pid, coalesce(nullif(a.application_name, ''), 'unnamed'), a.usename) end";

/// Waits until the transactions that hold a lock on the tables of `view` have ended, at most this long. Returns those that
/// have not. Such a transaction may be a dump, which would find the fresh tables under their names, but none of their rows. Maintenance, such
/// as `vacuum`, reads no row for anybody: it is waited for only if the swap needs the locks that it has.
pub(super) async fn wait_for_others(
    client: &Client,
    with_maintenance: bool,
    most: Duration,
    tell: &(dyn Fn(&[String]) + Sync),
) -> Result<Vec<String>, ReplayError> {
    // By virtual transaction, which everybody may see: the time at which another login's transaction began is hidden.
    let sql = format!(
        "select distinct l.virtualtransaction, {HOLDER}
               from pg_locks l
               left join pg_class c on c.oid = l.relation and c.relnamespace = 'view'::regnamespace
               left join pg_stat_activity a on a.pid = l.pid
               where l.granted and l.pid is distinct from pg_backend_pid()
                 and (l.locktype = 'relation' and c.oid is not null and ($1 or not {IS_MAINTENANCE})
                      -- An object that is being created locks the schema itself; until the commit, nothing else shows it.
                      or l.locktype = 'object' and l.classid = 'pg_namespace'::regclass
                         and l.objid = 'view'::regnamespace)
                 and l.database = (select oid from pg_database where datname = current_database())"
    );
    let waited = Stopwatch::start();
    // When each was first seen; none for those of the first look, which may have begun long before.
    let mut seen: HashMap<String, Option<Stopwatch>> = HashMap::new();
    loop {
        let is_first = seen.is_empty();
        let mut names = Vec::new();
        let mut standing = HashMap::new();
        for row in client.query(&sql, &[&with_maintenance]).await? {
            let (transaction, name): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            let since = match seen.remove(&transaction) {
                Some(since) => since,
                None if is_first => None,
                None => Some(Stopwatch::start()),
            };
            // The queries of nodes come and go.
            if since.as_ref().is_none_or(|since| since.elapsed() >= LONG_HELD) {
                names.push(name);
            }
            standing.insert(transaction, since);
        }
        seen = standing;
        if names.is_empty() || waited.elapsed() >= most {
            return Ok(names);
        }
        if waited.elapsed() >= LONG_HELD {
            tell(&names);
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Runs statements in one transaction once they can have their locks, which others, such as a dump, may hold for long. Each try waits only
/// briefly, because later sessions queue behind it. Returns who holds the locks if `most` has passed since `waited` began.
pub(super) async fn when_free(
    client: &Client,
    (schema, statements): (&str, &str),
    (waited, most): (&Stopwatch, Duration),
    tell: &(dyn Fn(&[String]) + Sync),
) -> Result<Option<String>, ReplayError> {
    loop {
        let transaction = format!("begin; set local lock_timeout = '500ms'; {statements}; commit");
        match client.batch_execute(&transaction).await {
            Ok(()) => return Ok(None),
            Err(error) if is_lock(&error) => client.batch_execute("rollback").await?,
            Err(error) => return Err(error.into()),
        }
        let holders = holders(client, &[schema]).await?;
        if waited.elapsed() >= most {
            return Ok(Some(holders));
        }
        tell(&[holders]);
        sleep(Duration::from_millis(50)).await;
    }
}

/// Who holds locks on what is in these schemas, for messages.
pub(super) async fn holders(client: &Client, schemas: &[&str]) -> Result<String, ReplayError> {
    let sql = format!(
        "select coalesce(string_agg(distinct {HOLDER}, ', '), 'unknown')
               from pg_locks l join pg_class c on c.oid = l.relation and c.relnamespace::regnamespace::text = any ($1)
               left join pg_stat_activity a on a.pid = l.pid
               where l.granted and l.pid is distinct from pg_backend_pid()
                 and l.database = (select oid from pg_database where datname = current_database())"
    );
    Ok(client.query_one(&sql, &[&schemas]).await?.try_get(0)?)
}

/// Keeps others from changing these live tables until the end of the transaction, and returns those who are changing one already: an
/// index, a trigger or statistics of theirs would be put on the table that is replaced, where nobody finds it. A start of a node that mends
/// an index does it again.
pub(super) async fn changing(
    client: &Client,
    tables: &[&'static Table],
) -> Result<Option<String>, ReplayError> {
    let names: Vec<&str> = tables.iter().map(|table| table.name).collect();
    let sql = "select string_agg(c.oid::regclass::text, ', ' order by c.relname) from pg_class c
               where c.relnamespace = 'view'::regnamespace and c.relkind = 'r' and c.relname = any ($1)";
    let live: Option<String> = client.query_one(sql, &[&names]).await?.try_get(0)?;
    let Some(live) = live else { return Ok(None) };
    // As a writer of rows: who reads or writes them is not disturbed, and who creates an index or a trigger waits.
    client.batch_execute(&format!("lock table {live} in row exclusive mode")).await?;
    let sql = format!(
        "select string_agg(distinct {HOLDER}, ', ')
         from pg_locks l join pg_class c on c.oid = l.relation and c.relnamespace = 'view'::regnamespace and c.relname = any ($1)
         left join pg_stat_activity a on a.pid = l.pid
         where l.granted and l.mode = 'ShareUpdateExclusiveLock' and not {IS_MAINTENANCE}
           and l.pid is distinct from pg_backend_pid() and a.application_name is distinct from '{MIGRATE}'
           and l.database = (select oid from pg_database where datname = current_database())"
    );
    Ok(client.query_one(&sql, &[&names]).await?.try_get(0)?)
}
