//! The fresh tables that a rebuild fills, in a schema of their own beside the live one.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use foldhash::{HashMap, HashMapExt as _};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, GenericClient};

use super::error::ReplayError;
use super::fold::{Effects, Rows, table_of};
use super::locks;
use super::others::{Others, role_of_others};
use super::progress::Progress;
use super::tuple;
use crate::clock::{Stopwatch, Timestamp};
use crate::event_log::claim::{Claim, ClaimChange, ClaimKey};
use crate::event_log::copy_in::{begin_row, copy_in};
use crate::event_log::row_sql::{self, Application};
use crate::event_log::rows::{RowChange, Table, coalesce};
use crate::projections::{self, unique_claims};

/// The search path that functions of others are used to, for the rest of the transaction.
pub(super) const THEIR_SEARCH_PATH: &str = "set local search_path to default;";

/// The fresh tables.
pub(super) struct Fresh {
    /// The schema that they are in.
    pub(super) schema: String,
    /// The build that the schema `view` will have with them.
    pub(super) build: i64,
    /// The tables.
    pub(super) tables: Vec<&'static Table>,
}

impl Fresh {
    /// Tables that are not created yet.
    pub(super) fn new(tables: Vec<&'static Table>, build: i64) -> Self {
        Self { schema: format!("view_next_{build:x}"), build, tables }
    }

    /// The statements that create the schema with empty tables.
    pub(super) fn creation(&self) -> String {
        let Self { schema, build, tables } = self;
        let tables = tables.iter().map(|table| row_sql::create_table_without_key(table, schema));
        let marker = format!(
            "create table {schema}.view_build (build bigint not null);
             insert into {schema}.view_build (build) values ({build})"
        );
        // Default privileges may have granted more than the live table does; the swap then grants exactly what that one grants.
        let revocation = format!(
            "do $$
             declare given record;
             begin
                 for given in
                     select c.relname, case a.grantee when 0 then 'public' else a.grantee::regrole::text end as grantee
                     from pg_class c, aclexplode(c.relacl) a
                     where c.relnamespace = '{schema}'::regnamespace and a.grantee <> c.relowner
                       and to_regclass('view.' || quote_ident(c.relname)) is not null
                 loop
                     execute format('revoke all on {schema}.%I from %s', given.relname, given.grantee);
                 end loop;
             end $$"
        );
        let all =
            std::iter::once(format!("create schema {schema}")).chain(tables).chain([marker, revocation]);
        all.collect::<Vec<_>>().join(";\n")
    }

    /// Creates the schema with empty tables.
    pub(super) async fn create(&self, client: &mut Client) -> Result<(), ReplayError> {
        let transaction = client.transaction().await?;
        transaction.batch_execute(&self.creation()).await?;
        Ok(transaction.commit().await?)
    }

    /// Builds keys, indexes, statistics and functions, on both connections at once. Waits at most this long for sessions that read the
    /// fresh tables, such as dumps; returns those that still do.
    pub(super) async fn index(
        &self,
        clients: [&Client; 2],
        most: Duration,
        progress: &Progress,
    ) -> Result<Option<String>, ReplayError> {
        // The largest first, so that neither connection waits long for the other one in the end.
        let mut sized = Vec::with_capacity(self.tables.len());
        for table in &self.tables {
            let sql = "select pg_table_size(format('%I.%I', $1::text, $2::text)::regclass)";
            let size: i64 = clients[0].query_one(sql, &[&self.schema, &table.name]).await?.try_get(0)?;
            sized.push((size, *table));
        }
        sized.sort_by_key(|(size, _)| std::cmp::Reverse(*size));
        let left: Mutex<VecDeque<&'static Table>> =
            Mutex::new(sized.into_iter().map(|(_, table)| table).collect());
        let next = || left.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let waited = Stopwatch::start();
        let build = async |client: &Client| {
            while let Some(table) = next() {
                let schema = &self.schema;
                // One transaction, so that autovacuum finds no index without its settings. The key comes first: its lock is the strongest.
                let indexes: String = row_sql::indexes(table, schema, "").collect();
                let all = row_sql::add_key(table, schema) + &indexes + &row_sql::storage(table, schema);
                let tell = |holders: &[String]| progress.say(holders);
                if let Some(holders) =
                    locks::when_free(client, (schema, &all), (&waited, most), &tell).await?
                {
                    return Ok(Some(holders));
                }
                client.batch_execute(&row_sql::apply_function(table, schema)).await?;
                client.batch_execute(&format!("analyze (skip_locked) {schema}.{}", table.name)).await?;
                progress.advance(1);
            }
            Ok::<_, ReplayError>(None)
        };
        let (one, two) = futures::future::try_join(build(clients[0]), build(clients[1])).await?;
        Ok(one.or(two))
    }

