//! What is stored: streams, events before and after they have a position.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::ids::EventId;

/// One aggregate's own sequence of events.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId {
    /// The kind of aggregate, for example `account`.
    pub stream_type: Cow<'static, str>,
    /// The aggregate's identifier; a UUID for our own, any text for others'.
    pub id: Arc<str>,
}

impl StreamId {
    /// The stream of an aggregate type of ours.
    #[must_use]
    pub fn new(stream_type: &'static str, id: Uuid) -> Self {
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        Self {
            stream_type: Cow::Borrowed(stream_type),
            id: Arc::from(&*id.hyphenated().encode_lower(&mut text)),
        }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.stream_type, self.id)
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An event that has been decided and serialised, and has no position yet.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Its identity, made before it is stored.
    pub id: EventId,
    /// The stream that it belongs to.
    pub stream: StreamId,
    /// Its place in that stream; the first is 1.
    pub version: i64,
    /// The stored name, for example `account.opened`.
    pub event_type: Cow<'static, str>,
    /// The version of the payload's shape.
    pub event_version: Cow<'static, str>,
    /// The tenant that it concerns, if any.
    pub account_id: Option<Uuid>,
    /// Public JSON, stored as these very bytes.
    pub payload: Bytes,
    /// A flat JSON object of strings, stored as these very bytes.
    pub metadata: Bytes,
    /// Ciphertext of the sealed fields.
    pub sealed: Option<Bytes>,
}

impl NewEvent {
    /// How many bytes its payload, metadata and sealed fields take together.
    pub(super) fn content_bytes(&self) -> usize {
        self.payload.len() + self.metadata.len() + self.sealed.as_ref().map_or(0, Bytes::len)
    }

    /// About how many bytes this event takes on the wire.
    pub(super) fn size_bytes(&self) -> usize {
        256 + self.content_bytes()
    }
}

/// An event as the log holds it.
#[derive(Clone, PartialEq, Eq)]
pub struct RecordedEvent {
    /// Its place in the log; the first is 1, and there are no gaps.
    pub position: i64,
    /// Its identity.
    pub id: EventId,
    /// The stream that it belongs to.
    pub stream: StreamId,
    /// Its place in that stream; the first is 1.
    pub version: i64,
    /// The stored name, for example `account.opened`.
    pub event_type: String,
    /// The version of the payload's shape.
    pub event_version: String,
    /// The tenant that it concerns, if any.
    pub account_id: Option<Uuid>,
    /// When it was recorded: strictly increasing with the position.
    pub recorded_at: Timestamp,
    /// Public JSON, the bytes as first serialised.
    pub payload: Bytes,
    /// A flat JSON object of strings, the bytes as first serialised.
    pub metadata: Bytes,
    /// Ciphertext of the sealed fields.
    pub sealed: Option<Bytes>,
}

/// What is read of an event: all of it, or no more than its reader needs.
pub trait FromLog: Sized {
    /// The columns of `log.event`, in order; the first is the position.
    const COLUMNS: &'static str;

    /// Reads a row that has so many columns before [`FromLog::COLUMNS`].
    ///
    /// # Errors
    /// The row is of another shape.
    fn from_row_after(row: &Row, before: usize) -> Result<Self, tokio_postgres::Error>;

    /// The event's place in the log.
    fn position(&self) -> i64;

    /// The event's identity.
    fn id(&self) -> EventId;
}

/// Which event of which stream, without what it says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventHeader {
    /// Its place in the log.
    pub position: i64,
    /// Its identity.
    pub id: EventId,
    /// The stream that it belongs to.
    pub stream: StreamId,
    /// Its place in that stream.
    pub version: i64,
    /// The stored name.
    pub event_type: String,
}

fn stream_at(row: &Row, column: usize) -> Result<StreamId, tokio_postgres::Error> {
    Ok(StreamId {
        stream_type: Cow::Owned(row.try_get(column)?),
        id: Arc::from(row.try_get::<_, &str>(column + 1)?),
    })
}

impl FromLog for EventHeader {
    const COLUMNS: &'static str = "position, event_id, stream_type, stream_id, version, event_type";

    fn from_row_after(row: &Row, before: usize) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            position: row.try_get(before)?,
            id: row.try_get(before + 1)?,
            stream: stream_at(row, before + 2)?,
            version: row.try_get(before + 4)?,
            event_type: row.try_get(before + 5)?,
        })
    }

    fn position(&self) -> i64 {
        self.position
    }

    fn id(&self) -> EventId {
        self.id
    }
}

impl FromLog for RecordedEvent {
    const COLUMNS: &'static str = "position, event_id, stream_type, stream_id, version, event_type, \
                                   event_version, account_id, recorded_at, payload, metadata, sealed";

    fn from_row_after(row: &Row, before: usize) -> Result<Self, tokio_postgres::Error> {
        let bytes = |column| row.try_get::<_, &[u8]>(before + column).map(Bytes::copy_from_slice);
        Ok(Self {
            position: row.try_get(before)?,
            id: row.try_get(before + 1)?,
            stream: stream_at(row, before + 2)?,
            version: row.try_get(before + 4)?,
            event_type: row.try_get(before + 5)?,
            event_version: row.try_get(before + 6)?,
            account_id: row.try_get(before + 7)?,
            recorded_at: row.try_get(before + 8)?,
            payload: bytes(9)?,
            metadata: bytes(10)?,
            sealed: row.try_get::<_, Option<&[u8]>>(before + 11)?.map(Bytes::copy_from_slice),
        })
    }

    fn position(&self) -> i64 {
        self.position
    }

    fn id(&self) -> EventId {
        self.id
    }
}

impl RecordedEvent {
    /// Reads a row of its columns alone.
    pub(crate) fn from_row(row: &Row) -> Result<Self, tokio_postgres::Error> {
        Self::from_row_after(row, 0)
    }
}

impl fmt::Debug for RecordedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} {} v{} {}", self.position, self.stream, self.version, self.event_type)
    }
}
