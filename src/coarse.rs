//! Frequent, unimportant writes outside the log: when a secret was last used, a source's last broadcast, a device's
//! last poll and address, counts of guesses. These rows have no events, are never rebuilt, and are removed with what
//! they describe.

use std::time::Duration;

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::event_log::{Primary, ReadError};
use crate::ids::{DeviceCodeId, SourceId};

/// The minimum interval between two recorded uses of a secret.
const USED_EVERY: Duration = Duration::from_mins(1);

/// How much earlier than the interval a device may poll: one second for network delay.
const POLL_GRACE: Duration = Duration::from_secs(1);

/// Which limit on unexpired device codes has been reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceCodesFull {
    /// The limit per network.
    Network,
    /// The limit for the whole instance.
    All,
}

/// A counter of guesses: its name, which says what is guessed and by whom or from where, and the maximum number of
/// attempts within the window.
pub type Bucket = (String, u32);

/// Reads and writes the tables in schema `coarse`.
#[derive(Clone)]
pub struct Coarse {
    primary: Primary,
}

impl Coarse {
    /// Uses this primary for all reads and writes.
    #[must_use]
    pub const fn new(primary: Primary) -> Self {
        Self { primary }
    }

    async fn execute(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<u64, ReadError> {
        self.primary.execute(sql, parameters).await
    }

    /// Records a successful use of an API key or bearer token, at most once a minute. `last` is the last use as far as
    /// the caller knows.
    ///
    /// # Errors
    /// [`ReadError`] if the database cannot be written to.
    pub async fn record_use(
        &self,
        id: Uuid,
        last: Option<Timestamp>,
        at: Timestamp,
    ) -> Result<(), ReadError> {
        // Saves the write on most requests.
        if last.is_some_and(|last| at < last.after(USED_EVERY)) {
            return Ok(());
        }
        // Only for secrets that still exist: a late request must not bring back the row of one that was cleared away.
        let sql = "insert into coarse.last_used as u (id, at)
                   select $1::uuid, $2::timestamptz
                   where exists (select from view.api_keys where id = $1)
                      or exists (select from view.bearer_tokens where id = $1 and digest is not null)
                   on conflict (id) do update set at = excluded.at where u.at <= excluded.at - interval '1 minute'";
        self.execute(sql, &[&id, &at]).await?;
        Ok(())
    }

    /// Stores a source's last broadcast, unless one at least as new is stored. Returns whether the source exists.
    ///
    /// # Errors
    /// [`ReadError`] if the database cannot be written to.
    pub async fn broadcast(&self, source: SourceId, at: Timestamp, payload: &str) -> Result<bool, ReadError> {
        let with = "there as (select id from view.sources where id = $1),
                    kept as (insert into coarse.last_broadcast as b (source_id, at, payload)
                             select id, $2, $3 from there
                             on conflict (source_id) do update set at = excluded.at, payload = excluded.payload
                             where b.at < excluded.at)";
        let answer =
            self.primary.ask(with, "select exists (select from there)", &[&source, &at, &payload]).await?;
        Ok(answer.rows.first().map_or(Ok(false), |row| row.try_get(0))?)
    }

    /// Records a device's poll. `true` if it is the first, or at least the interval (less one second for network delay)
    /// after the last accepted poll.
    ///
    /// # Errors
    /// [`ReadError`] if the database cannot be written to.
    pub async fn poll_in_time(
        &self,
        code: DeviceCodeId,
        at: Timestamp,
        interval: Duration,
    ) -> Result<bool, ReadError> {
        let sql = "insert into coarse.last_poll as p (device_code_id, at) values ($1, $2)
                   on conflict (device_code_id) do update set at = excluded.at
                   where p.at <= excluded.at - make_interval(secs => $3)";
        let least = interval.saturating_sub(POLL_GRACE).as_secs_f64();
        Ok(self.execute(sql, &[&code, &at, &least]).await? == 1)
    }

    /// Admits a new device code requested from `(network, address)`, or returns the limit that has been reached.
    ///
    /// # Errors
    /// [`ReadError`] if the database cannot be written to.
    pub async fn admit_device_code(
        &self,
        code: DeviceCodeId,
        from: (&str, &str),
        (at, expires_at): (Timestamp, Timestamp),
        (per_network, in_all): (u32, u32),
    ) -> Result<Option<DeviceCodesFull>, ReadError> {
        // One function under one lock: separate counts would let concurrent requests exceed the limits.
        let sql = "select coarse.admit_device_code($1, $2, $3, $4, $5, $6, $7)";
        let (network, address) = from;
        let (per_network, in_all) = (i64::from(per_network), i64::from(in_all));
        let parameters: [&(dyn ToSql + Sync); 7] =
            [&code, &network, &address, &at, &expires_at, &per_network, &in_all];
        let row = self.primary.call(sql, &parameters).await?;
        let full: Option<String> = row.map_or(Ok(None), |row| row.try_get(0))?;
        Ok(full.map(|full| if full == "network" { DeviceCodesFull::Network } else { DeviceCodesFull::All }))
    }

    /// The address that requested a device code; `None` if none is stored.
    ///
    /// # Errors
    /// [`ReadError`] if the database cannot be read.
    pub async fn device_address(&self, code: DeviceCodeId) -> Result<Option<String>, ReadError> {
        let sql = "select address from coarse.device_origin where device_code_id = $1";
        Ok(self.primary.row(sql, &[&code]).await?.map(|row| row.try_get(0)).transpose()?)
    }

    /// Counts an attempt in each bucket. `false`, and nothing is counted, if one of them is full within the window.
    ///
    /// # Errors
    /// [`ReadError`] if the database cannot be written to.
    pub async fn attempt(
        &self,
        buckets: &[Bucket],
        at: Timestamp,
        within: Duration,
    ) -> Result<bool, ReadError> {
        let (names, mosts): (Vec<&str>, Vec<i64>) =
            buckets.iter().map(|(name, most)| (name.as_str(), i64::from(*most))).unzip();
        // The cleanup has its own transaction and skips locked rows, so that it never waits for another request.
        let old = "delete from coarse.attempt a where a.bucket in (
                       select o.bucket from coarse.attempt o where o.since <= $1::timestamptz - make_interval(secs => $2)
                       for update skip locked)";
        self.execute(old, &[&at, &within.as_secs_f64()]).await?;
        let sql = "select coarse.attempt($1, $2, $3, make_interval(secs => $4))";
        let row = self.primary.call(sql, &[&names, &mosts, &at, &within.as_secs_f64()]).await?;
        Ok(row.map_or(Ok(false), |row| row.try_get(0))?)
    }

