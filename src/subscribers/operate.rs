//! What operators see of subscriptions, and what they can do to them. Every act is recorded, with who did it and why.

use std::sync::Arc;

use serde::Serialize;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::slices::{Handled, slice_of};
use super::store::Store;
use super::subscription::Definition;
use crate::clock::Timestamp;
use crate::event_log::read::Filter;
use crate::event_log::{EventLog, PositionToken, ReadError, RecordedEvent, StreamId};

/// The most characters of a reason and of a name.
const MAX_REASON_CHARS: usize = 500;

/// Up to this number the events that wait are counted.
const MAX_COUNTED: usize = 1_000;

/// The subscriptions of a log.
#[derive(Clone)]
pub struct Subscriptions {
    log: EventLog,
}

/// How a subscription is doing.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Overview {
    /// Its name.
    pub name: String,
    /// The version that is registered.
    pub version: i32,
    /// `running`, `idle` (no process takes part), `paused`, `failing` (an event is tried again, a dependency is missing, or a
    /// slice cannot go on), or `epoch_changed` (the log was restored or has lost events).
    pub state: &'static str,
    /// The number of its slices.
    pub slices: i32,
    /// How many of them a process holds.
    pub held: i64,
    /// How many events the slice that is furthest behind has not looked at yet.
    pub lag_events: i64,
    /// The age of the oldest event that it has not handled, in seconds; 0 if there is none. Parked events do not count.
    pub lag_seconds: f64,
    /// How many streams are parked.
    pub parked_streams: i64,
    /// Why a slice does not go on, if it does not.
    pub failure: Option<String>,
}

/// How far a slice has come.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct SliceRecord {
    /// Its number, from 0.
    pub slice: i32,
    /// The token of the last position that it is done with.
    pub position: String,
    /// The process that holds it; `None` if nobody does.
    pub holder: Option<uuid::Uuid>,
    /// Until when, unless the process renews its lease.
    pub expires_at: Option<Timestamp>,
    /// How often the slice was taken over.
    pub lease_epoch: i64,
    /// How often the next event was handed out alone, after trouble.
    pub deliveries: i32,
    /// Why the next event is not handled yet.
    pub failure: Option<String>,
}

/// A stream whose events wait.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ParkedRecord {
    /// The stream, as `<type>/<id>`.
    pub stream: String,
    /// The token of the position of the first event that waits; `None` if none does any more.
    pub position: Option<String>,
    /// The stored name of that event.
    pub event_type: Option<String>,
    /// How many events wait; 1,000 stands for so many or more.
    pub waiting: usize,
    /// Why the first event was not handled.
    pub failure: String,
    /// When the stream was parked.
    pub parked_at: Timestamp,
    /// When an operator unparked it; its events are being handled.
    pub released_at: Option<Timestamp>,
}

/// What an operator did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ActRecord {
    /// Numbers the acts of all subscriptions.
    pub number: i64,
    /// `pause`, `resume`, `unpark`, `skip`, `rewind` or `remove`.
    pub act: String,
    /// The operator who acted.
    pub actor: String,
    /// The reason that was given.
    pub reason: String,
    /// The stream that was unparked or skipped in, as `<type>/<id>`.
    pub stream: Option<String>,
    /// The position that was skipped, or gone back to.
    pub position: Option<i64>,
    /// The time of the act.
    pub acted_at: Timestamp,
}

/// Who acts, and why.
#[derive(Clone, Debug)]
pub struct By {
    actor: String,
    reason: String,
}

impl By {
    /// Who acts, and why; neither may be empty.
    ///
    /// # Errors
    /// [`OperateError::Unexplained`] if one is empty or has more than 500 characters.
    pub fn new(actor: &str, reason: &str) -> Result<Self, OperateError> {
        let is_good = |text: &str| {
            let length = text.trim().chars().count();
            (1..=MAX_REASON_CHARS).contains(&length) && !text.chars().any(char::is_control)
        };
        if !is_good(actor) || !is_good(reason) {
            return Err(OperateError::Unexplained);
        }
        Ok(Self { actor: actor.trim().to_owned(), reason: reason.trim().to_owned() })
    }
}

