//! Builds the parameters of `log.append`: what the units of a batch read and write, as rows.

use std::sync::Arc;

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::batch::{FirstOrdinals, ordinal};
use super::claim::{Claim, ClaimKey, Takeover};
use super::event::NewEvent;
use super::recent_writes::ExpectedHead;
use super::unit::{IdempotencyRecord, NewDataKey, Premises, StreamRead, Unit};
use super::wire::{EncodeError, Fields, Row, Rows};
use crate::clock::Timestamp;
use crate::ids::EventId;

/// Which premises of a batch the database looks up before it stores the batch.
#[derive(Clone, Copy)]
pub enum Checks {
    /// Streams that are read but not written, guards, and accounts. Streams and accounts that an expected head covers are not
    /// looked up, and the batch is refused if the log has another head.
    Optimistic(Option<ExpectedHead>),
    /// Everything that was read and every claim, so that all losers are named.
    Full,
}

/// The function that stores a batch.
#[cfg(not(feature = "next-release"))]
pub const APPEND: &str = "log.append";
#[cfg(feature = "next-release")]
pub const APPEND: &str = "log.append_next";

/// Its parameters, in the order of [`Parameters::in_order`].
pub const APPEND_PARAMETERS: &str = "(
    $1::bigint, $2::bigint, $3::text, $4::timestamptz, $5::double precision, $6::boolean, $7::boolean,
    $8::uuid, $9::bigint, $10::log.stream_read[], $11::log.guard_read[], $12::log.account_read[], $13::text[],
    $14::log.claim[], $15::log.claim[], $16::log.data_key[], $17::text[], $18::log.event[], $19::log.request[])";

/// The number of the first parameter after those of [`APPEND`].
pub const NEXT_PARAMETER: usize = 20;

/// The state of the log that a batch expects, and the time at which it is sent.
#[derive(Clone, Debug)]
pub struct Expected {
    /// The epoch of the log's positions; in another epoch the batch is refused.
    pub epoch: i64,
    /// The fence; if it has moved, the batch is refused.
    pub fence: i64,
    /// The projection set that this release maintains; if another is installed, the batch is refused.
    pub projection_set: String,
    /// The time by the committer's clock when the batch is sent.
    pub now: Timestamp,
    /// How many seconds `now` may differ from the server's clock; `None`: no limit.
    pub clock_bound: Option<f64>,
}

/// Premises as parameters of `log.confirm` and `log.append`.
#[derive(Default)]
pub struct Reads<'a> {
    /// Stream versions that were read, as `log.stream_read[]`.
    pub streams: Rows<StreamRow<'a>>,
    /// Guard versions that were read, as `log.guard_read[]`.
    pub guards: Rows<GuardRow<'a>>,
    /// Accounts whose resources were read, as `log.account_read[]`.
    pub accounts: Rows<AccountRow>,
}

impl<'a> Reads<'a> {
    /// Everything that one decision read, as unit 0.
    pub fn of(premises: &'a Premises) -> Self {
        let streams = premises.streams.iter().map(|read| StreamRow(0, read)).collect();
        let accounts =
            premises.accounts.iter().map(|(account, seen)| AccountRow(0, *account, *seen)).collect();
        let mut reads = Self { streams, accounts, ..Self::default() };
        reads.add_guards(0, premises);
        reads
    }

    fn add_guards(&mut self, unit: i32, premises: &'a Premises) {
        for (guard, version) in &premises.guards {
            self.guards.push(GuardRow(unit, guard, *version));
        }
    }

    fn add_streams(&mut self, units: &'a [Arc<Unit>], wanted: impl Fn(&Unit, &StreamRead) -> bool) {
        for (number, unit) in (0..).zip(units) {
            let wanted = unit.premises.streams.iter().filter(|read| wanted(unit, read));
            wanted.for_each(|read| self.streams.push(StreamRow(number, read)));
        }
    }

    /// Adds the accounts that the units have read at a wanted position.
    fn add_accounts(&mut self, units: &[Arc<Unit>], wanted: impl Fn(i64) -> bool) {
        for (number, unit) in (0..).zip(units) {
            let wanted = unit.premises.accounts.iter().filter(|(_, seen)| wanted(*seen));
            wanted.for_each(|(account, seen)| self.accounts.push(AccountRow(number, *account, *seen)));
        }
    }
}

