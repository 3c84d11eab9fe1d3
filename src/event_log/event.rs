//! Streams and events, before and after they have a position in the log.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql as _, Type};
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::ids::EventId;

/// Identifies the sequence of events of one aggregate.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId {
    /// The kind of aggregate, for example `account`.
    pub stream_type: Cow<'static, str>,
    /// The aggregate's identifier: a UUID for aggregates of Tenure, any text for foreign ones.
    pub id: Arc<str>,
}

impl StreamId {
    /// The stream of one of Tenure's own aggregates.
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

/// A decided and serialised event that has no position yet.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Its identifier, created before it is stored.
    pub id: EventId,
    /// The stream to which it belongs.
    pub stream: StreamId,
    /// Its version in that stream; the first is 1.
    pub version: i64,
    /// The stored name, for example `account.opened`.
    pub event_type: Cow<'static, str>,
    /// The version of the payload's shape.
    pub event_version: Cow<'static, str>,
    /// The account that it concerns, if any.
    pub account_id: Option<Uuid>,
    /// Public JSON, stored as exactly these bytes.
    pub payload: Bytes,
    /// A flat JSON object of strings, stored as exactly these bytes.
    pub metadata: Bytes,
    /// The ciphertext of the sealed fields; `None` if there are none.
    pub sealed: Option<Bytes>,
}

impl NewEvent {
    /// The size of its payload, metadata and sealed fields together, in bytes.
    pub(super) fn content_bytes(&self) -> usize {
        self.payload.len() + self.metadata.len() + self.sealed.as_ref().map_or(0, Bytes::len)
    }

    /// About how many bytes this event takes on the wire.
    pub(super) fn size_bytes(&self) -> usize {
        256 + self.content_bytes()
    }
}

/// An event as it is stored in the log.
#[derive(Clone, PartialEq, Eq)]
pub struct RecordedEvent {
    /// Its position in the log; the first is 1, and there are no gaps.
    pub position: i64,
    /// Its identifier, created before it was stored.
    pub id: EventId,
    /// The stream to which it belongs.
    pub stream: StreamId,
    /// Its version in that stream; the first is 1.
    pub version: i64,
    /// The stored name, for example `account.opened`.
    pub event_type: String,
    /// The version of the payload's shape.
    pub event_version: String,
    /// The account that it concerns, if any.
    pub account_id: Option<Uuid>,
    /// When it was recorded; strictly increasing with the position.
    pub recorded_at: Timestamp,
    /// Public JSON, as the bytes that were first serialised.
    pub payload: Bytes,
    /// A flat JSON object of strings, as the bytes that were first serialised.
    pub metadata: Bytes,
    /// The ciphertext of the sealed fields; `None` if there are none.
    pub sealed: Option<Bytes>,
}

/// A form in which events are read: whole, or only the columns that the reader needs.
pub trait FromLog: Sized {
    /// The columns of `log.event`, in order; the first is the position.
    const COLUMNS: &'static str;

    /// Decodes a row that has `before` other columns before [`FromLog::COLUMNS`].
    ///
    /// # Errors
    /// The row lacks a column, or a column has another type.
    fn from_row_after(row: &Row, before: usize) -> Result<Self, tokio_postgres::Error>;

    /// The form that needs no more than the header; `None` for forms that do.
    #[must_use]
    fn of_headers(_: Vec<EventHeader>) -> Option<Vec<Self>> {
        None
    }

    /// Whether [`FromLog::of_headers`] has a form.
    const IS_HEADER: bool = false;

    /// The event's position in the log.
    fn position(&self) -> i64;

    /// The event's identifier.
    fn id(&self) -> EventId;
}

/// An event without payload and metadata: where it is and what it is called.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventHeader {
    /// Its position in the log.
    pub position: i64,
    /// Its identifier, created before it was stored.
    pub id: EventId,
    /// The stream to which it belongs.
    pub stream: StreamId,
    /// Its version in that stream.
    pub version: i64,
    /// The stored name, for example `account.opened`.
    pub event_type: Cow<'static, str>,
    /// The account that it concerns, if any.
    pub account_id: Option<Uuid>,
}

impl EventHeader {
    /// The headers of events that have this position and the next ones.
    pub(super) fn from_position<'e>(first: i64, events: impl Iterator<Item = &'e NewEvent>) -> Vec<Self> {
        let header = |(position, event): (i64, &NewEvent)| Self {
            position,
            id: event.id,
            stream: event.stream.clone(),
            version: event.version,
            event_type: event.event_type.clone(),
            account_id: event.account_id,
        };
        (first..).zip(events).map(header).collect()
    }
}

fn stream_at(row: &Row, column: usize) -> Result<StreamId, tokio_postgres::Error> {
    Ok(StreamId {
        stream_type: Cow::Owned(row.try_get(column)?),
        id: Arc::from(row.try_get::<_, &str>(column + 1)?),
    })
}

impl FromLog for EventHeader {
    const COLUMNS: &'static str =
        "position, event_id, stream_type, stream_id, version, event_type, account_id";

    fn from_row_after(row: &Row, before: usize) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            position: row.try_get(before)?,
            id: row.try_get(before + 1)?,
            stream: stream_at(row, before + 2)?,
            version: row.try_get(before + 4)?,
            event_type: Cow::Owned(row.try_get(before + 5)?),
            account_id: row.try_get(before + 6)?,
        })
    }

    fn of_headers(headers: Vec<Self>) -> Option<Vec<Self>> {
        Some(headers)
    }

    const IS_HEADER: bool = true;

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
    /// Decodes the fields of a binary COPY of [`FromLog::COLUMNS`]; `None` if they are not those of an event. `row` is the
    /// buffer that the fields borrow from, which the event then shares.
    pub(crate) fn from_fields<'a>(
        row: &'a Bytes,
        mut fields: impl Iterator<Item = Option<&'a [u8]>>,
    ) -> Option<Self> {
        fn int(bytes: &[u8]) -> Option<i64> {
            bytes.try_into().ok().map(i64::from_be_bytes)
        }
        fn text(bytes: &[u8]) -> Option<&str> {
            std::str::from_utf8(bytes).ok()
        }
        let mut field = || fields.next();
        Some(Self {
            position: int(field()??)?,
            id: EventId::from_uuid(Uuid::from_slice(field()??).ok()?),
            stream: StreamId {
                stream_type: Cow::Owned(text(field()??)?.to_owned()),
                id: Arc::from(text(field()??)?),
            },
            version: int(field()??)?,
            event_type: text(field()??)?.to_owned(),
            event_version: text(field()??)?.to_owned(),
            account_id: field()?.map(|bytes| Uuid::from_slice(bytes).ok()).unwrap_or_default(),
            recorded_at: Timestamp::from_sql(&Type::TIMESTAMPTZ, field()??).ok()?,
            payload: row.slice_ref(field()??),
            metadata: row.slice_ref(field()??),
            sealed: field()?.map(|bytes| row.slice_ref(bytes)),
        })
    }

    /// Decodes a row that has only the columns of the event.
    pub(crate) fn from_row(row: &Row) -> Result<Self, tokio_postgres::Error> {
        Self::from_row_after(row, 0)
    }
}

impl fmt::Debug for RecordedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} {} v{} {}", self.position, self.stream, self.version, self.event_type)
    }
}
