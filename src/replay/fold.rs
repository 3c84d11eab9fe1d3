//! Rebuilds the tables of schema `view` by folding the whole log into them, in one transaction and while no node runs.

use std::collections::HashMap;

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Transaction};
use uuid::Uuid;

use crate::aggregates::ClaimHasher;
use crate::clock::Timestamp;
use crate::codec::{Codec, CodecError};
use crate::event_log::claim::{ClaimChange, ClaimKey};
use crate::event_log::row_sql::{self, Application};
use crate::event_log::rows::{RowChange, Table, coalesce};
use crate::event_log::{FromLog as _, Primary, RecordedEvent};
use crate::postgres::migrate::{MigrateError, definition_of, is_index_of_ours};
use crate::projections;

/// How many events are read, decoded and applied at a time. Bounds the memory used.
const PAGE: i64 = 5_000;

/// Why the projections could not be rebuilt. The transaction is rolled back, so the tables are unchanged.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    /// The server stopped answering, or the connection cannot be used.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// An object that is not Tenure's depends on a table that must be rebuilt.
    #[error(
        "the projections cannot be rebuilt while other objects depend on them: {0}; drop these objects, migrate, then \
         create them again"
    )]
    InUse(String),
    /// The database refused a statement.
    #[error("the projections could not be rebuilt: {}", crate::postgres::statement_reason(.0))]
    Statement(#[source] tokio_postgres::Error),
    /// An event in the log cannot be decoded.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// An event's stream type is one of Tenure's, but its stream id is not a UUID.
    #[error("event {position} belongs to no aggregate of Tenure: its stream id `{stream}` is not a UUID")]
    Stream {
        /// The position of the event.
        position: i64,
        /// The stream id of the event.
        stream: String,
    },
}

impl From<tokio_postgres::Error> for FoldError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            // 2BP01 dependent_objects_still_exist: a `drop` met objects that use the table.
            Some(refused) if refused.code().code() == "2BP01" => {
                Self::InUse(refused.detail().unwrap_or(refused.message()).replace('\n', "; "))
            }
            _ => Self::Statement(error),
        }
    }
}

/// Replaces the tables of `former_set` by this release's, rebuilt from all events. Calls `progress` with the number of
/// events done and the total.
///
/// # Errors
/// [`FoldError`]; the tables are then unchanged.
pub async fn fold(
    client: &mut Client,
    former_set: &str,
    codec: &Codec,
    primary: &Primary,
    progress: impl Fn(u64, u64),
) -> Result<(), FoldError> {
    let transaction = client.transaction().await?;
    // Blocks all appends until the end. No node should be running, but one that is must not append events that the fold
    // would miss.
    transaction.execute("select from log.head for update", &[]).await?;
    let newest: i64 =
        transaction.query_one("select coalesce(max(position), 0) from log.event", &[]).await?.try_get(0)?;
    let names = table_names(former_set);
    // Read before the tables are dropped, because dropping a table also drops its grants, indexes and triggers.
    let theirs = objects_of_others(&transaction, &names).await?;
    drop_former(&transaction, &names).await?;
    for table in projections::TABLES {
        for statement in [
            row_sql::create_table(table, "view"),
            row_sql::storage(table, "view"),
            row_sql::apply_function(table, "view"),
        ] {
            transaction.batch_execute(&statement).await?;
        }
    }
    let mut done = 0;
    while done < newest {
        let events = page(&transaction, done).await?;
        let Some(last) = events.last() else { break };
        done = last.position;
        apply(&transaction, &events, codec, primary).await?;
        progress(done.unsigned_abs(), newest.unsigned_abs());
    }
    // After the rows: building an index once is faster than updating it for every row.
    for table in projections::TABLES {
        for index in row_sql::indexes(table, "view", "") {
            transaction.batch_execute(&index).await?;
        }
    }
    for statement in theirs {
        transaction.batch_execute(&statement).await?;
    }
    let sql = "update log.head set projection_set = $1, view_definition = $2";
    transaction.execute(sql, &[&projections::set_name(), &definition_of(projections::TABLES)]).await?;
    transaction.commit().await?;
    // New tables have no statistics, and the planner would choose bad plans.
    for table in projections::TABLES {
        client.batch_execute(&format!("analyze view.{}", table.name)).await?;
    }
    Ok(())
}

