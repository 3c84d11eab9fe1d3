//! Snapshots of long streams: a shortcut for loading, never the truth. A missing or outdated one only costs time.

use bytes::Bytes;
use tokio_postgres::types::ToSql;

use super::error::ReadError;
use super::event::StreamId;
use super::log::EventLog;

/// How many events a stream may have after its snapshot before loading it writes a new snapshot.
pub const SNAPSHOT_EVERY: i64 = 200;

/// The stored state of an aggregate at a version of its stream.
#[derive(Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The version of the stream to which the state belongs.
    pub version: i64,
    /// The version of the state's shape; a release reads only its own.
    pub state_version: i32,
    /// The state as public JSON.
    pub payload: Bytes,
    /// The ciphertext of the sealed fields; `None` if there are none.
    pub sealed: Option<Bytes>,
}

impl EventLog {
    /// The snapshot of a stream, if there is one of this shape.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`]
    pub async fn load_snapshot(
        &self,
        stream: &StreamId,
        state_version: i32,
    ) -> Result<Option<Snapshot>, ReadError> {
        let sql = "select version, state_version, payload, sealed from log.snapshot
                   where stream_type = $1 and stream_id = $2 and state_version = $3";
        let row = self.primary().row(sql, &[&&*stream.stream_type, &&*stream.id, &state_version]).await?;
        row.map(|row| {
            Ok(Snapshot {
                version: row.try_get(0)?,
                state_version: row.try_get(1)?,
                payload: Bytes::copy_from_slice(row.try_get(2)?),
                sealed: row.try_get::<_, Option<&[u8]>>(3)?.map(Bytes::copy_from_slice),
            })
        })
        .transpose()
    }

    /// Stores a snapshot, unless a newer one of the same shape exists or positions have another epoch than `epoch`, the
    /// one in which the events were read: some of these events may be lost.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`]
    pub async fn save_snapshot(
        &self,
        stream: &StreamId,
        snapshot: &Snapshot,
        epoch: i64,
    ) -> Result<(), ReadError> {
        // A snapshot of another shape is replaced even if it is newer: this release cannot read it.
        let sql =
            "insert into log.snapshot as s (stream_type, stream_id, version, state_version, payload, sealed)
                   select $1, $2, $3, $4, $5, $6 from log.head h where h.epoch = $7
                   on conflict (stream_type, stream_id) do update
                       set version = excluded.version, state_version = excluded.state_version,
                           payload = excluded.payload, sealed = excluded.sealed
                       where s.state_version <> excluded.state_version or s.version < excluded.version";
        let parameters: [&(dyn ToSql + Sync); 7] = [
            &&*stream.stream_type,
            &&*stream.id,
            &snapshot.version,
            &snapshot.state_version,
            &&*snapshot.payload,
            &snapshot.sealed.as_deref(),
            &epoch,
        ];
        self.primary().execute(sql, &parameters).await?;
        Ok(())
    }
}