/// Why an operator's act was refused.
#[derive(Debug, thiserror::Error)]
pub enum OperateError {
    /// There is no such subscription.
    #[error("there is no subscription {0}; `tenure subscriptions list` shows all")]
    NotFound(String),
    /// It is not said who acts, or why.
    #[error("say who does this and why, in 1 to {MAX_REASON_CHARS} printable characters each")]
    Unexplained,
    /// The stream is not parked.
    #[error("the stream {0} is not parked")]
    NotParked(String),
    /// The event is not the first of its stream that waits.
    #[error("the event at {position} is not the next one that waits in a parked stream{}", next.as_ref().map_or_else(String::new, |next| format!("; the next one is at {next}")))]
    NotNext {
        /// The token that was given.
        position: PositionToken,
        /// The token of the event that is next.
        next: Option<PositionToken>,
    },
    /// All slices are at an earlier position, or at this one.
    #[error("the subscription is not beyond {0}: a rewind goes back; to pass over an event, skip it")]
    NotBeyond(PositionToken),
    /// The log does not have the events at the checkpoints any more.
    #[error(
        "the log has lost the events at the checkpoints (slice {slice} is at position {position}): rewind to an earlier position that it has"
    )]
    CheckpointLost {
        /// A slice whose checkpoint is not in the log.
        slice: i32,
        /// Its position.
        position: i64,
    },
    /// Processes take part in the subscription. They would register it again, from the beginning.
    #[error("{0} slices are held by running processes: stop them first")]
    InUse(i64),
    /// The stored definition cannot be read.
    #[error("the subscription was written by a later release of Tenure; run that release")]
    NewerRelease,
    /// The log cannot be read or written, or the position is not in it.
    #[error(transparent)]
    Log(#[from] ReadError),
}

impl From<tokio_postgres::Error> for OperateError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Log(error.into())
    }
}

/// Selects what [`overview`] reads, for the subscriptions that a condition names.
fn overviews(condition: &str) -> String {
    format!(
        "select s.name, s.version, s.slices, s.paused_at is not null, s.epoch = h.epoch, of_slices.held,
                greatest(0, newest.position - of_slices.position),
                coalesce(greatest(0, extract(epoch from clock_timestamp() - (
                    select recorded_at from log.event where position = of_slices.position + 1))), 0)::float8,
                (select count(*) from log.parked_stream p where p.subscription = s.name), of_slices.failure
         from log.subscription s
         cross join log.head h
         cross join lateral (
             select min(position) as position, count(*) filter (where expires_at > clock_timestamp()) as held,
                    min(failure) as failure
             from log.subscription_slice l where l.subscription = s.name) of_slices
         cross join lateral (
             select coalesce((select position from log.event order by position desc limit 1), 0) as position) newest
         where {condition} order by s.name limit $2"
    )
}

fn overview(row: &Row) -> Result<Overview, tokio_postgres::Error> {
    let (is_paused, is_of_epoch): (bool, bool) = (row.try_get(3)?, row.try_get(4)?);
    let held: i64 = row.try_get(5)?;
    let failure: Option<String> = row.try_get(9)?;
    let state = match (is_of_epoch, is_paused, held, &failure) {
        (false, ..) => "epoch_changed",
        (true, true, ..) => "paused",
        (true, false, _, Some(_)) => "failing",
        (true, false, 0, None) => "idle",
        (true, false, _, None) => "running",
    };
    Ok(Overview {
        name: row.try_get(0)?,
        version: row.try_get(1)?,
        state,
        slices: row.try_get(2)?,
        held,
        lag_events: row.try_get(6)?,
        lag_seconds: row.try_get(7)?,
        parked_streams: row.try_get(8)?,
        failure,
    })
}

impl Subscriptions {
    /// The subscriptions of a log.
    #[must_use]
    pub fn of(log: &EventLog) -> Self {
        Self { log: log.clone() }
    }

    /// The subscriptions after a name, in the order of their names, at most `limit`.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`]
    pub async fn list(&self, after: &str, limit: i64) -> Result<Vec<Overview>, ReadError> {
        let rows = self.log.primary().rows(&overviews("s.name > $1"), &[&after, &limit]).await?;
        rows.iter().map(overview).collect::<Result<_, _>>().map_err(ReadError::from)
    }

    /// One subscription.
    ///
    /// # Errors
    /// [`OperateError::NotFound`], or the log cannot be read.
    pub async fn overview(&self, name: &str) -> Result<Overview, OperateError> {
        let row = self.log.primary().row(&overviews("s.name = $1"), &[&name, &1_i64]).await?;
        Ok(overview(&row.ok_or_else(|| OperateError::NotFound(name.to_owned()))?)?)
    }

