//! One batch, one transaction, one statement.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::error::AppendError;
use super::recent::Sight;
use super::row_sql;
use super::rows::settle;
use super::session::{Session, reason};
use super::unit::{ClaimKey, StreamRead, Succession, Unit};
use crate::clock::Timestamp;
use crate::ids::EventId;

/// The unique keys on a stream and its versions, and on claims.
const COLLIDING: [&str; 2] = ["event_stream_version", "unique_claims_pkey"];

/// How long the database may take for one batch before the connection counts as lost.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// A stored batch: its events follow the base without a gap, in the order of its units.
#[derive(Clone, Copy, Debug)]
pub struct Stored {
    /// The position before the first event.
    pub base: i64,
    /// When the first event was recorded; each later one a microsecond after.
    pub recorded_from: Timestamp,
}

/// What is looked up before a batch is stored.
#[derive(Clone, Copy)]
pub enum Way {
    /// Streams that are only read; with a sight of the log, only those that it does not know.
    Usual(Option<Sight>),
    /// Everything.
    Careful,
}

/// Why a batch was not stored, by what follows from it.
pub enum BatchError {
    /// These units (by index) have lost; the others may be sent again at once. Nothing was written.
    Contested(Vec<(usize, AppendError)>),
    /// Another node moved the fence. Nothing was written.
    FenceMoved,
    /// A unique key refuses a version or a claim. Nothing was written; to be sent again with everything looked at.
    Collided,
    /// The projections are another set now. Nothing was written.
    Superseded(String),
    /// The data of one unit or more are refused. Nothing was written.
    Data(String),
    /// A deadlock or a lock not granted in time. Nothing was written.
    TryAgain(String),
    /// The server cannot write at present. Nothing was written.
    Unavailable(String),
    /// The connection was lost: whether the batch was stored is not known.
    Unknown(String),
}

/// Stores the units in one transaction, or none of them.
///
/// Streams that a unit writes and claims that it takes are not looked up first, unless [`Way::Careful`]: unique keys
/// refuse a version that exists and a claim that is held, and only then does it matter whose they are. Streams that are
/// only read are looked up unless they are known and the head is where that knowledge ends ([`Sight`]).
///
/// The whole batch is one statement, and that a transaction of its own: the server has all of it or none, and a client
/// that vanishes leaves no transaction open. `sent` is told once it is on its way; whatever is sent on the session
/// after that comes after it.
pub async fn store(
    session: Arc<Session>,
    projection_set: String,
    units: Vec<Arc<Unit>>,
    now: Timestamp,
    way: Way,
    sent: oneshot::Sender<()>,
) -> Result<Stored, BatchError> {
    let units = units.as_slice();
    let ordinals = FirstOrdinals::of(units.iter().map(|unit| &**unit));
    let changes = units.iter().enumerate().flat_map(|(place, unit)| {
        let first = ordinals.of_unit(place);
        unit.rows.iter().map(move |(event, change)| (ordinal(first, *event), change))
    });
    let settled = settle(changes);
    let applications = row_sql::applications(&settled);
    let tables: Vec<_> = applications.iter().map(|application| application.table).collect();
    let statement = session.append_to(&tables).await.map_err(|error| failure(&error, units))?;

    let parameters = Parameters::of(session.fence(), &projection_set, now, units, &ordinals, way);
    let mut arguments = parameters.in_order();
    for application in &applications {
        arguments.extend(application.arguments.iter().map(|array| array as &(dyn ToSql + Sync)));
    }
    // Encoded and handed to the connection when it is first polled.
    let answer = session.connection.client.query_one(&statement, &arguments);
    let mut answer = std::pin::pin!(tokio::time::timeout(ANSWER_WITHIN, answer));
    let early = futures::poll!(&mut answer);
    // Nobody may be listening any more.
    let _ = sent.send(());
    let answer = match early {
        Poll::Ready(Ok(Err(error))) if error.as_db_error().is_none() && !error.is_closed() => {
            return Err(BatchError::Data("a parameter does not encode".to_owned()));
        }
        Poll::Ready(answer) => answer,
        Poll::Pending => answer.await,
    };
    let row = answer
        .map_err(|_| BatchError::Unknown("the database did not answer in time".to_owned()))?
        .map_err(|error| failure(&error, units))?;
    let read =
        || Ok::<_, tokio_postgres::Error>(Stored { base: row.try_get(0)?, recorded_from: row.try_get(1)? });
    read().map_err(|error| BatchError::Unknown(reason(&error)))
}

