//! The first half of rebuild and diff: the live tables at one position, and everything that the log says up to it, by slice.

use std::sync::Arc;
use std::time::Duration;

use foldhash::HashSet;
use futures::{StreamExt as _, stream};
use tokio_postgres::Client;
use uuid::Uuid;

use super::error::ReplayError;
use super::fold::{Folder, Keys};
use super::log_reader::{Events, LogReader, RANGE};
use super::pace::Pace;
use super::parts::{Replay, Verification};
use super::progress::{Phase, Progress};
use super::snapshot::{self, Snapshot};
use super::spill::Spill;
use crate::clock::Stopwatch;
use crate::postgres::Connection;
use crate::projections;

/// What was read.
pub(super) struct Scan<'e> {
    /// The records of the live tables and of the events.
    pub(super) spill: Spill<'e>,
    /// The columns in which each of [`projections::TABLES`] is compared; none if it is not.
    pub(super) compared: Arc<[Vec<usize>]>,
    /// What is known of data keys.
    pub(super) keys: Arc<Keys>,
    /// The position that both are at.
    pub(super) position: i64,
    /// The epoch of the position.
    pub(super) epoch: i64,
    /// The set of the live projections.
    pub(super) projection_set: String,
    /// How many events were read.
    pub(super) events: u64,
    /// For how long the snapshot was held.
    pub(super) snapshot_held: Duration,
    /// The streams of the account that was asked for.
    pub(super) streams: HashSet<Uuid>,
}

/// How many chunks are decoded at once.
const DECODED_AT_ONCE: usize = 2;

/// Reads the live tables, if they are to be compared, and the log up to the position that they are at. Notes the streams of
/// an account, if one is given.
pub(super) async fn scan<'e>(
    replay: &'e Replay,
    folder: &Folder,
    events: &Arc<Connection>,
    live: &Client,
    verification: Verification,
    account: Option<Uuid>,
    progress: &Progress,
) -> Result<Scan<'e>, ReplayError> {
    let mut spill = Spill::new(&*replay.entropy);
    let snapshot = Snapshot::take(live).await?;
    let (position, epoch, projection_set) =
        (snapshot.position, snapshot.epoch, snapshot.projection_set.clone());
    let compared: Arc<[Vec<usize>]> = projections::TABLES
        .iter()
        .zip(&*folder.wanted)
        .map(|(table, wanted)| match verification {
            Verification::Strict | Verification::Report if *wanted => {
                table.columns_shared_with(&projection_set)
            }
            _ => Vec::new(),
        })
        .collect();
    progress.begin(Phase::ReadingTables, 0);
    for (table, columns) in
        projections::TABLES.iter().zip(&*compared).filter(|(_, columns)| !columns.is_empty())
    {
        progress.advance(snapshot.read(table, columns, &mut spill).await?);
    }
    let snapshot_held = match snapshot.release().await {
        Err(ReplayError::Swapped) if verification == Verification::Skip => Duration::ZERO,
        held => held?,
    };
    let Told { mut keys, events: count, streams } =
        read_log(replay, folder, events, (position, account), &mut spill, progress).await?;
    keys.note_position();
    if keys.lost().is_some() {
        // An event after the position may have destroyed the key while the log was read.
        let mut after = position;
        let newest = replay.log.newest().await?;
        while after < newest {
            let upto = (after + RANGE).min(newest);
            let mut range = Events::of_range(events, after, upto).await?;
            while let Some(events) = range.next().await? {
                events.iter().try_for_each(|event| keys.note_endings(folder, event))?;
            }
            after = upto;
        }
        if let Some(subject) = keys.lost() {
            return Err(ReplayError::LostKey { subject: subject.clone() });
        }
    }
    let keys = Arc::new(keys);
    Ok(Scan { spill, compared, keys, position, epoch, projection_set, events: count, snapshot_held, streams })
}

/// What was read of the log.
pub(super) struct Told {
    /// What is known of data keys.
    pub(super) keys: Keys,
    /// How many events were read.
    pub(super) events: u64,
    /// The streams of the account that was asked for.
    pub(super) streams: HashSet<Uuid>,
}

/// Reads the log up to a position into the spill. Notes the streams of an account, if one is given.
pub(super) async fn read_log(
    replay: &Replay,
    folder: &Folder,
    events: &Arc<Connection>,
    (position, account): (i64, Option<Uuid>),
    spill: &mut Spill<'_>,
    progress: &Progress,
) -> Result<Told, ReplayError> {
    progress.begin(Phase::ReadingLog, position.unsigned_abs());
    let reader = LogReader::new(events.clone(), 0, position);
    let chunks = stream::try_unfold(reader, async |mut reader| {
        Ok::<_, ReplayError>(reader.next().await?.map(|events| (events, reader)))
    });
    let effects = chunks.map(|chunk| {
        let folder = folder.clone();
        async move {
            let events = chunk?;
            let mut streams: HashSet<Uuid> = HashSet::default();
            if account.is_some() {
                let of_account = events.iter().filter(|event| event.account_id == account);
                streams.extend(of_account.filter_map(|event| event.stream.id.parse::<Uuid>().ok()));
            }
            // Tasks of their own, so that decoding uses more than one core.
            let task = tokio::spawn(async move { folder.fold(events).await }).await;
            let told = task.map_err(ReplayError::task)??;
            Ok::<_, ReplayError>((told, streams))
        }
    });
    let mut effects = std::pin::pin!(effects.buffered(DECODED_AT_ONCE));
    let (mut keys, mut count, mut streams) = (Keys::default(), 0, HashSet::default());
    let pace = Pace::new(&replay.log, position);
    let mut step = Stopwatch::start();
    while let Some(chunk) = effects.next().await {
        let (mut chunk, of_account) = chunk?;
        snapshot::add(spill, &mut chunk.records)?;
        keys.extend(chunk.keys);
        streams.extend(of_account);
        count += chunk.events;
        progress.advance(chunk.events);
        pace.give_way(&step).await;
        step = Stopwatch::start();
    }
    Ok(Told { keys, events: count, streams })
}