/// The names of the tables of a set and of this release, sorted and without duplicates.
fn table_names(set: &str) -> Vec<&str> {
    let former = set.split(',').filter_map(|table| table.split(':').next());
    let mut names: Vec<&str> = former.chain(projections::TABLES.iter().map(|table| table.name)).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The statements that recreate other owners' grants, indexes and triggers on the new tables.
///
/// # Errors
/// [`FoldError::InUse`] for objects that cannot be recreated: policies and publications.
async fn objects_of_others(transaction: &Transaction<'_>, names: &[&str]) -> Result<Vec<String>, FoldError> {
    let sql = "select format('the policy %I on %s', p.polname, p.polrelid::regclass) from pg_policy p
               join pg_class c on c.oid = p.polrelid
               where c.relnamespace = 'view'::regnamespace and c.relname = any ($1)
               union all
               select format('the publication %I of %s', b.pubname, r.prrelid::regclass) from pg_publication_rel r
               join pg_publication b on b.oid = r.prpubid join pg_class c on c.oid = r.prrelid
               where c.relnamespace = 'view'::regnamespace and c.relname = any ($1)";
    let rows = transaction.query(sql, &[&names]).await?;
    if !rows.is_empty() {
        let kept: Result<Vec<String>, _> = rows.iter().map(|row| row.try_get(0)).collect();
        return Err(FoldError::InUse(kept?.join("; ")));
    }
    let mut statements = Vec::new();
    // Only for tables that stay: objects on the others are removed with their table.
    let stays: Vec<&str> = projections::TABLES.iter().map(|table| table.name).collect();
    let sql = "select format('grant %s on view.%I to %s%s', a.privilege_type, c.relname,
                             case a.grantee when 0 then 'public' else quote_ident(a.grantee::regrole::text) end,
                             case when a.is_grantable then ' with grant option' else '' end)
               from pg_class c cross join aclexplode(c.relacl) a
               where c.relnamespace = 'view'::regnamespace and c.relname = any ($1) and a.grantee <> c.relowner
                 and a.grantee not in (select oid from pg_roles where rolname = 'tenure_app')
               union all
               select pg_get_triggerdef(t.oid) from pg_trigger t join pg_class c on c.oid = t.tgrelid
               where c.relnamespace = 'view'::regnamespace and c.relname = any ($1) and not t.tgisinternal";
    for row in transaction.query(sql, &[&stays]).await? {
        statements.push(row.try_get(0)?);
    }
    let sql = "select t.relname::text, c.relname::text, pg_get_indexdef(i.indexrelid)
               from pg_index i join pg_class c on c.oid = i.indexrelid join pg_class t on t.oid = i.indrelid
               where t.relnamespace = 'view'::regnamespace and t.relname = any ($1) and not i.indisprimary";
    for row in transaction.query(sql, &[&stays]).await? {
        let (table, index): (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
        let is_ours =
            projections::TABLES.iter().any(|ours| ours.name == table && is_index_of_ours(index, ours));
        if !is_ours {
            statements.push(row.try_get(2)?);
        }
    }
    Ok(statements)
}

/// Drops the tables of a set and their functions. Fails if other objects depend on one of them.
async fn drop_former(transaction: &Transaction<'_>, names: &[&str]) -> Result<(), FoldError> {
    let sql = "select format('drop function %s', p.oid::regprocedure) from pg_proc p
               where p.pronamespace = 'view'::regnamespace and p.proname = any ($1)";
    // Functions first: they use the row types of the tables.
    let functions: Vec<String> = names.iter().map(|name| format!("{name}_apply")).collect();
    for row in transaction.query(sql, &[&functions]).await? {
        transaction.batch_execute(row.try_get(0)?).await?;
    }
    let sql = "select format('drop table view.%I', c.relname) from pg_class c
               where c.relnamespace = 'view'::regnamespace and c.relkind = 'r' and c.relname = any ($1)";
    for row in transaction.query(sql, &[&names]).await? {
        transaction.batch_execute(row.try_get(0)?).await?;
    }
    Ok(())
}

async fn page(transaction: &Transaction<'_>, after: i64) -> Result<Vec<RecordedEvent>, FoldError> {
    let columns = RecordedEvent::COLUMNS;
    let sql = format!("select {columns} from log.event where position > $1 order by position limit $2");
    let rows = transaction.query(&sql, &[&after, &PAGE]).await?;
    Ok(rows.iter().map(RecordedEvent::from_row).collect::<Result<_, _>>()?)
}

/// Applies the row changes and claims of these events to the tables.
async fn apply(
    transaction: &Transaction<'_>,
    events: &[RecordedEvent],
    codec: &Codec,
    primary: &Primary,
) -> Result<(), FoldError> {
    // Foreign aggregates in the same log have no projections here.
    let ours: Vec<RecordedEvent> = events
        .iter()
        .filter(|event| crate::aggregates::STREAM_TYPES.contains(&&*event.stream.stream_type))
        .cloned()
        .collect();
    let hasher: &dyn ClaimHasher = &**codec.keys();
    let mut changes: Vec<(i64, RowChange)> = Vec::new();
    let mut claims: Vec<(i64, ClaimChange)> = Vec::new();
    for (stored, event) in ours.iter().zip(codec.decode(&ours, primary).await?) {
        let stream: Uuid = stored.stream.id.parse().map_err(|_| FoldError::Stream {
            position: stored.position,
            stream: stored.stream.id.to_string(),
        })?;
        let rows = projections::changes(stream, &event);
        changes.extend(rows.into_iter().map(|change| (stored.position, change)));
        claims.extend(event.claims(stream, hasher).into_iter().map(|change| (stored.position, change)));
    }
    // One change per row: a row that changes many times in a page is written once.
    let coalesced = coalesce(changes.iter().map(|(position, change)| (*position, change)));
    let applications = row_sql::applications(&coalesced);
    let tables: Vec<&'static Table> = applications.iter().map(|application| application.table).collect();
    let calls = row_sql::calls(&tables, "view", 1);
    let sql = format!("select a.base{calls} from (select 0::bigint as base) a");
    let arguments: Vec<&(dyn ToSql + Sync)> = applications.iter().flat_map(Application::arguments).collect();
    transaction.query(&sql, &arguments).await?;
    apply_claims(transaction, claims).await
}

/// Who holds a claim, until when, and the position of the event that took it. No end: until it is released.
type Held = (String, Option<Timestamp>, i64);

async fn apply_claims(
    transaction: &Transaction<'_>,
    changes: Vec<(i64, ClaimChange)>,
) -> Result<(), FoldError> {
    let mut after: HashMap<ClaimKey, Option<Held>> = standing(transaction, &changes).await?;
    for (position, change) in changes {
        match change {
            ClaimChange::Take(claim) => {
                after.insert(claim.key, Some((claim.holder, claim.free_after, position)));
            }
            ClaimChange::Release { key, holder } => {
                // A release by a former holder has no effect: another one may have taken the claim over.
                if matches!(after.get(&key), Some(Some((former, _, _))) if *former == holder) {
                    after.insert(key, None);
                }
            }
        }
    }
    // All touched claims are deleted and those still held inserted again: one page takes two statements, whatever
    // changed.
    let (kinds, keys): (Vec<&str>, Vec<&[u8]>) =
        after.keys().map(|key| (key.kind, key.key.as_slice())).unzip();
    let sql = "delete from view.unique_claims c using unnest($1::text[], $2::bytea[]) as t (kind, key)
               where c.kind = t.kind and c.key = t.key";
    transaction.execute(sql, &[&kinds, &keys]).await?;
    let sql = "insert into view.unique_claims (kind, key, holder, free_after, position)
               select * from unnest($1::text[], $2::bytea[], $3::text[], $4::timestamptz[], $5::bigint[])";
    let (mut kinds, mut keys, mut holders) = (Vec::new(), Vec::new(), Vec::new());
    let (mut ends, mut positions) = (Vec::new(), Vec::new());
    for (key, held) in &after {
        if let Some((holder, end, position)) = held {
            kinds.push(key.kind);
            keys.push(key.key.as_slice());
            holders.push(holder.as_str());
            ends.push(*end);
            positions.push(*position);
        }
    }
    transaction.execute(sql, &[&kinds, &keys, &holders, &ends, &positions]).await?;
    Ok(())
}

/// The current state of the claims that these changes touch; `None` for those that are free.
async fn standing(
    transaction: &Transaction<'_>,
    changes: &[(i64, ClaimChange)],
) -> Result<HashMap<ClaimKey, Option<Held>>, FoldError> {
    let mut touched: HashMap<ClaimKey, Option<Held>> = HashMap::new();
    for (_, change) in changes {
        let (ClaimChange::Take(crate::event_log::claim::Claim { key, .. })
        | ClaimChange::Release { key, .. }) = change;
        touched.insert(key.clone(), None);
    }
    let keys: Vec<ClaimKey> = touched.keys().cloned().collect();
    let (kinds, digests): (Vec<&str>, Vec<&[u8]>) =
        keys.iter().map(|key| (key.kind, key.key.as_slice())).unzip();
    let sql = "select t.place, c.holder, c.free_after, c.position
               from unnest($1::text[], $2::bytea[]) with ordinality as t (kind, key, place)
               join view.unique_claims c on c.kind = t.kind and c.key = t.key";
    for row in transaction.query(sql, &[&kinds, &digests]).await? {
        let place: i64 = row.try_get(0)?;
        let key = usize::try_from(place - 1).ok().and_then(|place| keys.get(place));
        if let Some(key) = key {
            touched.insert(key.clone(), Some((row.try_get(1)?, row.try_get(2)?, row.try_get(3)?)));
        }
    }
    Ok(touched)
}
