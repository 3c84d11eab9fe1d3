//! Stores a batch in one statement, which is a transaction of its own, and classifies the errors.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::oneshot;

use super::batch::{FirstOrdinals, ordinal};
use super::claim::ClaimKey;
use super::error::AppendError;
use super::parameters::{Checks, Expected, Parameters};
use super::row_sql;
use super::rows::coalesce;
use super::seen::{ServerIdentity, timeline};
use super::session::Session;
use super::unit::Unit;
use crate::clock::Timestamp;
use crate::postgres::statement_reason;

/// The unique keys whose violation means a lost race: stream versions and claims.
const COLLIDING: [&str; 2] = ["event_stream_version", "unique_claims_pkey"];

/// How long a batch may take before the connection counts as lost. Slightly longer than the server's statement timeout
/// (8 s), so that a slow server reports the timeout itself: then it is known that nothing was stored.
const BATCH_TIMEOUT: Duration = Duration::from_millis(8_500);

/// A stored batch: its events follow the base without a gap, in the order of its units.
#[derive(Clone, Copy, Debug)]
pub struct Stored {
    /// The epoch of the positions.
    pub epoch: i64,
    /// The server that stored it.
    pub server: ServerIdentity,
    /// The position before the batch's first event.
    pub base: i64,
    /// When the first event was recorded; each later event follows one microsecond after.
    pub recorded_from: Timestamp,
}

/// Why a batch was not stored, one variant for each way in which the committer reacts.
pub enum BatchError {
    /// These units (by index) have lost a race; the others may be sent again at once. Nothing was written.
    Contested(Vec<(usize, AppendError)>),
    /// Another node moved the fence. Nothing was written.
    FenceMoved,
    /// Another process has appended, or the batch ahead was not stored, so that nothing counts as known. Nothing was written.
    HeadMoved,
    /// A unique key refused a version or a claim. Nothing was written; send the batch again with full checks.
    Collided,
    /// The projections have been replaced by this set. Nothing was written.
    Superseded(String),
    /// Positions have a new epoch. Nothing was written.
    EpochChanged,
    /// The committer's clock seems to be off, or the batch was delayed on its way. Nothing was written.
    ClockOff,
    /// The database refused the data of at least one unit (the SQLSTATE, or a reason). Nothing was written.
    Data(String),
    /// A deadlock, or a lock that was not granted in time. Nothing was written.
    TryAgain(String),
    /// A function, type or table was replaced after the statement was prepared; prepare it again. Nothing was written.
    Replaced(String),
    /// The server cannot write at the moment. Nothing was written.
    Unavailable(String),
    /// The connection was lost; it is not known whether the batch was stored.
    Unknown(String),
}

