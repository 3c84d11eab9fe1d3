//! What is written often and means little: when a secret was last used, what a source last sent to all, when a device
//! last polled. No events; never rebuilt; gone with what it is about.

use std::time::Duration;

use deadpool_postgres::Pool;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::event_log::ReadError;
use crate::ids::{DeviceCodeId, SourceId};

/// How often, at most, the use of a secret is written down.
const USED_EVERY: Duration = Duration::from_mins(1);

/// How much sooner than told a device may poll: what is advertised less a second for the way.
pub const POLL_EVERY: Duration = Duration::from_secs(4);

/// Writes to the schema `coarse`.
#[derive(Clone)]
pub struct Coarse {
    pool: Pool,
}

impl Coarse {
    /// Writes through this pool.
    #[must_use]
    pub const fn new(pool: Pool) -> Self {
        Self { pool }
    }

    async fn execute(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<u64, ReadError> {
        let client = self.pool.get().await?;
        let statement = client.prepare_cached(sql).await?;
        Ok(client.execute(&statement, parameters).await?)
    }

    /// Writes down that an API key or a bearer token was good for something, at most once a minute.
    ///
    /// # Errors
    /// The database cannot be written to.
    pub async fn used(&self, id: Uuid, last: Option<Timestamp>, at: Timestamp) -> Result<(), ReadError> {
        if last.is_some_and(|last| at < last.after(USED_EVERY)) {
            return Ok(());
        }
        let sql = "insert into coarse.last_used as u (id, at) values ($1, $2)
                   on conflict (id) do update set at = excluded.at where u.at <= excluded.at - interval '1 minute'";
        self.execute(sql, &[&id, &at]).await?;
        Ok(())
    }

    /// Keeps what a living source has sent to all, unless something as new or newer is there; tells whether there is
    /// such a source.
    ///
    /// # Errors
    /// The database cannot be written to.
    pub async fn broadcast(&self, source: SourceId, at: Timestamp, payload: &str) -> Result<bool, ReadError> {
        let sql = "with there as (select id from view.sources where id = $1),
                        kept as (insert into coarse.last_broadcast as b (source_id, at, payload)
                                 select id, $2, $3 from there
                                 on conflict (source_id) do update set at = excluded.at, payload = excluded.payload
                                 where b.at < excluded.at)
                   select exists (select from there)";
        let client = self.pool.get().await?;
        let statement = client.prepare_cached(sql).await?;
        Ok(client.query_one(&statement, &[&source, &at, &payload]).await?.try_get(0)?)
    }

    /// Whether a device polls in time: later than [`POLL_EVERY`] after its last poll in time, or for the first time.
    ///
    /// # Errors
    /// The database cannot be written to.
    pub async fn poll_in_time(&self, code: DeviceCodeId, at: Timestamp) -> Result<bool, ReadError> {
        let sql = "insert into coarse.last_poll as p (device_code_id, at) values ($1, $2)
                   on conflict (device_code_id) do update set at = excluded.at
                   where p.at <= excluded.at - make_interval(secs => $3)";
        Ok(self.execute(sql, &[&code, &at, &POLL_EVERY.as_secs_f64()]).await? == 1)
    }

    /// Removes what is there of things that have gone.
    ///
    /// # Errors
    /// The database cannot be written to.
    pub async fn remove(&self, gone: &[Uuid]) -> Result<(), ReadError> {
        if gone.is_empty() {
            return Ok(());
        }
        for sql in [
            "delete from coarse.last_used where id = any ($1)",
            "delete from coarse.last_broadcast where source_id = any ($1)",
            "delete from coarse.last_poll where device_code_id = any ($1)",
        ] {
            self.execute(sql, &[&gone]).await?;
        }
        Ok(())
    }
}
