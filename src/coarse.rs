//! What is written often and means little: when a secret was last used, what a source last sent to all, when a device
//! last polled and from where it asked, how often codes were guessed. No events; never rebuilt; gone with what it is
//! about.

use std::time::Duration;

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::event_log::{Primary, ReadError};
use crate::ids::{DeviceCodeId, SourceId};

/// How often, at most, the use of a secret is written down.
const USED_EVERY: Duration = Duration::from_mins(1);

/// By how much sooner than told a device may poll: a second for the way.
const POLL_GRACE: Duration = Duration::from_secs(1);

/// Which bound of device codes is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceCodesFull {
    /// That of one network.
    Network,
    /// That of all.
    All,
}

/// Something that must not be guessed, by who or where, and how often it may be tried within a window of time.
pub type Bucket = (String, u32);

/// Writes to the schema `coarse`.
#[derive(Clone)]
pub struct Coarse {
    primary: Primary,
}

impl Coarse {
    /// Writes to this primary.
    #[must_use]
    pub const fn new(primary: Primary) -> Self {
        Self { primary }
    }

    async fn execute(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<u64, ReadError> {
        self.primary.execute(sql, parameters).await
    }

    /// Writes down that an API key or a bearer token was good for something, at most once a minute.
    ///
    /// # Errors
    /// The database cannot be written to.
    pub async fn record_use(
        &self,
        id: Uuid,
        last: Option<Timestamp>,
        at: Timestamp,
    ) -> Result<(), ReadError> {
        if last.is_some_and(|last| at < last.after(USED_EVERY)) {
            return Ok(());
        }
        // Only of what is there: what has ended and been cleared away gets no row again.
        let sql = "insert into coarse.last_used as u (id, at)
                   select $1::uuid, $2::timestamptz
                   where exists (select from view.api_keys where id = $1)
                      or exists (select from view.bearer_tokens where id = $1 and digest is not null)
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
        let with = "there as (select id from view.sources where id = $1),
                    kept as (insert into coarse.last_broadcast as b (source_id, at, payload)
                             select id, $2, $3 from there
                             on conflict (source_id) do update set at = excluded.at, payload = excluded.payload
                             where b.at < excluded.at)";
        let answer =
            self.primary.ask(with, "select exists (select from there)", &[&source, &at, &payload]).await?;
        Ok(answer.rows.first().map_or(Ok(false), |row| row.try_get(0))?)
    }

    /// Whether a device polls in time: for the first time, or later than the interval, less a second for the way, after
    /// its last poll in time.
    ///
    /// # Errors
    /// The database cannot be written to.
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

    /// Makes room for a device code that is asked for from an address of a network.
    ///
    /// # Errors
    /// The database cannot be written to.
    pub async fn admit_device_code(
        &self,
        code: DeviceCodeId,
        from: (&str, &str),
        (at, expires_at): (Timestamp, Timestamp),
        (per_network, in_all): (u32, u32),
    ) -> Result<Option<DeviceCodesFull>, ReadError> {
        let sql = "select coarse.admit_device_code($1, $2, $3, $4, $5, $6, $7)";
        let (network, address) = from;
        let (per_network, in_all) = (i64::from(per_network), i64::from(in_all));
        let parameters: [&(dyn ToSql + Sync); 7] =
            [&code, &network, &address, &at, &expires_at, &per_network, &in_all];
        let row = self.primary.call(sql, &parameters).await?;
        let full: Option<String> = row.map_or(Ok(None), |row| row.try_get(0))?;
        Ok(full.map(|full| if full == "network" { DeviceCodesFull::Network } else { DeviceCodesFull::All }))
    }

    /// The address from which a device code was asked for, if it was asked for from one.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn device_address(&self, code: DeviceCodeId) -> Result<Option<String>, ReadError> {
        let sql = "select address from coarse.device_origin where device_code_id = $1";
        Ok(self.primary.row(sql, &[&code]).await?.map(|row| row.try_get(0)).transpose()?)
    }

    /// Counts a try in each bucket; `false` if one of them has been tried too often within the window.
    ///
    /// # Errors
    /// The database cannot be written to.
    pub async fn attempt(
        &self,
        buckets: &[Bucket],
        at: Timestamp,
        within: Duration,
    ) -> Result<bool, ReadError> {
        let (names, mosts): (Vec<&str>, Vec<i64>) =
            buckets.iter().map(|(name, most)| (name.as_str(), i64::from(*most))).unzip();
        // A transaction of its own, which waits for nobody.
        let old = "delete from coarse.attempt a where a.bucket in (
                       select o.bucket from coarse.attempt o where o.since <= $1::timestamptz - make_interval(secs => $2)
                       for update skip locked)";
        self.execute(old, &[&at, &within.as_secs_f64()]).await?;
        let sql = "select coarse.attempt($1, $2, $3, make_interval(secs => $4))";
        let row = self.primary.call(sql, &[&names, &mosts, &at, &within.as_secs_f64()]).await?;
        Ok(row.map_or(Ok(false), |row| row.try_get(0))?)
    }

    /// How many tries are counted at most in one of these buckets.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn most_attempts(&self, buckets: &[&str]) -> Result<i64, ReadError> {
        let sql = "select coalesce(max(count), 0) from coarse.attempt where bucket = any ($1)";
        let row = self.primary.row(sql, &[&buckets]).await?;
        Ok(row.map_or(Ok(0), |row| row.try_get(0))?)
    }

    /// Takes a try back that was no failure.
    ///
    /// # Errors
    /// The database cannot be written to.
    pub async fn forgive_attempt(&self, buckets: &[Bucket]) -> Result<(), ReadError> {
        let names: Vec<&str> = buckets.iter().map(|(name, _)| name.as_str()).collect();
        // One by one, so that none is locked while another is waited for.
        let sql = "update coarse.attempt set count = greatest(count - 1, 0) where bucket = $1";
        for name in names {
            self.execute(sql, &[&name]).await?;
        }
        Ok(())
    }

    /// Writes down where people reach this instance.
    ///
    /// # Errors
    /// The database cannot be written to.
    pub async fn record_public_url(&self, public_url: &str, at: Timestamp) -> Result<(), ReadError> {
        let sql = "insert into coarse.public_url_of_instance (public_url, at) values ($1, $2)
                   on conflict (only_row) do update set public_url = excluded.public_url, at = excluded.at";
        self.execute(sql, &[&public_url, &at]).await?;
        Ok(())
    }

    /// Where people reach this instance, if it has ever been served.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn public_url_of_instance(&self) -> Result<Option<String>, ReadError> {
        let row = self.primary.row("select public_url from coarse.public_url_of_instance", &[]).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// Whether this is the first time that something comes that may come once until it expires.
    ///
    /// # Errors
    /// The database cannot be written to.
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

    /// Whether this node is the one that clears away what endings have left behind, for a while from now on.
    ///
    /// # Errors
    /// The database cannot be written to.
    pub async fn clears_away(&self, node: Uuid, lease: Duration) -> Result<bool, ReadError> {
        let sql = "insert into coarse.clearing as c (node, until)
                   values ($1, clock_timestamp() + make_interval(secs => $2))
                   on conflict (only_row) do update set node = excluded.node, until = excluded.until
                   where c.node = excluded.node or c.until < clock_timestamp()";
        Ok(self.execute(sql, &[&node, &lease.as_secs_f64()]).await? == 1)
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
            "delete from coarse.device_origin where device_code_id = any ($1)",
        ] {
            self.execute(sql, &[&gone]).await?;
        }
        Ok(())
    }
}
