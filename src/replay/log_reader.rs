//! Reads the log in order by binary COPY, in ranges: each range is a statement of its own, so that no snapshot is held
//! for long.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::error::ReplayError;
use super::tuple;
use crate::aggregates::STREAM_TYPES;
use crate::event_log::{FromLog as _, RecordedEvent};
use crate::postgres::Connection;
use crate::postgres::copy::CopyRows;

/// How many events one range has.
pub(super) const RANGE: i64 = 10_000;

/// Ranges of events, read ahead of their use.
pub(super) struct LogReader {
    ranges: mpsc::Receiver<Result<Vec<RecordedEvent>, ReplayError>>,
    _reading: AbortOnDropHandle<()>,
}

impl LogReader {
    /// Reads the events after one position up to another.
    pub(super) fn new(connection: Arc<Connection>, after: i64, to: i64) -> Self {
        // Capacity 1: one range waits while another is used and a third is read.
        let (ready, ranges) = mpsc::channel(1);
        let reading = tokio::spawn(async move {
            let mut after = after;
            while after < to {
                let upto = (after + RANGE).min(to);
                let range = read_range(&connection, after, upto).await;
                let is_last = range.is_err();
                if ready.send(range).await.is_err() || is_last {
                    return;
                }
                after = upto;
            }
        });
        Self { ranges, _reading: AbortOnDropHandle::new(reading) }
    }

    /// The events of the next range; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<RecordedEvent>>, ReplayError> {
        self.ranges.recv().await.transpose()
    }
}

/// The events after one position up to another, in one statement.
pub(super) async fn read_range(
    connection: &Connection,
    after: i64,
    upto: i64,
) -> Result<Vec<RecordedEvent>, ReplayError> {
    let range = format!("where position > {after} and position <= {upto} order by position");
    // What other programs store in their events is of no use here, and can be large.
    let is_ours = format!("stream_type = any ('{{{}}}')", STREAM_TYPES.join(","));
    let columns = RecordedEvent::COLUMNS
        .replace("payload", &format!("case when {is_ours} then payload else '' end"))
        .replace("sealed", &format!("case when {is_ours} then sealed end"));
    let events = read(connection, &columns, &range).await?;
    // Positions are dense, so a missing one was deleted: what follows from it would be wrong without a word.
    let found = events.iter().map(|event| event.position).chain([upto + 1]);
    match (after + 1..).zip(found).find(|(expected, found)| expected != found) {
        Some((position, _)) => Err(ReplayError::Gap { position }),
        None => Ok(events),
    }
}

/// The events that meet a condition, in its order, in one statement.
pub(super) async fn read_where(
    connection: &Connection,
    condition: &str,
) -> Result<Vec<RecordedEvent>, ReplayError> {
    read(connection, RecordedEvent::COLUMNS, condition).await
}

async fn read(
    connection: &Connection,
    columns: &str,
    condition: &str,
) -> Result<Vec<RecordedEvent>, ReplayError> {
    let sql = format!("select {columns} from log.event {condition}");
    let mut rows = CopyRows::of(&connection.client, &sql).await?;
    let mut events = Vec::new();
    while let Some(row) = rows.next().await? {
        events.push(RecordedEvent::from_fields(&row, tuple::fields(&row)).ok_or(ReplayError::Malformed)?);
    }
    Ok(events)
}
