//! The tables as they were, in a schema of their own that expires.
//!
//! What is forgotten while such a schema exists is in it in clear, so nodes drop it soon after
//! (`log.sweep_as_of_schemas`). It is registered before the first key is read: what is forgotten from then on is noticed.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio_postgres::Client;
use uuid::Uuid;

use super::compare::living;
use super::error::ReplayError;
use super::fold::{Rows, rows_of, rows_of_part, table_of};
use super::fresh;
use super::moment::{Moment, MomentError, Resolved};
use super::part::read_part;
use super::parts::Replay;
use super::progress::{Phase, Progress};
use super::scan::read_log;
use super::session;
use super::spill::{SLICES, Spill};
use crate::clock::Timestamp;
use crate::event_log::row_sql;
use crate::postgres::Connection;
use crate::projections::{self, unique_claims};

/// The advisory lock that the making of a schema holds; "tenureao" in ASCII. `log.sweep_as_of_schemas` takes it too.
const AS_OF_LOCK: i64 = 0x74_65_6e_75_72_65_61_6f;

/// For how long a schema may be kept.
pub const LONGEST_KEPT: Duration = Duration::from_hours(30 * 24);

/// The rule for the name of a schema.
const NAME_RULE: &str = "must be 1 to 50 of a-z, 0-9 and _, begin with a letter, and be no word of SQL and none of PostgreSQL's or Tenure's own schemas";

/// What to make.
#[derive(Clone, Debug)]
pub struct AsOfOptions {
    /// The moment that the tables are to show.
    pub moment: Moment,
    /// The name of the schema.
    pub schema: String,
    /// Only the rows of this account, and of the people in it.
    pub account: Option<Uuid>,
    /// How long to keep the schema.
    pub keep: Duration,
}

/// A schema that was made.
#[derive(Clone, Debug, Serialize)]
pub struct AsOf {
    /// Its name.
    pub schema: String,
    /// The moment that its tables show.
    #[serde(flatten)]
    pub moment: Resolved,
    /// When it will be dropped.
    pub expires_at: Timestamp,
    /// How many events were read.
    pub events: u64,
    /// How many rows it has.
    pub rows: u64,
}

/// A schema that exists, or did in the last 30 days.
#[derive(Clone, Debug, Serialize)]
pub struct AsOfSchema {
    /// Its name.
    pub schema: String,
    /// The account whose rows it has; `None` for those of all.
    pub account: Option<Uuid>,
    /// The position that its tables show.
    pub position: i64,
    /// The time that they show.
    pub at: Timestamp,
    /// When it was made.
    pub made_at: Timestamp,
    /// When it will be, or would have been, dropped.
    pub expires_at: Timestamp,
    /// Whether it is finished.
    pub is_ready: bool,
    /// Why it was dropped, or will be once nobody reads it.
    pub ends_because: Option<String>,
    /// When it was dropped.
    pub ended_at: Option<Timestamp>,
}

/// Why the tables of a moment could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AsOfError {
    /// The moment cannot be looked at.
    #[error(transparent)]
    Moment(#[from] MomentError),
    /// The replay failed.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The name does not do for a schema.
    #[error("schema: {NAME_RULE}")]
    SchemaName,
    /// There is a schema of this name.
    #[error(
        "there is a schema `{0}` already; drop it (`tenure audit drop-schema {0}`), or give another name"
    )]
    SchemaExists(String),
    /// There is no such schema made by `as-of`.
    #[error("no schema `{0}` was made by `tenure audit as-of`; `tenure audit schemas` shows them")]
    NoSchema(String),
    /// The schema was dropped, or has to be, before it was finished.
    #[error("the schema `{schema}` was dropped while it was made ({because}); make it again")]
    Dropped {
        /// Its name.
        schema: String,
        /// Why it had to go.
        because: String,
    },
    /// Somebody reads the schema.
    #[error("the schema `{0}` is still being read; it will be dropped within a minute after that")]
    InUse(String),
    /// It was to be kept for no time, or for too long.
    #[error("keep: must be 1m to 30d")]
    Keep,
    /// Another one is being made.
    #[error("other tables are being made ({0}); wait until that ends")]
    Running(String),
}

