//! Reads the log in order by binary COPY, in ranges: each range is a statement of its own, so that no snapshot is held
//! for long. What a statement finds is handed on in chunks, so that large events need no more memory than small ones.

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

/// A chunk ends with the event that makes it this large, in bytes: more than a range of usual events.
const CHUNK: usize = 8 << 20;

/// Chunks of events, read ahead of their use.
pub(super) struct LogReader {
    chunks: mpsc::Receiver<Result<Vec<RecordedEvent>, ReplayError>>,
    _reading: AbortOnDropHandle<()>,
}

impl LogReader {
    /// Reads the events after one position up to another.
    pub(super) fn new(connection: Arc<Connection>, after: i64, to: i64) -> Self {
        // Capacity 1: one chunk waits while another is used and a third is read.
        let (ready, chunks) = mpsc::channel(1);
        let reading = tokio::spawn(async move {
            let mut after = after;
            while after < to {
                let upto = (after + RANGE).min(to);
                let sent = async {
                    let mut range = Events::of_range(&connection, after, upto).await?;
                    while let Some(chunk) = range.next().await? {
                        if ready.send(Ok(chunk)).await.is_err() {
                            return Ok(false);
                        }
                    }
                    Ok(true)
                };
                match sent.await {
                    Ok(true) => after = upto,
                    Ok(false) => return,
                    Err(error) => {
                        // Nobody is told if nobody waits for it any more.
                        let _ = ready.send(Err(error)).await;
                        return;
                    }
                }
            }
        });
        Self { chunks, _reading: AbortOnDropHandle::new(reading) }
    }

    /// The events of the next chunk; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<RecordedEvent>>, ReplayError> {
        self.chunks.recv().await.transpose()
    }
}

/// The events that one statement reads. The connection can do nothing else until all of them have been taken.
pub(super) struct Events {
    rows: CopyRows,
    /// The position of the next event and that of the last, if all between them are wanted.
    dense: Option<(i64, i64)>,
}

impl Events {
    /// All events after one position up to another.
    pub(super) async fn of_range(
        connection: &Connection,
        after: i64,
        upto: i64,
    ) -> Result<Self, ReplayError> {
        // What other programs store in their events is of no use here, and can be large.
        let is_ours = format!("stream_type = any ('{{{}}}')", STREAM_TYPES.join(","));
        let columns = RecordedEvent::COLUMNS
            .replace("payload", &format!("case when {is_ours} then payload else '' end"))
            .replace("metadata", &format!("case when {is_ours} then metadata else '' end"))
            .replace("sealed", &format!("case when {is_ours} then sealed end"));
        let range = format!("where position > {after} and position <= {upto} order by position");
        let rows = rows(connection, &columns, &range).await?;
        Ok(Self { rows, dense: Some((after + 1, upto)) })
    }

    /// The events that meet a condition, in its order.
    pub(super) async fn that_meet(connection: &Connection, condition: &str) -> Result<Self, ReplayError> {
        Ok(Self { rows: rows(connection, RecordedEvent::COLUMNS, condition).await?, dense: None })
    }

    /// The next events; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<RecordedEvent>>, ReplayError> {
        let (mut events, mut bytes) = (Vec::new(), 0);
        while bytes < CHUNK {
            let Some(row) = self.rows.next().await? else { break };
            bytes += row.len();
            let event =
                RecordedEvent::from_fields(&row, tuple::fields(&row)).ok_or(ReplayError::Malformed)?;
            // Positions are dense, so a missing one was deleted: what follows from it would be wrong without a word.
            if let Some((expected, _)) = &mut self.dense {
                if event.position != *expected {
                    return Err(ReplayError::Gap { position: *expected });
                }
                *expected += 1;
            }
            events.push(event);
        }
        match self.dense {
            Some((expected, upto)) if events.is_empty() && expected <= upto => {
                Err(ReplayError::Gap { position: expected })
            }
            _ => Ok((!events.is_empty()).then_some(events)),
        }
    }
}

async fn rows(connection: &Connection, columns: &str, condition: &str) -> Result<CopyRows, ReplayError> {
    let sql = format!("select {columns} from log.event {condition}");
    Ok(CopyRows::of(&connection.client, &sql).await?)
}