    /// The slices of a subscription.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`]
    pub async fn slices(&self, name: &str) -> Result<Vec<SliceRecord>, ReadError> {
        let sql = "select s.slice, p.epoch, s.position, case when s.expires_at > clock_timestamp() then s.holder end,
                          s.expires_at, s.lease_epoch, s.deliveries, s.failure
                   from log.subscription_slice s join log.subscription p on p.name = s.subscription
                   where s.subscription = $1 order by s.slice";
        let slice = |row: &Row| {
            let token = PositionToken { epoch: row.try_get(1)?, position: row.try_get(2)? };
            Ok(SliceRecord {
                slice: row.try_get(0)?,
                position: token.to_string(),
                holder: row.try_get(3)?,
                expires_at: row.try_get(4)?,
                lease_epoch: row.try_get(5)?,
                deliveries: row.try_get(6)?,
                failure: row.try_get(7)?,
            })
        };
        let rows = self.log.primary().rows(sql, &[&name]).await?;
        rows.iter().map(slice).collect::<Result<_, tokio_postgres::Error>>().map_err(ReadError::from)
    }

    /// The parked streams of a subscription after a stream, in the order of type and identifier, at most `limit`.
    ///
    /// # Errors
    /// [`OperateError::NotFound`], or the log cannot be read.
    pub async fn parked(
        &self,
        name: &str,
        after: Option<&StreamId>,
        limit: i64,
    ) -> Result<Vec<ParkedRecord>, OperateError> {
        let definition = self.definition(name).await?;
        let (after_type, after_id) = after.map_or(("", ""), |stream| (&*stream.stream_type, &*stream.id));
        let sql =
            "select stream_type, stream_id, after, failure, parked_at, released_at from log.parked_stream
                   where subscription = $1 and (stream_type, stream_id) > ($2, $3)
                   order by stream_type, stream_id limit $4";
        let rows = self.log.primary().rows(sql, &[&name, &after_type, &after_id, &limit]).await?;
        let mut all = Vec::with_capacity(rows.len());
        for row in &rows {
            let (stream, after) = (stream_of(row)?, row.try_get(2)?);
            let waiting = self.waiting(name, &definition, &stream, after).await?;
            let first = waiting.first();
            let epoch = self.log.seen().get().epoch;
            all.push(ParkedRecord {
                stream: stream.to_string(),
                position: first.map(|event| PositionToken { epoch, position: event.position }.to_string()),
                event_type: first.map(|event| event.event_type.clone()),
                waiting: waiting.len(),
                failure: row.try_get(3)?,
                parked_at: row.try_get(4)?,
                released_at: row.try_get(5)?,
            });
        }
        Ok(all)
    }