impl From<tokio_postgres::Error> for AsOfError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Replay(error.into())
    }
}

/// Checks the name of a schema: one that needs no quotes, and is nobody else's.
fn check_name(name: &str) -> Result<(), AsOfError> {
    let is_plain = name.len() <= 50
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    let is_taken = ["log", "view", "coarse", "public", "information_schema", "refinery"].contains(&name)
        || name.starts_with("pg_")
        || name.starts_with("view_");
    if is_plain && !is_taken { Ok(()) } else { Err(AsOfError::SchemaName) }
}

impl Replay {
    /// Makes the tables as they were at a moment, in a schema of their own. Only the owner of the log may read them.
    ///
    /// # Errors
    /// [`AsOfError`]; then nothing is left, or a node drops it within a minute.
    pub async fn as_of(&self, options: &AsOfOptions, progress: &Progress) -> Result<AsOf, AsOfError> {
        check_name(&options.schema)?;
        if options.keep < Duration::from_mins(1) || options.keep > LONGEST_KEPT {
            return Err(AsOfError::Keep);
        }
        session::while_server_answers(&self.log, Box::pin(self.as_of_while(options, progress))).await
    }

    async fn as_of_while(&self, options: &AsOfOptions, progress: &Progress) -> Result<AsOf, AsOfError> {
        let lock = session::connect(&self.log, "tenure as-of").await?;
        if let Err(holder) = session::lock(&lock.client, AS_OF_LOCK).await? {
            return Err(AsOfError::Running(holder));
        }
        sweep(&lock.client).await?;
        let moment = self.resolve(options.moment).await?;
        register(&lock.client, options, &moment).await?;
        let made = self.make(options, &moment, &lock, progress).await;
        if made.is_err()
            && let Some(because) = self.drop_unfinished(&options.schema, &lock.client).await
        {
            return Err(AsOfError::Dropped { schema: options.schema.clone(), because });
        }
        let _ = lock.client.query_one("select pg_advisory_unlock($1)", &[&AS_OF_LOCK]).await;
        let (events, rows, expires_at) = made?;
        Ok(AsOf { schema: options.schema.clone(), moment, expires_at, events, rows })
    }

    /// Drops what could not be finished, at once if the server can still be reached, and else with the next sweep. Returns why it had to
    /// go, if that was not its end.
    async fn drop_unfinished(&self, schema: &str, client: &Client) -> Option<String> {
        let why = "never finished";
        // The driver may give a connection up whose COPY has failed.
        let ended = match client.batch_execute("rollback").await {
            Ok(()) => drop_now(client, schema, why).await,
            Err(error) => Err(error),
        };
        let ended = if let Ok(ended) = ended {
            ended
        } else {
            let another = session::connect(&self.log, "tenure as-of").await.ok()?;
            drop_now(&another.client, schema, why).await.ok()?
        };
        Some(ended.because).filter(|because| because != why)
    }

