//! What is stored of the relay: who relays, and what is known of the stream.

use std::ops::Range;

use uuid::Uuid;

use super::super::store::{LEASE_SECONDS, Store};
use super::settings::RelayFrom;
use crate::clock::Timestamp;
use crate::event_log::ReadError;
use crate::ids::EventId;

/// What is known of the relay's stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::nats) struct Record {
    /// The node that relays, while its lease lasts.
    pub(in crate::nats) node: Option<Uuid>,
    /// The epoch of the stream.
    pub(in crate::nats) epoch: Option<i64>,
    /// The first position that it carries.
    pub(in crate::nats) first: Option<i64>,
    /// Whether it was made.
    pub(in crate::nats) is_made: bool,
    /// The newest position that was seen in it.
    pub(in crate::nats) relayed: i64,
    /// From which position on an operator wants a stream.
    pub(in crate::nats) told: Option<i64>,
    /// The durable consumers that the stream gets back once it is made anew, as JSON.
    pub(in crate::nats) consumers: Option<String>,
    /// Why the relay has stopped.
    pub(in crate::nats) refusal: Option<String>,
    /// Why it does not get on at the moment.
    pub(in crate::nats) failure: Option<String>,
    /// How often lost events were published again.
    pub(in crate::nats) repairs: i64,
    /// The last time: first and last position, and when.
    pub(in crate::nats) repaired: Option<(i64, i64, Timestamp)>,
    /// Whether the stream was made anew for that.
    pub(in crate::nats) repaired_anew: bool,
    /// Whether the stream was made anew within the last minutes because it had lost events.
    pub(in crate::nats) was_remade: bool,
}

/// The columns of a [`Record`]. Within ten minutes, a stream is not made anew twice.
const RECORD: &str = "case when until > clock_timestamp() then node end as node, epoch, first_position, is_made, relayed, told,
    refusal, failure, repairs, repaired_from, repaired_to, repaired_at,
    coalesce(remade_at > clock_timestamp() - interval '10 minutes', false) as was_remade, consumers,
    coalesce(remade_at = repaired_at, false) as repaired_anew";