/// The ordinal in the batch of an event of a unit.
fn ordinal(first: i64, event: usize) -> i64 {
    first + i64::try_from(event).unwrap_or(i64::MAX / 2)
}

/// For each unit of a batch, the ordinal of its first event; the batch's first event has ordinal 1.
pub struct FirstOrdinals(Vec<i64>);

impl FirstOrdinals {
    /// Counts through the units.
    pub fn of<'a>(units: impl IntoIterator<Item = &'a Unit>) -> Self {
        let mut next = 1;
        Self(
            units
                .into_iter()
                .map(|unit| {
                    let first = next;
                    next = ordinal(next, unit.events.len());
                    first
                })
                .collect(),
        )
    }

    /// The ordinal of the first event of the unit at this place.
    pub fn of_unit(&self, place: usize) -> i64 {
        self.0.get(place).copied().unwrap_or(1)
    }
}

/// What follows from the error of a batch.
fn failure(error: &tokio_postgres::Error, units: &[Arc<Unit>]) -> BatchError {
    let Some(refused) = error.as_db_error().filter(|refused| is_plain_error(refused)) else {
        return BatchError::Unknown(reason(error));
    };
    let code = refused.code().code();
    match code {
        "TN001" => contested(refused.detail().unwrap_or_default(), units),
        "TN002" => BatchError::FenceMoved,
        "TN003" => BatchError::Data(code.to_owned()),
        "TN004" => BatchError::Superseded(refused.detail().unwrap_or_default().to_owned()),
        "23505" if refused.constraint().is_some_and(|key| COLLIDING.contains(&key)) => BatchError::Collided,
        "40P01" | "55P03" | "40001" => BatchError::TryAgain(reason(error)),
        _ if matches!(code.get(..2), Some("22" | "23" | "21")) => BatchError::Data(code.to_owned()),
        _ => BatchError::Unavailable(reason(error)),
    }
}

/// An error that ends the transaction but not the connection: nothing of the transaction is or will be stored.
fn is_plain_error(error: &tokio_postgres::error::DbError) -> bool {
    error.parsed_severity() == Some(tokio_postgres::error::Severity::Error)
}

/// Reads the losers that `log.append` names.
fn contested(detail: &str, units: &[Arc<Unit>]) -> BatchError {
    let Ok(lost) = serde_json::from_str::<Vec<(usize, String, String, String)>>(detail) else {
        return BatchError::Data("TN001".to_owned());
    };
    let mut losers: Vec<(usize, AppendError)> = Vec::new();
    for (place, reason, name, actual) in lost {
        let Some(unit) = units.get(place) else { continue };
        let error = match reason.as_str() {
            "version" => unit
                .premises
                .streams
                .iter()
                .find(|read| read.stream.to_string() == name)
                .map(|read| AppendError::Conflict { stream: read.stream.clone() }),
            "guard" => Some(AppendError::GuardMoved { guard: name }),
            "account" => name.parse().ok().map(|account| AppendError::AccountMoved { account }),
            "repeated" => Some(AppendError::Repeated),
            _ => unit
                .settled_claims()
                .taken
                .iter()
                .find(|(_, claim)| claim_name(&claim.key) == name)
                .map(|(_, claim)| AppendError::ClaimTaken { key: claim.key.clone(), holder: actual }),
        };
        let Some(error) = error else { continue };
        // Whoever has lost a version decides again from the new state, which may make the lost claim moot.
        match losers.iter_mut().find(|(known, _)| *known == place) {
            None => losers.push((place, error)),
            Some((_, known)) if !matches!(error, AppendError::ClaimTaken { .. }) => *known = error,
            Some(_) => {}
        }
    }
    if losers.is_empty() { BatchError::Data("TN001".to_owned()) } else { BatchError::Contested(losers) }
}