    async fn make(
        &self,
        options: &AsOfOptions,
        moment: &Resolved,
        lock: &Connection,
        progress: &Progress,
    ) -> Result<(u64, u64, Timestamp), AsOfError> {
        let folder = self.folder_of_past(options.account.is_some());
        let events = Arc::new(session::connect(&self.log, "tenure as-of").await?);
        let mut spill = Spill::new(&*self.entropy);
        let count = if let Some(account) = options.account {
            progress.begin(Phase::ReadingLog, 0);
            let of = (account, moment.position);
            read_part(&folder, &events, of, u64::MAX, &mut spill, progress)
                .await?
                .map_or(0, |part| part.events)
        } else {
            let to = (moment.position, None);
            read_log(self, &folder, &events, to, &mut spill, progress).await?.events
        };
        let (client, schema) = (&lock.client, &*options.schema);
        // A node that checks the tables for people who were forgotten holds them for a few seconds.
        client.batch_execute("set lock_timeout = '1min'").await?;
        progress.begin(Phase::Loading, SLICES as u64);
        let mut loaded = 0;
        for slice in 0..SLICES {
            let slice = spill.take(slice).read()?;
            let mut rows = match options.account {
                Some(_) => rows_of_part(&slice, moment.position)?,
                None => rows_of(&slice)?,
            };
            drop_expired_claims(&mut rows, moment.at)?;
            loaded += fresh::load(client, schema, fresh::loads(projections::TABLES, &rows)).await?;
            progress.advance(1);
            tokio::task::yield_now().await;
        }
        progress.begin(Phase::Indexing, projections::TABLES.len() as u64);
        for table in projections::TABLES {
            let analyze = format!("analyze {schema}.{}", table.name);
            // One transaction, so that autovacuum finds no index without its settings.
            let indexes: String = row_sql::indexes(table, schema, "").collect();
            let statements =
                [row_sql::add_key(table, schema), indexes + &row_sql::storage(table, schema), analyze];
            for statement in statements {
                client.batch_execute(&statement).await?;
            }
            progress.advance(1);
        }
        let ready = "update log.as_of_schema
                     set is_ready = true, expires_at = clock_timestamp() + make_interval(secs => $2)
                     where name = $1 and ended_at is null and ends_because is null returning expires_at";
        match client.query_opt(ready, &[&schema, &options.keep.as_secs_f64()]).await? {
            Some(row) => Ok((count, loaded, row.try_get(0)?)),
            // Dropped, or about to be; the caller finds out why.
            None => Err(AsOfError::Dropped { schema: schema.to_owned(), because: "it had to go".to_owned() }),
        }
    }

    /// The schemas that were made, those that exist first.
    ///
    /// # Errors
    /// [`ReplayError`]
    pub async fn as_of_schemas(&self) -> Result<Vec<AsOfSchema>, ReplayError> {
        let sql =
            "select name, account_id, position, as_of, made_at, expires_at, is_ready, ends_because, ended_at
                   from log.as_of_schema order by ended_at is not null, made_at desc limit 1000";
        let rows = self.log.primary().rows(sql, &[]).await?;
        rows.iter()
            .map(|row| {
                Ok(AsOfSchema {
                    schema: row.try_get(0)?,
                    account: row.try_get(1)?,
                    position: row.try_get(2)?,
                    at: row.try_get(3)?,
                    made_at: row.try_get(4)?,
                    expires_at: row.try_get(5)?,
                    is_ready: row.try_get(6)?,
                    ends_because: row.try_get(7)?,
                    ended_at: row.try_get(8)?,
                })
            })
            .collect::<Result<_, tokio_postgres::Error>>()
            .map_err(ReplayError::from)
    }

    /// Drops a schema that [`Replay::as_of`] has made.
    ///
    /// # Errors
    /// [`AsOfError`]
    pub async fn drop_as_of_schema(&self, name: &str) -> Result<(), AsOfError> {
        session::while_server_answers(&self.log, self.drop_as_of_schema_while(name)).await
    }

    async fn drop_as_of_schema_while(&self, name: &str) -> Result<(), AsOfError> {
        let connection = session::connect(&self.log, "tenure as-of").await?;
        let sql =
            "update log.as_of_schema set expires_at = clock_timestamp() where name = $1 and ended_at is null";
        if connection.client.execute(sql, &[&name]).await? == 0 {
            return Err(AsOfError::NoSchema(name.to_owned()));
        }
        if drop_now(&connection.client, name, "asked for").await?.is_gone {
            Ok(())
        } else {
            Err(AsOfError::InUse(name.to_owned()))
        }
    }
}