impl Store {
    /// Takes the lease to relay. `None` while another node has it.
    pub(super) async fn take_relay(&self, node: Uuid) -> Result<Option<Record>, ReadError> {
        let with = format!(
            "taken as (
                 insert into coarse.nats_relay as r (node, until)
                 values ($1, clock_timestamp() + make_interval(secs => $2))
                 on conflict (only_row) do update set node = excluded.node, until = excluded.until
                 where r.node is null or r.node = excluded.node or r.until < clock_timestamp()
                 returning {RECORD})"
        );
        let answer = self.primary().ask(&with, "select * from taken", &[&node, &LEASE_SECONDS]).await?;
        Ok(answer.rows.first().map(record).transpose()?)
    }

    /// What is known of the relay.
    pub(in crate::nats) async fn relay(&self) -> Result<Record, ReadError> {
        let row = self.primary().row(&format!("select {RECORD} from coarse.nats_relay"), &[]).await?;
        Ok(row.as_ref().map(record).transpose()?.unwrap_or_default())
    }

    /// Renews the lease and notes how far the stream has come. `None` if it is not this node's any more; else whether an operator
    /// has told something.
    pub(super) async fn renew_relay(
        &self,
        node: Uuid,
        epoch: i64,
        relayed: i64,
    ) -> Result<Option<bool>, ReadError> {
        let with = "renewed as (
            update coarse.nats_relay
            set until = clock_timestamp() + make_interval(secs => $2),
                relayed = case when epoch = $3 then greatest(relayed, $4) else relayed end
            where node = $1 returning told is not null)";
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
            [&node, &LEASE_SECONDS, &epoch, &relayed];
        let answer = self.primary().ask(with, "select * from renewed", &parameters).await?;
        Ok(answer.rows.first().map(|row| row.try_get(0)).transpose()?)
    }

    /// Gives the lease back.
    pub(in crate::nats) async fn release_relay(&self, node: Uuid) -> Result<(), ReadError> {
        let sql = "update coarse.nats_relay set node = null, until = null where node = $1";
        self.primary().execute(sql, &[&node]).await?;
        Ok(())
    }

    /// Notes from where an operator wants a stream to begin, if the present one cannot go on. The head is that of this moment.
    pub(in crate::nats) async fn tell_relay(&self, from: RelayFrom) -> Result<(), ReadError> {
        let told = match from {
            RelayFrom::Position(position) => position,
            RelayFrom::Head => self.newest().await?.0 + 1,
        };
        let sql = "insert into coarse.nats_relay (told) values ($1)
                   on conflict (only_row) do update set told = excluded.told";
        self.primary().execute(sql, &[&told]).await?;
        Ok(())
    }

    /// Notes that the first stream begins after the newest event of this moment, unless something was told or made before.
    pub(super) async fn begin_relay(&self) -> Result<(), ReadError> {
        let (position, epoch) = self.newest().await?;
        let sql = "insert into coarse.nats_relay as r (epoch, first_position) values ($1, $2)
                   on conflict (only_row) do update
                   set epoch = excluded.epoch, first_position = excluded.first_position
                   where r.first_position is null and r.told is null";
        self.primary().execute(sql, &[&epoch, &(position + 1)]).await?;
        Ok(())
    }

    /// Notes where the stream of an epoch is about to begin, before it is made, and which consumers it gets; and what was lost, if
    /// that is why. False, and nothing is noted, if the lease is another node's or the log has another epoch.
    pub(super) async fn note_relay_begins(
        &self,
        node: Uuid,
        (epoch, first): (i64, i64),
        consumers: Option<&str>,
        lost: Option<(i64, i64)>,
    ) -> Result<bool, ReadError> {
        let (from, to) = lost.unzip();
        let sql = "update coarse.nats_relay
                   set epoch = $2, first_position = $3::bigint, is_made = false, relayed = $3::bigint - 1, consumers = $4,
                       told = case when told is not null then $3::bigint end, refusal = null, failure = null,
                       repairs = repairs + case when $5::bigint is null then 0 else 1 end,
                       repaired_from = coalesce($5, repaired_from), repaired_to = coalesce($6, repaired_to),
                       repaired_at = case when $5 is null then repaired_at else now() end,
                       remade_at = case when $5 is null then remade_at else now() end
                   where node = $1 and (select epoch from log.head) = $2";
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
            [&node, &epoch, &first, &consumers, &from, &to];
        Ok(self.primary().execute(sql, &values).await? == 1)
    }

    /// Notes that the stream is as it should be, and forgets what was told.
    /// False, and nothing is noted, if the lease is another node's or the log has another epoch.
    pub(super) async fn note_relay_open(
        &self,
        node: Uuid,
        (epoch, first, tail): (i64, i64, i64),
    ) -> Result<bool, ReadError> {
        let sql = "update coarse.nats_relay
                   set epoch = $2, first_position = $3, is_made = true, relayed = $4, told = null, consumers = null, refusal = null,
                       failure = null
                   where node = $1 and (select epoch from log.head) = $2";
        Ok(self.primary().execute(sql, &[&node, &epoch, &first, &tail]).await? == 1)
    }

    /// Notes that these positions were lost at `JetStream` and are published again.
    pub(super) async fn note_relay_repair(
        &self,
        node: Uuid,
        (from, to): (i64, i64),
    ) -> Result<(), ReadError> {
        let sql = "update coarse.nats_relay
                   set repairs = repairs + 1, repaired_from = $2, repaired_to = $3, repaired_at = now()
                   where node = $1";
        self.primary().execute(sql, &[&node, &from, &to]).await?;
        Ok(())
    }

    /// Notes why the relay does not get on. A refusal stays until the stream can go on.
    pub(super) async fn note_relay_failure(
        &self,
        node: Uuid,
        refusal: Option<&str>,
        failure: Option<&str>,
    ) -> Result<(), ReadError> {
        let sql = "update coarse.nats_relay set refusal = coalesce($2, refusal), failure = $3
                   where (node = $1 or node is null) and (refusal, failure) is distinct from (coalesce($2, refusal), $3)";
        self.primary().execute(sql, &[&node, &refusal, &failure]).await?;
        Ok(())
    }

    /// The identifier of the event at a position, and the newest position.
    pub(super) async fn event_at(&self, position: i64) -> Result<(Option<EventId>, i64), ReadError> {
        let sql = "select event_id from log.event where position = $1";
        let answer = self.primary().query(sql, &[&position]).await?;
        let id = answer.rows.first().map(|row| row.try_get(0)).transpose()?;
        Ok((id, answer.position))
    }

    /// The identifiers of the events at these positions, in order.
    pub(super) async fn events_in(&self, positions: Range<i64>) -> Result<Vec<EventId>, ReadError> {
        let sql = "select event_id from log.event where position >= $1 and position < $2 order by position";
        let answer = self.primary().query(sql, &[&positions.start, &positions.end]).await?;
        Ok(answer.rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
    }

    /// The newest position, and the epoch.
    pub(in crate::nats) async fn newest(&self) -> Result<(i64, i64), ReadError> {
        let answer = self.primary().query("select 1", &[]).await?;
        Ok((answer.position, answer.epoch))
    }

    /// When the event after a position was recorded; `None` if there is none.
    pub(in crate::nats) async fn recorded_after(
        &self,
        position: i64,
    ) -> Result<Option<Timestamp>, ReadError> {
        let sql = "select recorded_at from log.event where position = $1";
        let row = self.primary().row(sql, &[&(position + 1)]).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }
}

fn record(row: &tokio_postgres::Row) -> Result<Record, tokio_postgres::Error> {
    let (from, to, at): (Option<i64>, Option<i64>, Option<Timestamp>) =
        (row.try_get(9)?, row.try_get(10)?, row.try_get(11)?);
    Ok(Record {
        node: row.try_get(0)?,
        epoch: row.try_get(1)?,
        first: row.try_get(2)?,
        is_made: row.try_get(3)?,
        relayed: row.try_get(4)?,
        told: row.try_get(5)?,
        refusal: row.try_get(6)?,
        failure: row.try_get(7)?,
        repairs: row.try_get(8)?,
        repaired: from.zip(to).zip(at).map(|((from, to), at)| (from, to, at)),
        was_remade: row.try_get(12)?,
        consumers: row.try_get(13)?,
        repaired_anew: row.try_get(14)?,
    })
}