    /// Builds the indexes that others have on the live tables and the fresh ones lack.
    pub(super) async fn index_for_others(&self, client: &Client) -> Result<(), ReplayError> {
        let (before, after) = role_of_others(client).await?;
        for index in self.lacking_indexes(client).await? {
            let building = format!("begin; {before} {THEIR_SEARCH_PATH} {index}; {after} commit");
            if let Err(error) = client.batch_execute(&building).await {
                client.batch_execute("rollback").await?;
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// The statements that build those indexes.
    pub(super) async fn lacking_indexes(&self, client: &Client) -> Result<Vec<String>, ReplayError> {
        let is_lacking = "select to_regclass(format('%I.%I', $1::text, $2::text)) is null";
        let mut lacking = Vec::new();
        for (name, index) in Others::indexes(client, &self.tables).await? {
            if client.query_one(is_lacking, &[&self.schema, &name]).await?.try_get(0)? {
                lacking.push(index.replacen(" ON view.", &format!(" ON {}.", self.schema), 1));
            }
        }
        Ok(lacking)
    }

    /// Applies what events do to the fresh tables.
    pub(super) async fn apply(
        &self,
        client: &impl GenericClient,
        effects: Vec<Effects>,
    ) -> Result<(), ReplayError> {
        let mut changes: Vec<(i64, RowChange)> = Vec::new();
        let mut claims: Vec<(i64, ClaimChange)> = Vec::new();
        for Effects { position, rows, claims: changed } in effects {
            changes.extend(rows.into_iter().map(|change| (position, change)));
            claims.extend(changed.into_iter().map(|change| (position, change)));
        }
        // One change per row: a row that changes many times is written once.
        let coalesced = coalesce(changes.iter().map(|(position, change)| (*position, change)));
        let applications = row_sql::applications(&coalesced);
        if !applications.is_empty() {
            let tables: Vec<&'static Table> =
                applications.iter().map(|application| application.table).collect();
            let calls = row_sql::calls(&tables, &self.schema, 1);
            let sql = format!("select a.base{calls} from (select 0::bigint as base) a");
            let arguments: Vec<&(dyn ToSql + Sync)> =
                applications.iter().flat_map(Application::arguments).collect();
            client.query(&sql, &arguments).await?;
        }
        if !claims.is_empty() {
            self.apply_claims(client, claims).await?;
        }
        Ok(())
    }

    /// Releases all claims of these kinds and holders.
    pub(super) async fn release(
        &self,
        client: &impl GenericClient,
        claims: impl Iterator<Item = (&'static str, String)>,
    ) -> Result<(), ReplayError> {
        let (kinds, holders): (Vec<&str>, Vec<String>) = claims.unzip();
        if kinds.is_empty() || !self.tables.iter().any(|table| table.name == unique_claims::TABLE.name) {
            return Ok(());
        }
        let sql = format!(
            "delete from {}.{} c using unnest($1::text[], $2::text[]) as t (kind, holder)
             where c.kind = t.kind and c.holder = t.holder",
            self.schema,
            unique_claims::TABLE.name
        );
        client.execute(&sql, &[&kinds, &holders]).await?;
        Ok(())
    }

    async fn apply_claims(
        &self,
        client: &impl GenericClient,
        changes: Vec<(i64, ClaimChange)>,
    ) -> Result<(), ReplayError> {
        let mut after = self.standing(client, &changes).await?;
        for (position, change) in changes {
            match change {
                ClaimChange::Take(Claim { key, holder, free_after, .. }) => {
                    after.insert(key, Some((holder, free_after, position)));
                }
                ClaimChange::Release { key, holder } => {
                    // A release by a former holder has no effect: another one may have taken the claim over.
                    if matches!(after.get(&key), Some(Some((former, _, _))) if *former == holder) {
                        after.insert(key, None);
                    }
                }
            }
        }
        // All touched claims are deleted and those still held inserted again, in two statements whatever changed.
        let (kinds, keys): (Vec<&str>, Vec<&[u8]>) =
            after.keys().map(|key| (key.kind, key.key.as_slice())).unzip();
        let claims = format!("{}.{}", self.schema, unique_claims::TABLE.name);
        let sql = format!(
            "delete from {claims} c using unnest($1::text[], $2::bytea[]) as t (kind, key)
             where c.kind = t.kind and c.key = t.key"
        );
        client.execute(&sql, &[&kinds, &keys]).await?;
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
        let sql = format!(
            "insert into {claims} (kind, key, holder, free_after, position)
             select * from unnest($1::text[], $2::bytea[], $3::text[], $4::timestamptz[], $5::bigint[])"
        );
        client.execute(&sql, &[&kinds, &keys, &holders, &ends, &positions]).await?;
        Ok(())
    }

    /// The present state of the claims that these changes touch; `None` for those that are free.
    async fn standing(
        &self,
        client: &impl GenericClient,
        changes: &[(i64, ClaimChange)],
    ) -> Result<HashMap<ClaimKey, Option<Held>>, ReplayError> {
        let mut touched: HashMap<ClaimKey, Option<Held>> = HashMap::new();
        for (_, change) in changes {
            let (ClaimChange::Take(Claim { key, .. }) | ClaimChange::Release { key, .. }) = change;
            touched.insert(key.clone(), None);
        }
        let keys: Vec<ClaimKey> = touched.keys().cloned().collect();
        let (kinds, digests): (Vec<&str>, Vec<&[u8]>) =
            keys.iter().map(|key| (key.kind, key.key.as_slice())).unzip();
        let sql = format!(
            "select t.place, c.holder, c.free_after, c.position
             from unnest($1::text[], $2::bytea[]) with ordinality as t (kind, key, place)
             join {}.{} c on c.kind = t.kind and c.key = t.key",
            self.schema,
            unique_claims::TABLE.name
        );
        for row in client.query(&sql, &[&kinds, &digests]).await? {
            let place: i64 = row.try_get(0)?;
            let key = usize::try_from(place - 1).ok().and_then(|place| keys.get(place));
            if let Some(key) = key {
                touched.insert(key.clone(), Some((row.try_get(1)?, row.try_get(2)?, row.try_get(3)?)));
            }
        }
        Ok(touched)
    }
}

/// Rows of one table as a COPY carries them, and how many.
pub(super) struct Load {
    table: &'static Table,
    rows: Bytes,
    count: u64,
}

/// The rows of a slice that belong to these tables.
pub(super) fn loads(tables: &[&'static Table], rows: &Rows<'_>) -> Vec<Load> {
    let mut by_table: Vec<Vec<&[u8]>> = vec![Vec::new(); projections::TABLES.len()];
    for ((number, _), row) in rows {
        by_table[*number].extend(row.replayed.as_deref());
    }
    let mut loads = Vec::with_capacity(tables.len());
    for &table in tables {
        let tuples = &by_table[table_of(table)];
        let mut rows = BytesMut::with_capacity(tuples.iter().map(|tuple| 2 + tuple.len()).sum());
        for tuple in tuples {
            begin_row(&mut rows, table.columns.len());
            tuple::put_row(&mut rows, tuple);
        }
        if !rows.is_empty() {
            loads.push(Load { table, rows: rows.freeze(), count: tuples.len() as u64 });
        }
    }
    loads
}

/// Adds rows to tables of a schema. Returns how many.
pub(super) async fn load(client: &Client, schema: &str, loads: Vec<Load>) -> Result<u64, ReplayError> {
    let mut all = 0;
    for Load { table, rows, count } in loads {
        let columns: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
        let name = format!("{schema}.{}", table.name);
        copy_in(client, &name, &columns.join(", "), rows).await?;
        all += count;
    }
    Ok(all)
}

/// Who holds a claim, until when, and the position of the event that took it. No end: until it is released.
type Held = (String, Option<Timestamp>, i64);