/// Creates the schema with empty tables, and notes it.
async fn register(client: &Client, options: &AsOfOptions, moment: &Resolved) -> Result<(), AsOfError> {
    let schema = &*options.schema;
    // A word of SQL would need quotes.
    let sql = "select quote_ident($1) <> $1, exists (select from pg_namespace where nspname = $1)";
    let row = client.query_one(sql, &[&schema]).await?;
    if row.try_get(0)? {
        return Err(AsOfError::SchemaName);
    }
    if row.try_get(1)? {
        return Err(AsOfError::SchemaExists(schema.to_owned()));
    }
    client.batch_execute("begin").await?;
    let registering = async {
        // Of two that do this at once, one finds the name taken.
        client.batch_execute(&format!("create schema {schema}")).await?;
        for table in projections::TABLES {
            client.batch_execute(&row_sql::create_table_without_key(table, schema)).await?;
        }
        let sql =
            "insert into log.as_of_schema (name, schema_oid, account_id, epoch, position, as_of, expires_at, checked)
                   values ($1, $1::text::regnamespace, $2, $3, $4, $5, clock_timestamp() + make_interval(secs => $6),
                           (select position from log.event order by position desc limit 1))
                   on conflict (name) do update
                   set schema_oid = excluded.schema_oid, account_id = excluded.account_id, epoch = excluded.epoch, position = excluded.position,
                       as_of = excluded.as_of, made_at = excluded.made_at, expires_at = excluded.expires_at,
                       checked = excluded.checked, is_ready = false, ends_because = null, ended_at = null
                   where as_of_schema.ended_at is not null";
        let (account, keep) = (&options.account, options.keep.as_secs_f64());
        let Resolved { epoch, position, at } = moment;
        if client.execute(sql, &[&schema, account, epoch, position, at, &keep]).await? == 0 {
            // One of that name that was renamed by hand is still known by it.
            return Err(AsOfError::SchemaExists(schema.to_owned()));
        }
        let about = format!(
            "create table {schema}.as_of as
             select as_of, position, epoch, account_id, made_at from log.as_of_schema where name = '{schema}';
             comment on schema {schema} is 'The tables of Tenure as they were; table as_of says when.'"
        );
        client.batch_execute(&about).await?;
        client.batch_execute("commit").await?;
        Ok(())
    };
    let registered = registering.await;
    if registered.is_err() {
        let _ = client.batch_execute("rollback").await;
    }
    registered
}

/// A claim that has expired by then is nobody's.
fn drop_expired_claims(rows: &mut Rows<'_>, at: Timestamp) -> Result<(), ReplayError> {
    let claims = table_of(&unique_claims::TABLE);
    for ((_, _), row) in rows.iter_mut().filter(|((table, _), _)| *table == claims) {
        if living(row.replayed.as_deref(), at)?.is_none() {
            row.replayed = None;
        }
    }
    Ok(())
}

/// Drops the schemas that have to go. Returns those that somebody still reads, and why they go.
async fn sweep(client: &Client) -> Result<Vec<(String, String)>, tokio_postgres::Error> {
    let rows = client.query("select schema_name, reason from log.sweep_as_of_schemas()", &[]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// What has become of a schema that was to be dropped.
struct Ended {
    is_gone: bool,
    because: String,
}

/// Drops a schema for this reason, unless somebody reads it.
async fn drop_now(client: &Client, name: &str, why: &str) -> Result<Ended, tokio_postgres::Error> {
    let sql = "update log.as_of_schema set ends_because = coalesce(ends_because, $2) where name = $1 and ended_at is null";
    client.execute(sql, &[&name, &why]).await?;
    sweep(client).await?;
    // Looked up: a node that sweeps at the same time is not waited for.
    let sql = "select ended_at is not null, coalesce(ends_because, $2) from log.as_of_schema where name = $1";
    let row = client.query_opt(sql, &[&name, &why]).await?;
    row.map_or(Ok(Ended { is_gone: true, because: why.to_owned() }), |row| {
        Ok(Ended { is_gone: row.try_get(0)?, because: row.try_get(1)? })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_schema_needs_no_quotes_and_is_nobody_elses() {
        for name in ["friday", "a", "audit_2026_01", &"a".repeat(50)] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in [
            "",
            "Friday",
            "1st",
            "_x",
            "a b",
            "a\"b",
            "a;drop",
            "ä",
            "view",
            "view_next_1",
            "log",
            "coarse",
            "public",
            "pg_temp",
            "information_schema",
            &"a".repeat(51),
        ] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
