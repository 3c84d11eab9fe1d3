//! What subscriptions store, in the database of the log: registrations, leases, checkpoints and parked streams.
//!
//! Every change of a holder names the epoch of its lease. If the slice has another holder by then, nothing is changed, and
//! the answer says so.

use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::handler::one_line;
use super::slices::{Handled, hash_of};
use super::subscription::{Start, SubscribeError, Subscription};
use crate::event_log::page::PAGE;
use crate::event_log::{EventLog, Primary, ReadError, StreamId};
use crate::ids::EventId;

/// The format of the stored subscriptions that this release reads and writes.
const FORMAT: i32 = 1;

/// Stores a checkpoint, if the lease and the epoch of the log are still the same, and the place is the one that it was counted
/// from: the transaction of an earlier call may have been stored although its answer was lost.
pub(super) const CHECKPOINT: &str = "
    changed as (
        update log.subscription_slice set position = $4, event_id = $5, in_doubt = $6, deliveries = 0, failure = null
        where subscription = $1 and slice = $2 and lease_epoch = $3 and (select epoch from log.head) = $7
          and (position = $8 or $9 and position = $4)
        returning subscription)";

/// Moves a parked stream forward, if the lease and the epoch of the log are still the same.
pub(super) const ADVANCE_PARKED: &str = "
    fenced as (
        select from log.subscription_slice
        where subscription = $1 and slice = $2 and lease_epoch = $3 and (select epoch from log.head) = $4 for update),
    changed as (
        update log.parked_stream set after = $7, deliveries = 0
        where subscription = $1 and stream_type = $5 and stream_id = $6 and after < $7
          and exists (select from fenced)
        returning subscription)";

/// Follows both: how many rows were changed; none if the lease is lost, or the log has another epoch.
pub(super) const CHANGED: &str = "select count(*) from changed";

/// A slice that this process holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Held {
    pub(super) slice: u32,
    pub(super) lease_epoch: i64,
}

/// What a process learns when it renews its leases.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) version: i32,
    pub(super) format: i32,
    /// The epoch of the stored positions, and that of the log.
    pub(super) epochs: (i64, i64),
    pub(super) is_paused: bool,
    pub(super) changes: i64,
    pub(super) slices: u32,
    /// How many processes take part, and how many of them come before this one.
    pub(super) subscribers: u32,
    pub(super) rank: u32,
    pub(super) held: Vec<Held>,
}

/// How far a slice has come.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) epoch: i64,
    pub(super) position: i64,
    pub(super) event_id: EventId,
    pub(super) begun: Begun,
    pub(super) failure: Option<String>,
    pub(super) handled: Handled,
    /// Whether the log has that event at that position.
    pub(super) is_in_log: bool,
}

/// A stream whose events wait.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Parked {
    pub(super) stream: StreamId,
    pub(super) after: i64,
    pub(super) deliveries: u32,
    pub(super) is_released: bool,
}

/// What may have begun after a checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Begun {
    /// Deliveries may be under way, and it is not known of which events.
    pub(super) in_doubt: bool,
    /// How often the first event was handed out alone.
    pub(super) deliveries: u32,
}

/// A checkpoint to store: the position and identifier of an event, and whether deliveries of later ones begin at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) position: i64,
    pub(super) event_id: EventId,
    pub(super) in_doubt: bool,
    /// The position of the checkpoint before it.
    pub(super) before: i64,
}

/// The stored rows of one subscription, as one process reads and changes them.
#[derive(Clone)]
pub(super) struct Store {
    primary: Primary,
    pub(super) name: Arc<str>,
    /// Identifies the process.
    subscriber: Uuid,
}

impl Held {
    fn number(self) -> i32 {
        signed(self.slice)
    }
}