fn claim_name(key: &ClaimKey) -> String {
    use std::fmt::Write as _;
    let mut name = format!("{}:", key.kind);
    for byte in key.key {
        let _ = write!(name, "{byte:02x}");
    }
    name
}

/// The arrays that `log.append` takes, one entry for each thing of the batch.
#[derive(Default)]
struct Parameters<'a> {
    fence: i64,
    projection_set: &'a str,
    now: Timestamp,
    careful: bool,
    expected_newest: Option<EventId>,
    unknown: i32,
    stream_unit: Vec<i32>,
    stream_type: Vec<&'a str>,
    stream_id: Vec<&'a str>,
    stream_version: Vec<i64>,
    guard_unit: Vec<i32>,
    guard_name: Vec<&'a str>,
    guard_version: Vec<i64>,
    guard_bumped: Vec<&'a str>,
    account_unit: Vec<i32>,
    account_read: Vec<Uuid>,
    account_position: Vec<i64>,
    claim_unit: Vec<i32>,
    claim_kind: Vec<&'a str>,
    claim_key: Vec<&'a [u8]>,
    claim_holder: Vec<&'a str>,
    claim_free_after: Vec<Option<Timestamp>>,
    claim_succeeds: Vec<Option<&'a str>>,
    claim_at: Vec<Timestamp>,
    claim_ordinal: Vec<i64>,
    release_kind: Vec<&'a str>,
    release_key: Vec<&'a [u8]>,
    release_holder: Vec<&'a str>,
    key_subject: Vec<&'a str>,
    key_wrapping: Vec<&'a str>,
    key_wrapped: Vec<&'a [u8]>,
    key_destroyed: Vec<&'a str>,
    event_id: Vec<Uuid>,
    event_stream_type: Vec<&'a str>,
    event_stream_id: Vec<&'a str>,
    event_version: Vec<i64>,
    event_type: Vec<&'a str>,
    event_type_version: Vec<&'a str>,
    event_account: Vec<Option<Uuid>>,
    event_payload: Vec<&'a [u8]>,
    event_metadata: Vec<&'a [u8]>,
    event_sealed: Vec<Option<&'a [u8]>>,
    idempotent_unit: Vec<i32>,
    idempotent_request: Vec<&'a [u8]>,
    idempotent_body: Vec<&'a [u8]>,
    idempotent_answer: Vec<&'a [u8]>,
    idempotent_ordinal: Vec<i64>,
}

impl<'a> Parameters<'a> {
    fn of(
        fence: i64,
        projection_set: &'a str,
        now: Timestamp,
        units: &'a [Arc<Unit>],
        ordinals: &FirstOrdinals,
        way: Way,
    ) -> Self {
        let mut all = Self { fence, projection_set, now, ..Self::default() };
        let written =
            |unit: &Unit, read: &StreamRead| unit.events.iter().any(|event| event.stream == read.stream);
        match way {
            Way::Careful => {
                all.careful = true;
                all.add_reads(units, |_, _| true);
            }
            Way::Usual(None) => all.add_reads(units, |unit, read| !written(unit, read)),
            Way::Usual(Some(sight)) => {
                all.expected_newest = Some(sight.newest);
                all.add_reads(units, |unit, read| !sight.knows(read) && !written(unit, read));
                all.unknown = i32::try_from(all.stream_unit.len()).unwrap_or(i32::MAX);
                all.add_reads(units, |unit, read| sight.knows(read) && !written(unit, read));
            }
        }
        for ((number, place), unit) in (0..).zip(0..).zip(units) {
            all.add(number, ordinals.of_unit(place), unit);
        }
        all
    }

    fn add_reads(&mut self, units: &'a [Arc<Unit>], wanted: impl Fn(&Unit, &StreamRead) -> bool) {
        for (number, unit) in (0..).zip(units) {
            for read in unit.premises.streams.iter().filter(|read| wanted(unit, read)) {
                self.stream_unit.push(number);
                self.stream_type.push(&read.stream.stream_type);
                self.stream_id.push(&read.stream.id);
                self.stream_version.push(read.version);
            }
        }
    }