    /// The highest count among these buckets; 0 if none of them is in use.
    ///
    /// # Errors
    /// [`ReadError`] if the database cannot be read.
    pub async fn most_attempts(&self, buckets: &[&str]) -> Result<i64, ReadError> {
        let sql = "select coalesce(max(count), 0) from coarse.attempt where bucket = any ($1)";
        let row = self.primary.row(sql, &[&buckets]).await?;
        Ok(row.map_or(Ok(0), |row| row.try_get(0))?)
    }

    /// Gives back an attempt that was not a failure.
    ///
    /// # Errors
    /// [`ReadError`] if the database cannot be written to.
    pub async fn forgive_attempt(&self, buckets: &[Bucket]) -> Result<(), ReadError> {
        let names: Vec<&str> = buckets.iter().map(|(name, _)| name.as_str()).collect();
        // One statement per bucket, so that no row stays locked while another one is waited for.
        let sql = "update coarse.attempt set count = greatest(count - 1, 0) where bucket = $1";
        for name in names {
            self.execute(sql, &[&name]).await?;
        }
        Ok(())
    }

    /// Stores the public URL of this instance.
    ///
    /// # Errors
    /// [`ReadError`] if the database cannot be written to.
    pub async fn record_public_url(&self, public_url: &str, at: Timestamp) -> Result<(), ReadError> {
        let sql = "insert into coarse.served_at (public_url, at) values ($1, $2)
                   on conflict (only_row) do update set public_url = excluded.public_url, at = excluded.at";
        self.execute(sql, &[&public_url, &at]).await?;
        Ok(())
    }

    /// The public URL of this instance; `None` if it has never been served.
    ///
    /// # Errors
    /// [`ReadError`] if the database cannot be read.
    pub async fn public_url_of_instance(&self) -> Result<Option<String>, ReadError> {
        let row = self.primary.row("select public_url from coarse.served_at", &[]).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// Records the use of a single-use value by its digest. `true` for the first use; `false` if it was used before and
    /// has not expired.
    ///
    /// # Errors
    /// [`ReadError`] if the database cannot be written to.
    pub async fn claim_once(
        &self,
        digest: &[u8; 32],
        at: Timestamp,
        expires_at: Timestamp,
    ) -> Result<bool, ReadError> {
        self.execute("delete from coarse.used_once where expires_at <= $1", &[&at]).await?;
        let sql = "insert into coarse.used_once values ($1, $2) on conflict do nothing";
        Ok(self.execute(sql, &[&digest.as_slice(), &expires_at]).await? == 1)
    }

    /// Takes or renews the lease to clear away what endings have left behind. `false` while another node holds it.
    ///
    /// # Errors
    /// [`ReadError`] if the database cannot be written to.
    pub async fn clears_away(&self, node: Uuid, lease: Duration) -> Result<bool, ReadError> {
        // By the database's clock, so that nodes need not agree on the time.
        let sql = "insert into coarse.clearing as c (node, until)
                   values ($1, clock_timestamp() + make_interval(secs => $2))
                   on conflict (only_row) do update set node = excluded.node, until = excluded.until
                   where c.node = excluded.node or c.until < clock_timestamp()";
        Ok(self.execute(sql, &[&node, &lease.as_secs_f64()]).await? == 1)
    }

    /// Removes all coarse rows of these resources, which no longer exist or are about to be removed.
    ///
    /// # Errors
    /// [`ReadError`] if the database cannot be written to.
    pub async fn remove(&self, gone: &[Uuid]) -> Result<(), ReadError> {
        if gone.is_empty() {
            return Ok(());
        }
        for sql in [
            "delete from coarse.last_used where id = any ($1)",
            "delete from coarse.last_broadcast where source_id = any ($1)",
            "delete from coarse.last_poll where device_code_id = any ($1)",
            "delete from coarse.device_origin where device_code_id = any ($1)",
        ] {
            self.execute(sql, &[&gone]).await?;
        }
        Ok(())
    }
}