pub(super) fn signed(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn unsigned(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

/// Registers a version of a subscription, or finds it registered.
pub(super) async fn register(log: &EventLog, subscription: &Subscription) -> Result<(), SubscribeError> {
    let name = &subscription.name;
    if let Some(account) = subscription.definition.filter.wanted_account() {
        let sql = "select exists (select from log.event where account_id = $1)";
        let found = log.primary().row(sql, &[&account]).await?;
        if !found.map_or(Ok(false), |row| row.try_get(0)).map_err(ReadError::from)? {
            return Err(super::filter::InvalidFilter::UnknownAccount(account).into());
        }
    }
    let start = match subscription.start {
        Start::Beginning => 0,
        Start::Newest => log.newest().await?,
        // Refuses a place that is not in the log.
        Start::After(place) => log.resume(&place).await?.position(),
    };
    let definition = subscription.definition_json();
    let (version, slices) = (signed(subscription.version), signed(subscription.definition.slices));
    let sql = "select outcome, found_version, found_definition
               from log.register_subscription($1, $2, $3, $4, $5, $6)";
    let parameters: [&(dyn ToSql + Sync); 6] =
        [name, &version, &definition, &slices, &start, &subscription.wants_all];
    let row = log.primary().call(sql, &parameters).await?;
    let row = row.ok_or_else(|| ReadError::Unavailable("the registration has no outcome".into()))?;
    let outcome: String = row.try_get(0).map_err(ReadError::from)?;
    match &*outcome {
        "superseded" => {
            let found = row.try_get(1).map_err(ReadError::from)?;
            Err(SubscribeError::Superseded { name: name.clone(), wanted: subscription.version, found })
        }
        "changed" => {
            let registered = row.try_get(2).map_err(ReadError::from)?;
            Err(SubscribeError::Changed { name: name.clone(), version: subscription.version, registered })
        }
        "epoch" => Err(SubscribeError::EpochChanged(name.clone())),
        "format" => Err(SubscribeError::NewerRelease(name.clone())),
        _ => Ok(()),
    }
}

impl Store {
    pub(super) fn new(log: &EventLog, name: &str, subscriber: Uuid) -> Self {
        Self { primary: log.primary().clone(), name: Arc::from(name), subscriber }
    }

    /// Whether this release reads and writes a format.
    pub(super) const fn knows(format: i32) -> bool {
        format <= FORMAT
    }

    /// Renews the leases of this process, and its membership if it takes part. None if the subscription does not exist any
    /// more.
    pub(super) async fn keep(&self, lease: Duration, takes_part: bool) -> Result<Option<Kept>, ReadError> {
        // A row that another statement has locked is left out: it would hold up the leases of the others.
        let with = "me as (
                        insert into log.subscriber (subscription, id, expires_at)
                        select name, $2, clock_timestamp() + make_interval(secs => case when $4 then $3 else 0::float8 end)
                        from log.subscription where name = $1
                        on conflict (subscription, id) do update set expires_at = excluded.expires_at),
                    gone as (
                        delete from log.subscriber
                        where subscription = $1 and expires_at < clock_timestamp() - interval '1 hour'),
                    mine as (
                        select slice from log.subscription_slice
                        where subscription = $1 and holder = $2 for update skip locked),
                    renewed as (
                        update log.subscription_slice s
                        set expires_at = clock_timestamp() + make_interval(secs => $3)
                        from mine where s.subscription = $1 and s.slice = mine.slice
                        returning s.slice, s.lease_epoch)";
        let select =
            "select s.version, s.format, s.epoch, h.epoch, s.paused_at is not null, s.changes, s.slices,
                             others.count, others.before,
                             (select array_agg(slice order by slice) from renewed),
                             (select array_agg(lease_epoch order by slice) from renewed)
                      from log.subscription s cross join log.head h
                      cross join lateral (
                          select count(*), count(*) filter (where id < $2) as before from log.subscriber
                          where subscription = $1 and id <> $2 and expires_at > clock_timestamp()) others
                      where s.name = $1";
        let seconds = lease.as_secs_f64();
        let answer =
            self.primary.ask(with, select, &[&&*self.name, &self.subscriber, &seconds, &takes_part]).await?;
        let Some(row) = answer.rows.first() else { return Ok(None) };
        let (others, before): (i64, i64) = (row.try_get(7)?, row.try_get(8)?);
        let slices: Vec<i32> = row.try_get::<_, Option<_>>(9)?.unwrap_or_default();
        let epochs: Vec<i64> = row.try_get::<_, Option<_>>(10)?.unwrap_or_default();
        let held = slices.into_iter().zip(epochs);
        Ok(Some(Kept {
            version: row.try_get(0)?,
            format: row.try_get(1)?,
            epochs: (row.try_get(2)?, row.try_get(3)?),
            is_paused: row.try_get(4)?,
            changes: row.try_get(5)?,
            slices: unsigned(row.try_get(6)?),
            subscribers: u32::try_from(others + 1).unwrap_or(u32::MAX),
            rank: u32::try_from(before).unwrap_or(u32::MAX),
            held: held.map(|(slice, lease_epoch)| Held { slice: unsigned(slice), lease_epoch }).collect(),
        }))
    }

    /// Takes over slices that nobody holds, at most `most` of them.
    pub(super) async fn take(
        &self,
        version: u32,
        lease: Duration,
        most: u32,
    ) -> Result<Vec<Held>, ReadError> {
        let with = "free as (
                        select slice from log.subscription_slice
                        where subscription = $1 and (holder is null or expires_at <= clock_timestamp())
                        order by slice limit $4 for update skip locked),
                    taken as (
                        update log.subscription_slice s
                        set holder = $2, lease_epoch = lease_epoch + 1,
                            expires_at = clock_timestamp() + make_interval(secs => $3)
                        from free
                        where s.subscription = $1 and s.slice = free.slice
                          and exists (select from log.subscription
                                      where name = $1 and version = $5 and paused_at is null)
                        returning s.slice, s.lease_epoch)";
        let (seconds, most) = (lease.as_secs_f64(), i64::from(most));
        let parameters: [&(dyn ToSql + Sync); 5] =
            [&&*self.name, &self.subscriber, &seconds, &most, &signed(version)];
        let answer = self.primary.ask(with, "select slice, lease_epoch from taken", &parameters).await?;
        let held = |row: &tokio_postgres::Row| {
            Ok(Held { slice: unsigned(row.try_get(0)?), lease_epoch: row.try_get(1)? })
        };
        answer.rows.iter().map(held).collect::<Result<_, tokio_postgres::Error>>().map_err(ReadError::from)
    }

    /// How far a slice has come; none if this process does not hold it any more.
    pub(super) async fn place(&self, held: Held) -> Result<Option<Place>, ReadError> {
        let sql =
            "select p.epoch, s.position, s.event_id, s.in_doubt, s.deliveries, s.failure, p.handled::text,
                          s.event_id = log.event_id_at(s.position)
                   from log.subscription_slice s join log.subscription p on p.name = s.subscription
                   where s.subscription = $1 and s.slice = $2 and s.lease_epoch = $3 and s.holder = $4";
        let parameters: [&(dyn ToSql + Sync); 4] =
            [&&*self.name, &held.number(), &held.lease_epoch, &self.subscriber];
        let Some(row) = self.primary.row(sql, &parameters).await? else { return Ok(None) };
        let position = row.try_get(1)?;
        let handled: String = row.try_get(6)?;
        let unreadable = || ReadError::Unavailable("what earlier versions have handled is unreadable".into());
        Ok(Some(Place {
            epoch: row.try_get(0)?,
            position,
            event_id: row.try_get(2)?,
            begun: Begun { in_doubt: row.try_get(3)?, deliveries: unsigned(row.try_get(4)?) },
            failure: row.try_get(5)?,
            handled: Handled::parse(&handled).ok_or_else(unreadable)?.after(position),
            is_in_log: row.try_get(7)?,
        }))
    }

    /// Stores a checkpoint; one that is stored already is no failure. Returns false if the lease is lost, another place is
    /// stored, or the log has another epoch.
    pub(super) async fn checkpoint(&self, held: Held, mark: Mark, epoch: i64) -> Result<bool, ReadError> {
        let Mark { position, event_id, in_doubt, before } = mark;
        let parameters: [&(dyn ToSql + Sync); 9] = [
            &&*self.name,
            &held.number(),
            &held.lease_epoch,
            &position,
            &event_id,
            &in_doubt,
            &epoch,
            &before,
            &true,
        ];
        self.has_changed(CHECKPOINT, &parameters).await
    }

    /// Runs the statements of a `with` clause and returns whether the one named `changed` has changed a row.
    async fn has_changed(&self, with: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<bool, ReadError> {
        let answer = self.primary.ask(with, CHANGED, parameters).await?;
        let count: i64 = answer.rows.first().map_or(Ok(0), |row| row.try_get(0))?;
        Ok(count > 0)
    }

    /// Stores what begins before it does, or why it failed. Returns false if the lease is lost.
    ///
    /// Does not wait for the disk: a crash of PostgreSQL costs a count, and one more delivery.
    pub(super) async fn begin(
        &self,
        held: Held,
        begun: Begun,
        failure: Option<&str>,
    ) -> Result<bool, ReadError> {
        let sql = "update log.subscription_slice set in_doubt = $4, deliveries = $5, failure = $6
                   where subscription = $1 and slice = $2 and lease_epoch = $3
                     and set_config('synchronous_commit', 'off', true) is not null";
        let failure = failure.map(one_line);
        let parameters: [&(dyn ToSql + Sync); 6] = [
            &&*self.name,
            &held.number(),
            &held.lease_epoch,
            &begun.in_doubt,
            &signed(begun.deliveries),
            &failure,
        ];
        Ok(self.primary.execute(sql, &parameters).await? > 0)
    }

    /// Gives a slice back; nothing of it is under way. If the lease is lost, nothing happens.
    pub(super) async fn release(&self, held: Held, deliveries: Option<u32>) -> Result<(), ReadError> {
        // Without a number the holder has not looked, and begun nothing.
        let sql = "update log.subscription_slice
                   set holder = null, expires_at = null, deliveries = coalesce($4, deliveries),
                       in_doubt = in_doubt and $4::int is null
                   where subscription = $1 and slice = $2 and lease_epoch = $3";
        let parameters: [&(dyn ToSql + Sync); 4] =
            [&&*self.name, &held.number(), &held.lease_epoch, &deliveries.map(signed)];
        self.primary.execute(sql, &parameters).await.map(drop)
    }

    /// Gives a slice back that cannot go on, and says why. If the lease is lost, nothing happens.
    pub(super) async fn release_blocked(&self, held: Held, reason: &str) -> Result<(), ReadError> {
        let sql = "update log.subscription_slice set holder = null, expires_at = null, failure = $4
                   where subscription = $1 and slice = $2 and lease_epoch = $3";
        let reason = one_line(reason);
        let parameters: [&(dyn ToSql + Sync); 4] = [&&*self.name, &held.number(), &held.lease_epoch, &reason];
        self.primary.execute(sql, &parameters).await.map(drop)
    }

    /// Says that this process takes part no longer.
    pub(super) async fn leave(&self) -> Result<(), ReadError> {
        let sql = "delete from log.subscriber where subscription = $1 and id = $2";
        self.primary.execute(sql, &[&&*self.name, &self.subscriber]).await.map(drop)
    }

    /// The streams of a slice that wait.
    pub(super) async fn parked(&self, held: Held) -> Result<Vec<Parked>, ReadError> {
        let sql = "select stream_type, stream_id, after, deliveries, released_at is not null
                   from log.parked_stream
                   where subscription = $1 and slice = $2 and (stream_type, stream_id) > ($3, $4)
                   order by stream_type, stream_id limit $5";
        let parked = |row: &tokio_postgres::Row| {
            let (stream_type, id): (String, &str) = (row.try_get(0)?, row.try_get(1)?);
            Ok(Parked {
                stream: StreamId { stream_type: stream_type.into(), id: Arc::from(id) },
                after: row.try_get(2)?,
                deliveries: unsigned(row.try_get(3)?),
                is_released: row.try_get(4)?,
            })
        };
        let mut all: Vec<Parked> = Vec::new();
        loop {
            let (after_type, after_id) =
                all.last().map_or(("", ""), |last| (&*last.stream.stream_type, &*last.stream.id));
            let parameters: [&(dyn ToSql + Sync); 5] =
                [&&*self.name, &held.number(), &after_type, &after_id, &PAGE];
            let rows = self.primary.rows(sql, &parameters).await?;
            let page: Vec<Parked> = rows.iter().map(parked).collect::<Result<_, tokio_postgres::Error>>()?;
            let is_last = page.is_empty();
            all.extend(page);
            if is_last {
                return Ok(all);
            }
        }
    }

    /// Parks the stream of the event at `mark`, and goes on after that event. Returns false if the lease is lost.
    pub(super) async fn park(
        &self,
        held: Held,
        (mark, epoch): (Mark, i64),
        parked: &Parked,
        failure: &str,
    ) -> Result<bool, ReadError> {
        let with = format!(
            "{CHECKPOINT},
             parked as (
                 insert into log.parked_stream
                     (subscription, stream_type, stream_id, stream_hash, slice, after, deliveries, failure)
                 select subscription, $10, $11, $15, $2, $12, $13, $14 from changed
                 on conflict (subscription, stream_type, stream_id) do nothing)"
        );
        let Mark { position, event_id, in_doubt, before } = mark;
        let failure = one_line(failure);
        let parameters: [&(dyn ToSql + Sync); 15] = [
            &&*self.name,
            &held.number(),
            &held.lease_epoch,
            &position,
            &event_id,
            &in_doubt,
            &epoch,
            &before,
            // Otherwise the stream of an event could be parked that a transaction has handled whose answer was lost.
            &false,
            &&*parked.stream.stream_type,
            &&*parked.stream.id,
            &parked.after,
            &signed(parked.deliveries),
            &failure,
            &hash_of(&parked.stream),
        ];
        self.has_changed(&with, &parameters).await
    }

    /// Stores that events of a parked stream up to `after` are handled. Returns false if the lease is lost.
    pub(super) async fn advance_parked(
        &self,
        held: Held,
        epoch: i64,
        stream: &StreamId,
        after: i64,
    ) -> Result<bool, ReadError> {
        let (stream_type, stream_id) = (&*stream.stream_type, &*stream.id);
        let parameters: [&(dyn ToSql + Sync); 7] =
            [&&*self.name, &held.number(), &held.lease_epoch, &epoch, &stream_type, &stream_id, &after];
        self.has_changed(ADVANCE_PARKED, &parameters).await
    }

    /// Changes the row of a parked stream, if the lease is still this process's. Returns whether it was changed.
    async fn change_parked(
        &self,
        held: Held,
        stream: &StreamId,
        change: &str,
        more: &[&(dyn ToSql + Sync)],
    ) -> Result<bool, ReadError> {
        let with = format!(
            "fenced as (
                 select from log.subscription_slice
                 where subscription = $1 and slice = $2 and lease_epoch = $3 for update),
             changed as (
                 {change} where subscription = $1 and stream_type = $4 and stream_id = $5
                   and released_at is not null and exists (select from fenced) returning true)"
        );
        let (number, stream_type, stream_id) = (held.number(), &*stream.stream_type, &*stream.id);
        let mut parameters: Vec<&(dyn ToSql + Sync)> = Vec::new();
        let name = &*self.name;
        parameters.extend([
            &name as &(dyn ToSql + Sync),
            &number,
            &held.lease_epoch,
            &stream_type,
            &stream_id,
        ]);
        parameters.extend(more);
        self.has_changed(&with, &parameters).await
    }

    /// Counts a delivery of the first event of an unparked stream before it begins.
    pub(super) async fn count_parked(
        &self,
        held: Held,
        stream: &StreamId,
        deliveries: u32,
    ) -> Result<bool, ReadError> {
        let change = "update log.parked_stream set deliveries = $6";
        self.change_parked(held, stream, change, &[&signed(deliveries)]).await
    }

    /// Parks an unparked stream again.
    pub(super) async fn park_again(
        &self,
        held: Held,
        stream: &StreamId,
        failure: &str,
    ) -> Result<bool, ReadError> {
        let change =
            "update log.parked_stream set released_at = null, parked_at = clock_timestamp(), failure = $6";
        self.change_parked(held, stream, change, &[&one_line(failure)]).await
    }

    /// Forgets an unparked stream of which nothing waits any more.
    pub(super) async fn unparked(&self, held: Held, stream: &StreamId) -> Result<bool, ReadError> {
        self.change_parked(held, stream, "delete from log.parked_stream", &[]).await
    }
}