    /// What operators did to a subscription, newest first, before an act, at most `limit`.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`]
    pub async fn acts(
        &self,
        name: &str,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<ActRecord>, ReadError> {
        let sql = "select number, act, actor, reason, stream, position, acted_at from log.subscription_act
                   where subscription = $1 and number < $2 order by number desc limit $3";
        let act = |row: &Row| {
            Ok(ActRecord {
                number: row.try_get(0)?,
                act: row.try_get(1)?,
                actor: row.try_get(2)?,
                reason: row.try_get(3)?,
                stream: row.try_get(4)?,
                position: row.try_get(5)?,
                acted_at: row.try_get(6)?,
            })
        };
        let rows = self.log.primary().rows(sql, &[&name, &before.unwrap_or(i64::MAX), &limit]).await?;
        rows.iter().map(act).collect::<Result<_, tokio_postgres::Error>>().map_err(ReadError::from)
    }

    /// Pauses a subscription: its processes finish what is under way and give their slices back.
    ///
    /// # Errors
    /// [`OperateError::NotFound`], or the log cannot be written.
    pub async fn pause(&self, name: &str, by: &By) -> Result<(), OperateError> {
        let change = "update log.subscription set paused_at = coalesce(paused_at, clock_timestamp()), changes = changes + 1
                      where name = $1 returning name";
        self.act_on(change, "pause", name, by).await
    }

    /// Lets a subscription go on that is paused, blocked, or has checkpoints of an earlier epoch of the log.
    ///
    /// # Errors
    /// [`OperateError::NotFound`], [`OperateError::CheckpointLost`], or the log cannot be written.
    pub async fn resume(&self, name: &str, by: &By) -> Result<(), OperateError> {
        let sql = "select slice, position from log.subscription_slice
                   where subscription = $1 and event_id <> log.event_id_at(position) order by slice limit 1";
        if let Some(row) = self.log.primary().row(sql, &[&name]).await? {
            return Err(OperateError::CheckpointLost { slice: row.try_get(0)?, position: row.try_get(1)? });
        }
        let change = "update log.subscription
                      set paused_at = null, epoch = (select epoch from log.head), changes = changes + 1
                      where name = $1 returning name";
        self.act_on(change, "resume", name, by).await
    }

    /// Unparks a stream, or all: the events that wait are handled in order, then those that come. Returns how many streams.
    ///
    /// # Errors
    /// [`OperateError::NotFound`], [`OperateError::NotParked`], or the log cannot be written.
    pub async fn unpark(&self, name: &str, stream: Option<&StreamId>, by: &By) -> Result<i64, OperateError> {
        let of_one = if stream.is_some() { "and stream_type = $7 and stream_id = $8" } else { "" };
        let change = format!(
            "update log.parked_stream set released_at = clock_timestamp(), deliveries = 0
             where subscription = $1 and released_at is null {of_one} returning subscription as name"
        );
        let text = stream.map(ToString::to_string);
        let parts = stream.map(|stream| (&*stream.stream_type, &*stream.id)).unwrap_or_default();
        let more: [&(dyn ToSql + Sync); 2] = [&parts.0, &parts.1];
        let more = if stream.is_some() { &more[..] } else { &[] };
        let count = self.act(&change, "unpark", name, by, (text.clone(), None), more).await?;
        if count == 0 {
            self.overview(name).await?;
            if let Some(stream) = text {
                return Err(OperateError::NotParked(stream));
            }
        }
        Ok(count)
    }

    /// Passes over the event that a parked stream waits for, and unparks the stream.
    ///
    /// # Errors
    /// [`OperateError::NotFound`], [`OperateError::NotNext`], or the log cannot be written.
    pub async fn skip(&self, name: &str, position: PositionToken, by: &By) -> Result<StreamId, OperateError> {
        let definition = self.definition(name).await?;
        self.log.place(position).await?;
        let sql = "select e.stream_type, e.stream_id, p.after
                   from log.event e
                   left join log.parked_stream p
                     on p.subscription = $1 and p.stream_type = e.stream_type and p.stream_id = e.stream_id
                        and p.released_at is null
                   where e.position = $2";
        let none = || OperateError::NotNext { position, next: None };
        let row = self.log.primary().row(sql, &[&name, &position.position]).await?.ok_or_else(none)?;
        let (stream, after) = (stream_of(&row)?, row.try_get::<_, Option<i64>>(2)?.ok_or_else(none)?);
        let waiting = self.waiting(name, &definition, &stream, after).await?;
        let next = waiting.first().map(|event| PositionToken { position: event.position, ..position });
        if next != Some(position) {
            return Err(OperateError::NotNext { position, next });
        }
        let change =
            "update log.parked_stream set released_at = clock_timestamp(), deliveries = 0, after = $6
                      where subscription = $1 and stream_type = $7 and stream_id = $8 and after = $9
                        and released_at is null
                      returning subscription as name";
        let (stream_type, id) = (&*stream.stream_type, &*stream.id);
        let about = (Some(stream.to_string()), Some(position.position));
        if self.act(change, "skip", name, by, about, &[&stream_type, &id, &after]).await? == 0 {
            return Err(OperateError::NotNext { position, next: None });
        }
        Ok(stream)
    }

    /// Goes back to a position: the events after it are handled again. Running processes lose their leases.
    ///
    /// # Errors
    /// [`OperateError::NotFound`], [`OperateError::NotBeyond`], or the log cannot be written.
    pub async fn rewind(&self, name: &str, to: PositionToken, by: &By) -> Result<i64, OperateError> {
        self.log.place(to).await?;
        let sql =
            "select exists (select from log.subscription_slice where subscription = $1 and position > $2)";
        let row = self.log.primary().row(sql, &[&name, &to.position]).await?;
        if !row.map_or(Ok(false), |row| row.try_get(0))? {
            self.overview(name).await?;
            return Err(OperateError::NotBeyond(to));
        }
        // What is not moved keeps the event at its checkpoint.
        let sql = "select slice, position from log.subscription_slice
                   where subscription = $1 and position <= $2 and event_id <> log.event_id_at(position)
                   order by position limit 1";
        if let Some(row) = self.log.primary().row(sql, &[&name, &to.position]).await? {
            return Err(OperateError::CheckpointLost { slice: row.try_get(0)?, position: row.try_get(1)? });
        }
        self.check_format(name).await?;
        let sql = "select log.rewind_subscription($1, $2, $3, $4)";
        let parameters: [&(dyn ToSql + Sync); 4] = [&name, &to.position, &by.actor, &by.reason];
        let row = self.log.primary().call(sql, &parameters).await?;
        let moved: Option<i64> = row.map_or(Ok(None), |row| row.try_get(0))?;
        moved.ok_or_else(|| OperateError::NotFound(name.to_owned()))
    }

    /// Removes a subscription that no process takes part in, with its checkpoints. What operators did to it stays.
    ///
    /// # Errors
    /// [`OperateError::NotFound`], [`OperateError::InUse`], or the log cannot be written.
    pub async fn remove(&self, name: &str, by: &By) -> Result<(), OperateError> {
        let held = self.overview(name).await?.held;
        if held > 0 {
            return Err(OperateError::InUse(held));
        }
        let change = "delete from log.subscription s
                      where name = $1 and not exists (
                          select from log.subscription_slice l
                          where l.subscription = s.name and l.expires_at > clock_timestamp())
                      returning name";
        self.act_on(change, "remove", name, by).await
    }

    /// Changes rows, records the act if there were any, and returns how many. `change` returns the name for each row; its
    /// parameters are `$1` the name, `$6` the position, and from `$7` on `more`.
    async fn act(
        &self,
        change: &str,
        act: &str,
        name: &str,
        by: &By,
        (stream, position): (Option<String>, Option<i64>),
        more: &[&(dyn ToSql + Sync)],
    ) -> Result<i64, OperateError> {
        self.check_format(name).await?;
        let with = format!(
            "changed as ({change}),
             noticed as (
                 update log.subscription set changes = changes + 1
                 where name = $1 and $2 in ('unpark', 'skip') and exists (select from changed)),
             recorded as (
                 insert into log.subscription_act (subscription, act, actor, reason, stream, position)
                 select $1, $2, $3, $4, $5::text, $6::bigint where exists (select from changed))"
        );
        let mut parameters: Vec<&(dyn ToSql + Sync)> = Vec::new();
        parameters.extend([&name as &(dyn ToSql + Sync), &act, &by.actor, &by.reason, &stream, &position]);
        parameters.extend(more);
        let answer = self.log.primary().ask(&with, "select count(*) from changed", &parameters).await?;
        Ok(answer.rows.first().map_or(Ok(0), |row| row.try_get(0))?)
    }

    /// Changes the subscription itself and records the act.
    async fn act_on(&self, change: &str, act: &str, name: &str, by: &By) -> Result<(), OperateError> {
        let count = self.act(change, act, name, by, (None, None), &[]).await?;
        if count > 0 { Ok(()) } else { Err(OperateError::NotFound(name.to_owned())) }
    }

    /// Refuses to change what a later release has written.
    async fn check_format(&self, name: &str) -> Result<(), OperateError> {
        let row =
            self.log.primary().row("select format from log.subscription where name = $1", &[&name]).await?;
        let format = row.map(|row| row.try_get(0)).transpose()?;
        if format.is_none_or(Store::knows) { Ok(()) } else { Err(OperateError::NewerRelease) }
    }

    async fn definition(&self, name: &str) -> Result<(Definition, Handled), OperateError> {
        let sql = "select definition, handled::text from log.subscription where name = $1";
        let row = self.log.primary().row(sql, &[&name]).await?;
        let row = row.ok_or_else(|| OperateError::NotFound(name.to_owned()))?;
        let definition = serde_json::from_str(row.try_get(0)?).map_err(|_| OperateError::NewerRelease)?;
        let handled = Handled::parse(row.try_get(1)?).ok_or(OperateError::NewerRelease)?;
        Ok((definition, handled))
    }

    /// The first events of a parked stream that wait: those that its slice does not hand out with all others any more.
    async fn waiting(
        &self,
        name: &str,
        (definition, handled): &(Definition, Handled),
        stream: &StreamId,
        after: i64,
    ) -> Result<Vec<RecordedEvent>, OperateError> {
        let slice = i32::try_from(slice_of(stream, definition.slices)).unwrap_or(i32::MAX);
        let sql = "select position from log.subscription_slice where subscription = $1 and slice = $2";
        let row = self.log.primary().row(sql, &[&name, &slice]).await?;
        let end: i64 = row.map_or(Ok(0), |row| row.try_get(0))?;
        let filter = Filter { stream: Some(stream.clone()), ..Filter::default() };
        let limit = i64::try_from(MAX_COUNTED).unwrap_or(i64::MAX);
        let page = self.log.read_page(after, &filter, limit).await?;
        let is_wanted = |event: &RecordedEvent| {
            let is_before = event.position <= end || handled.contains(stream, event.position);
            is_before && definition.filter.selects(event)
        };
        Ok(page.events.into_iter().filter(is_wanted).collect())
    }
}

fn stream_of(row: &Row) -> Result<StreamId, tokio_postgres::Error> {
    let (stream_type, id): (String, &str) = (row.try_get(0)?, row.try_get(1)?);
    Ok(StreamId { stream_type: stream_type.into(), id: Arc::from(id) })
}