/// All parameters of `log.append`: one row for each event, claim, key and premise of the batch.
#[derive(Default)]
pub struct Parameters<'a> {
    epoch: i64,
    fence: i64,
    projection_set: &'a str,
    now: Timestamp,
    clock_bound: Option<f64>,
    notifies: bool,
    full_checks: bool,
    expected_newest: Option<EventId>,
    expected_base: Option<i64>,
    reads: Reads<'a>,
    bumped: Option<Vec<&'a str>>,
    claims: Rows<ClaimRow<'a>>,
    released: Rows<ReleaseRow<'a>>,
    new_keys: Rows<&'a NewDataKey>,
    destroyed: Option<Vec<&'a str>>,
    events: Rows<EventRow<'a>>,
    requests: Rows<RequestRow<'a>>,
}

impl<'a> Parameters<'a> {
    /// The parameters of a batch.
    pub fn of(
        expected: &'a Expected,
        units: &'a [Arc<Unit>],
        ordinals: &FirstOrdinals,
        checks: Checks,
        notifies: bool,
    ) -> Self {
        let Expected { epoch, fence, ref projection_set, now, clock_bound } = *expected;
        let mut all = Self { epoch, fence, projection_set, now, clock_bound, notifies, ..Self::default() };
        // The unique key on stream and version refuses a stale write, so streams that are written need no look-up.
        let written =
            |unit: &Unit, read: &StreamRead| unit.events.iter().any(|event| event.stream == read.stream);
        match checks {
            Checks::Full => {
                // A violated unique key names one collision and not its unit; looking everything up finds all losers.
                all.full_checks = true;
                all.reads.add_streams(units, |_, _| true);
                all.reads.add_accounts(units, |_| true);
            }
            Checks::Optimistic(expected_head) => {
                all.expected_newest = expected_head.map(|head| head.newest);
                all.expected_base = expected_head.map(|head| head.base);
                let covered = |seen| expected_head.is_some_and(|head| head.covers(seen));
                all.reads.add_streams(units, |unit, read| !covered(read.seen) && !written(unit, read));
                all.reads.add_accounts(units, |seen| !covered(seen));
            }
        }
        for ((number, place), unit) in (0..).zip(0..).zip(units) {
            all.add(number, ordinals.of_unit(place), unit);
        }
        all
    }

    fn add(&mut self, number: i32, first_ordinal: i64, unit: &'a Unit) {
        self.reads.add_guards(number, &unit.premises);
        for bumped in &unit.bumps {
            self.bumped.get_or_insert_default().push(bumped);
        }
        let claims = unit.coalesced_claims();
        for (event, claim) in claims.taken {
            let ordinal = ordinal(first_ordinal, event);
            self.claims.push(ClaimRow { unit: number, claim, at: unit.at, ordinal });
        }
        for (key, holder) in claims.released {
            self.released.push(ReleaseRow { unit: number, key, holder });
        }
        unit.new_keys.iter().for_each(|key| self.new_keys.push(key));
        for destroyed in &unit.destroyed_keys {
            self.destroyed.get_or_insert_default().push(destroyed);
        }
        if let Some(record) = &unit.idempotency {
            // The unit's last event: a repeated request is answered with its position.
            let ordinal = ordinal(first_ordinal, unit.events.len().saturating_sub(1));
            self.requests.push(RequestRow { unit: number, record, ordinal });
        }
        for (ordinal, event) in (first_ordinal..).zip(&unit.events) {
            self.events.push(EventRow { ordinal, event });
        }
    }

    /// The parameters in the order of [`APPEND`].
    pub fn in_order(&self) -> Vec<&(dyn ToSql + Sync)> {
        vec![
            &self.epoch,
            &self.fence,
            &self.projection_set,
            &self.now,
            &self.clock_bound,
            &self.notifies,
            &self.full_checks,
            &self.expected_newest,
            &self.expected_base,
            &self.reads.streams,
            &self.reads.guards,
            &self.reads.accounts,
            &self.bumped,
            &self.claims,
            &self.released,
            &self.new_keys,
            &self.destroyed,
            &self.events,
            &self.requests,
        ]
    }
}

/// A stream that a unit read, as `log.stream_read`.
pub struct StreamRow<'a>(i32, &'a StreamRead);