    fn add(&mut self, number: i32, first_ordinal: i64, unit: &'a Unit) {
        for (guard, version) in &unit.premises.guards {
            self.guard_unit.push(number);
            self.guard_name.push(guard);
            self.guard_version.push(*version);
        }
        self.guard_bumped.extend(unit.bumps.iter().map(String::as_str));
        for (account, position) in &unit.premises.accounts {
            self.account_unit.push(number);
            self.account_read.push(*account);
            self.account_position.push(*position);
        }
        let claims = unit.settled_claims();
        for (event, claim) in claims.taken {
            self.claim_unit.push(number);
            self.claim_kind.push(claim.key.kind);
            self.claim_key.push(&claim.key.key);
            self.claim_holder.push(&claim.holder);
            self.claim_free_after.push(claim.free_after);
            self.claim_succeeds.push(match &claim.succeeds {
                Succession::Anybodys => None,
                // No holder has an empty name.
                Succession::Nobodys => Some(""),
                Succession::Only(holder) => Some(holder),
            });
            self.claim_at.push(unit.at);
            self.claim_ordinal.push(ordinal(first_ordinal, event));
        }
        for (key, holder) in claims.released {
            self.release_kind.push(key.kind);
            self.release_key.push(&key.key);
            self.release_holder.push(holder);
        }
        for key in &unit.new_keys {
            self.key_subject.push(&key.subject);
            self.key_wrapping.push(&key.key_id);
            self.key_wrapped.push(&key.wrapped);
        }
        self.key_destroyed.extend(unit.destroyed_keys.iter().map(String::as_str));
        if let Some(record) = &unit.idempotency {
            self.idempotent_unit.push(number);
            self.idempotent_request.push(&record.request);
            self.idempotent_body.push(&record.body);
            self.idempotent_answer.push(&record.answer);
            self.idempotent_ordinal.push(ordinal(first_ordinal, unit.events.len().saturating_sub(1)));
        }
        for event in &unit.events {
            self.event_id.push(event.id.as_uuid());
            self.event_stream_type.push(&event.stream.stream_type);
            self.event_stream_id.push(&event.stream.id);
            self.event_version.push(event.version);
            self.event_type.push(&event.event_type);
            self.event_type_version.push(&event.event_version);
            self.event_account.push(event.account_id);
            self.event_payload.push(&event.payload);
            self.event_metadata.push(&event.metadata);
            self.event_sealed.push(event.sealed.as_deref());
        }
    }

    /// In the order of `log.append`'s parameters.
    fn in_order(&self) -> Vec<&(dyn ToSql + Sync)> {
        vec![
            &self.fence,
            &self.projection_set,
            &self.now,
            &self.careful,
            &self.expected_newest,
            &self.unknown,
            &self.stream_unit,
            &self.stream_type,
            &self.stream_id,
            &self.stream_version,
            &self.guard_unit,
            &self.guard_name,
            &self.guard_version,
            &self.guard_bumped,
            &self.account_unit,
            &self.account_read,
            &self.account_position,
            &self.claim_unit,
            &self.claim_kind,
            &self.claim_key,
            &self.claim_holder,
            &self.claim_free_after,
            &self.claim_succeeds,
            &self.claim_at,
            &self.claim_ordinal,
            &self.release_kind,
            &self.release_key,
            &self.release_holder,
            &self.key_subject,
            &self.key_wrapping,
            &self.key_wrapped,
            &self.key_destroyed,
            &self.event_id,
            &self.event_stream_type,
            &self.event_stream_id,
            &self.event_version,
            &self.event_type,
            &self.event_type_version,
            &self.event_account,
            &self.event_payload,
            &self.event_metadata,
            &self.event_sealed,
            &self.idempotent_unit,
            &self.idempotent_request,
            &self.idempotent_body,
            &self.idempotent_answer,
            &self.idempotent_ordinal,
        ]
    }
}