/// Stores all units in one transaction, or none of them.
///
/// Streams that a unit writes and claims that it takes are looked up first only with [`Checks::Full`]: unique keys
/// refuse a version that exists and a claim that is held. Streams and accounts that are only read are looked up, unless
/// this process knows that they have not changed; the batch is refused if the log does not have the head that this
/// knowledge rests on ([`ExpectedHead`](super::recent_writes::ExpectedHead)).
///
/// The batch is one statement, which is a transaction of its own: the server has all of it or none, and a client that
/// vanishes leaves no transaction open. `sent` is signalled once the statement is on its way; later statements on the
/// session then follow it.
pub async fn store(
    session: Arc<Session>,
    expected: Expected,
    units: Vec<Arc<Unit>>,
    checks: Checks,
    notifies: bool,
    sent: oneshot::Sender<()>,
) -> Result<Stored, BatchError> {
    let units = units.as_slice();
    let ordinals = FirstOrdinals::of(units.iter().map(|unit| &**unit));
    let changes = units.iter().enumerate().flat_map(|(place, unit)| {
        let first = ordinals.of_unit(place);
        unit.rows.iter().map(move |(event, change)| (ordinal(first, *event), change))
    });
    let coalesced = coalesce(changes);
    let applications = row_sql::applications(&coalesced);
    let tables: Vec<_> = applications.iter().map(|application| application.table).collect();
    let prepared = tokio::time::timeout(BATCH_TIMEOUT, session.append_to(&tables)).await;
    // The batch has not been sent, so nothing can have been stored.
    let prepared =
        prepared.map_err(|_| BatchError::Unavailable("the database did not answer in time".to_owned()))?;
    let statement = prepared.map_err(|error| failure(&error, units))?;

    let parameters = Parameters::of(&expected, units, &ordinals, checks, notifies);
    let mut arguments = parameters.in_order();
    arguments.extend(applications.iter().flat_map(row_sql::Application::arguments));
    // The first poll encodes the batch and hands it to the connection; only then may the next batch be sent.
    let answer = session.connection.client.query_one(&statement, &arguments);
    let mut answer = std::pin::pin!(tokio::time::timeout(BATCH_TIMEOUT, answer));
    let early = futures::poll!(&mut answer);
    // The receiver may be gone; the outcome is awaited anyway.
    let _ = sent.send(());
    let answer = match early {
        // Neither the server nor the connection reports it: the parameters did not encode, and nothing was sent.
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
        || Ok::<_, tokio_postgres::Error>((row.try_get(0)?, row.try_get(1)?, timeline(row.try_get(2)?)));
    match read() {
        Ok((base, recorded_from, Some(timeline))) => Ok(Stored {
            epoch: expected.epoch,
            server: ServerIdentity { timeline, ..session.server() },
            base,
            recorded_from,
        }),
        Ok(_) => Err(BatchError::Unknown("the server's timeline cannot be read".to_owned())),
        Err(error) => Err(BatchError::Unknown(statement_reason(&error))),
    }
}

/// Classifies the error of a batch.
fn failure(error: &tokio_postgres::Error, units: &[Arc<Unit>]) -> BatchError {
    // Without the server's word that the transaction failed, the batch may have been stored.
    let Some(refused) = error.as_db_error().filter(|refused| is_plain_error(refused)) else {
        return BatchError::Unknown(statement_reason(error));
    };
    let code = refused.code().code();
    match code {
        "TN001" => contested(refused.detail().unwrap_or_default(), units),
        "TN002" => BatchError::FenceMoved,
        // A row change met no row; it does not say whose, so the batch is bisected like any refused data.
        "TN003" => BatchError::Data(code.to_owned()),
        "TN004" => BatchError::Superseded(refused.detail().unwrap_or_default().to_owned()),
        "TN005" => BatchError::EpochChanged,
        "TN006" => BatchError::ClockOff,
        "TN007" => wrapped_too_late(units),
        "TN008" => BatchError::HeadMoved,
        "23505" if refused.constraint().is_some_and(|key| COLLIDING.contains(&key)) => BatchError::Collided,
        "40P01" | "55P03" | "40001" => BatchError::TryAgain(statement_reason(error)),
        // Functions, types or tables were replaced after the statement was prepared (XX000 in several ways, such as "cache
        // lookup failed for type"), or a pooler has lost the statement.
        "0A000" | "26000" | "42P01" | "42703" | "42883" | "42804" | "42846" | "XX000" => {
            BatchError::Replaced(statement_reason(error))
        }
        _ if matches!(code.get(..2), Some("22" | "23" | "21")) => BatchError::Data(code.to_owned()),
        _ => BatchError::Unavailable(statement_reason(error)),
    }
}

/// Whether the error ends the transaction but not the connection: then nothing of the batch is or will be stored.
fn is_plain_error(error: &tokio_postgres::error::DbError) -> bool {
    error.parsed_severity() == Some(tokio_postgres::error::Severity::Error)
}

/// The units with new data keys: the master key was changed since they were sealed, so they are decided and sealed again.
fn wrapped_too_late(units: &[Arc<Unit>]) -> BatchError {
    let lost = units.iter().enumerate().filter(|(_, unit)| !unit.new_keys.is_empty());
    let error = || AppendError::GuardMoved { guard: "the master key".to_owned() };
    BatchError::Contested(lost.map(|(place, _)| (place, error())).collect())
}

/// Reads the losing units from the detail of TN001.
fn contested(detail: &str, units: &[Arc<Unit>]) -> BatchError {
    // Without names of losers the batch is treated as refused data, and so bisected until each unit stands alone.
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
                .coalesced_claims()
                .taken
                .iter()
                .find(|(_, claim)| claim_name(&claim.key) == name)
                .map(|(_, claim)| AppendError::ClaimTaken { key: claim.key.clone(), holder: actual }),
        };
        let Some(error) = error else { continue };
        // Any other conflict outranks a lost claim: the command is decided again from new state, and may not claim it
        // then.
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