impl Row for StreamRow<'_> {
    fn write(&self, fields: &mut Fields<'_>) -> Result<(), EncodeError> {
        let Self(unit, StreamRead { stream, version, .. }) = self;
        fields.put(unit)?;
        fields.put(&&*stream.stream_type)?;
        fields.put(&&*stream.id)?;
        fields.put(version)
    }
}

/// A guard that a unit read, as `log.guard_read`.
pub struct GuardRow<'a>(i32, &'a str, i64);

impl Row for GuardRow<'_> {
    fn write(&self, fields: &mut Fields<'_>) -> Result<(), EncodeError> {
        fields.put(&self.0)?;
        fields.put(&self.1)?;
        fields.put(&self.2)
    }
}

/// An account whose resources a unit read, as `log.account_read`.
pub struct AccountRow(i32, Uuid, i64);

impl Row for AccountRow {
    fn write(&self, fields: &mut Fields<'_>) -> Result<(), EncodeError> {
        fields.put(&self.0)?;
        fields.put(&self.1)?;
        fields.put(&self.2)
    }
}

/// A claim that a unit takes, as `log.claim`.
struct ClaimRow<'a> {
    unit: i32,
    claim: &'a Claim,
    at: Timestamp,
    ordinal: i64,
}

impl Row for ClaimRow<'_> {
    fn write(&self, fields: &mut Fields<'_>) -> Result<(), EncodeError> {
        let Claim { key, holder, free_after, takeover } = self.claim;
        fields.put(&self.unit)?;
        fields.put(&key.kind)?;
        fields.put(&key.key.as_slice())?;
        fields.put(holder)?;
        fields.put(free_after)?;
        fields.put(&match takeover {
            Takeover::Any => None,
            // No claim has an empty holder, so this matches none.
            Takeover::Never => Some(""),
            Takeover::Only(holder) => Some(holder.as_str()),
        })?;
        fields.put(&self.at)?;
        fields.put(&self.ordinal)
    }
}

/// A claim that a unit releases, as `log.claim`.
struct ReleaseRow<'a> {
    unit: i32,
    key: &'a ClaimKey,
    holder: &'a str,
}

impl Row for ReleaseRow<'_> {
    fn write(&self, fields: &mut Fields<'_>) -> Result<(), EncodeError> {
        fields.put(&self.unit)?;
        fields.put(&self.key.kind)?;
        fields.put(&self.key.key.as_slice())?;
        fields.put(&self.holder)?;
        // `log.append` reads only the key and the holder of a released claim.
        fields.rest_is_null();
        Ok(())
    }
}

/// A new data key, as `log.data_key`.
impl Row for &NewDataKey {
    fn write(&self, fields: &mut Fields<'_>) -> Result<(), EncodeError> {
        fields.put(&self.subject)?;
        fields.put(&self.key_id)?;
        fields.put(&&*self.wrapped)
    }
}

/// An event, as `log.event`; its position is the ordinal within the batch.
struct EventRow<'a> {
    ordinal: i64,
    event: &'a NewEvent,
}

impl Row for EventRow<'_> {
    fn write(&self, fields: &mut Fields<'_>) -> Result<(), EncodeError> {
        let event = self.event;
        fields.put(&self.ordinal)?;
        fields.put(&event.id)?;
        fields.put(&&*event.stream.stream_type)?;
        fields.put(&&*event.stream.id)?;
        fields.put(&event.version)?;
        fields.put(&&*event.event_type)?;
        fields.put(&&*event.event_version)?;
        fields.put(&event.account_id)?;
        // `recorded_at` is set under the head lock, where the time of the previous event is known.
        fields.put(&None::<Timestamp>)?;
        fields.put(&&*event.payload)?;
        fields.put(&&*event.metadata)?;
        fields.put(&event.sealed.as_deref())
    }
}

/// A completed request with an idempotency key, as `log.request`.
struct RequestRow<'a> {
    unit: i32,
    record: &'a IdempotencyRecord,
    ordinal: i64,
}

impl Row for RequestRow<'_> {
    fn write(&self, fields: &mut Fields<'_>) -> Result<(), EncodeError> {
        fields.put(&self.unit)?;
        fields.put(&self.record.request.as_slice())?;
        fields.put(&self.record.body.as_slice())?;
        fields.put(&&*self.record.answer)?;
        fields.put(&self.ordinal)
    }
}
