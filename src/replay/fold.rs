//! Turns events into changes of rows, in parallel, and the changes of a slice into its rows.

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::{BufMut as _, BytesMut};
use foldhash::fast::FixedState;
use foldhash::{HashMap, HashSet};
use std::hash::BuildHasher as _;
use uuid::Uuid;

use super::error::ReplayError;
use super::spill::SLICES;
use super::tuple;
use crate::aggregates::{AnyEvent, CLAIMS_BY_SEALED_NAME, ClaimHasher, STREAM_TYPES};
use crate::codec::Codec;
use crate::event_log::claim::ClaimChange;
use crate::event_log::rows::{Change, RowChange, Table, Value};
use crate::event_log::{Primary, RecordedEvent};
use crate::projections::{self, unique_claims};

/// What a record says about a row.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Record {
    /// An event inserts the row: a tuple.
    Insert,
    /// An event takes a claim, whoever held it: a tuple.
    Put,
    /// An event changes columns: the key, then column numbers and fields.
    Patch,
    /// An event deletes the row: the key.
    Delete,
    /// An event releases a claim, if this holder has it: the key, then the holder.
    Release,
    /// The live table has this row: a tuple.
    Live,
}

impl Record {
    const ALL: [Self; 6] = [Self::Insert, Self::Put, Self::Patch, Self::Delete, Self::Release, Self::Live];
}

/// Records by slice, as bytes: each is its kind (u8), the number of its table (u8), the position of its event (i64), the
/// length of the rest (u32) and the rest.
#[derive(Default)]
pub(super) struct Records(pub(super) Vec<BytesMut>);

impl Records {
    pub(super) fn new() -> Self {
        Self(std::iter::repeat_with(BytesMut::new).take(SLICES).collect())
    }

    /// Adds what events do.
    pub(super) fn extend(&mut self, effects: &[Effects]) -> Result<(), ReplayError> {
        let mut content = BytesMut::new();
        for Effects { position, rows, claims } in effects {
            for change in rows {
                push_row(self, &mut content, *position, change)?;
            }
            for change in claims {
                push_claim(self, &mut content, *position, change)?;
            }
        }
        Ok(())
    }

    /// Adds a record; `content` begins with the fields of the key.
    pub(super) fn push(
        &mut self,
        kind: Record,
        table: usize,
        position: i64,
        content: &[u8],
    ) -> Result<(), ReplayError> {
        let of = projections::TABLES[table];
        let key = tuple::fields_len(content, of.key_columns).ok_or(ReplayError::Malformed)?;
        let hash = FixedState::with_seed(0).hash_one((table, &content[..key]));
        // The remainder is less than the number of slices.
        let out = &mut self.0[usize::try_from(hash % SLICES as u64).unwrap_or(0)];
        out.put_u8(kind as u8);
        out.put_u8(u8::try_from(table).unwrap_or(u8::MAX));
        out.put_i64(position);
        out.put_u32(u32::try_from(content.len()).map_err(|error| ReplayError::Value(error.to_string()))?);
        out.put_slice(content);
        Ok(())
    }
}

/// Subjects whose keys events have destroyed, and those whose keys were missing.
#[derive(Clone, Default)]
pub(super) struct Keys {
    /// Destroyed by an event.
    pub(super) ended: HashSet<(&'static str, Uuid)>,
    /// Missing when an event was decoded, as `kind:id`.
    missing: HashSet<String>,
    /// Streams of events that could not be read whole, and the subjects of the missing keys: what they hold of claims on
    /// sealed names cannot be told from the log.
    pub(super) unreadable: HashSet<Uuid>,
    /// Those of `ended` that had ended by the position of the comparison: they hold no claims any more.
    pub(super) ended_before: HashSet<Uuid>,
}

impl Keys {
    pub(super) fn extend(&mut self, other: Self) {
        self.ended.extend(other.ended);
        self.missing.extend(other.missing);
        self.unreadable.extend(other.unreadable);
        self.ended_before.extend(other.ended_before);
    }

    /// Notes that everything up to the position of the comparison was read.
    pub(super) fn note_position(&mut self) {
        self.ended_before = self.ended.iter().map(|(_, id)| *id).collect();
    }

    /// The claims of these kinds and holders cannot be told from the log any more: the names are sealed under keys that are missing, or
    /// that an event has destroyed.
    pub(super) fn untold_claims(&self) -> impl Iterator<Item = (&'static str, String)> {
        let missing = self.missing.iter().filter_map(|subject| subject.split_once(':'));
        let missing = missing.map(|(of, holder)| (of, holder.to_owned()));
        let ended = self.ended.iter().map(|(of, holder)| (*of, holder.to_string()));
        missing.chain(ended).flat_map(|(of, holder)| {
            let claims = CLAIMS_BY_SEALED_NAME.iter().filter(move |(_, subject)| *subject == of);
            claims.map(move |(kind, _)| (*kind, holder.clone()))
        })
    }

    /// Whether a claim of this kind and holder is one of those.
    pub(super) fn is_untold(&self, kind: &str, holder: &str) -> bool {
        let id = holder.parse::<Uuid>().ok();
        let has_ended = |subject| id.is_some_and(|id| self.ended.contains(&(subject, id)));
        let is_missing = |subject: &str| self.missing.contains(&format!("{subject}:{holder}"));
        let mut claims = CLAIMS_BY_SEALED_NAME.iter();
        claims.any(|(of, subject)| *of == kind && (is_missing(subject) || has_ended(*subject)))
    }

    /// A subject whose key is missing although no event that was read has destroyed it.
    pub(super) fn lost(&self) -> Option<&String> {
        let ended: HashSet<String> = self.ended.iter().map(|(kind, id)| format!("{kind}:{id}")).collect();
        self.missing.iter().filter(|subject| !ended.contains(*subject)).min()
    }
}

/// What a range of events does to the tables.
pub(super) struct Folded {
    pub(super) records: Records,
    pub(super) keys: Keys,
    pub(super) events: u64,
}

/// Decodes events and finds what they do to these tables.
#[derive(Clone)]
pub(super) struct Folder {
    pub(super) codec: Codec,
    pub(super) primary: Primary,
    /// Whether each of [`projections::TABLES`] is wanted.
    pub(super) wanted: Arc<[bool]>,
}

/// An event of ours with what it does to rows and claims.
pub(super) struct Effects {
    pub(super) position: i64,
    pub(super) rows: Vec<RowChange>,
    pub(super) claims: Vec<ClaimChange>,
}

impl Folder {
    /// What these events do, as records by slice.
    pub(super) async fn fold(&self, events: Vec<RecordedEvent>) -> Result<Folded, ReplayError> {
        let count = events.len() as u64;
        let (effects, keys) = self.effects(&events).await?;
        let mut records = Records::new();
        records.extend(&effects)?;
        Ok(Folded { records, keys, events: count })
    }

    /// What each of these events does to the wanted tables.
    pub(super) async fn effects(
        &self,
        events: &[RecordedEvent],
    ) -> Result<(Vec<Effects>, Keys), ReplayError> {
        // Foreign aggregates in the same log have no projections here.
        let ours: Vec<&RecordedEvent> =
            events.iter().filter(|event| STREAM_TYPES.contains(&&*event.stream.stream_type)).collect();
        let decoded = self.codec.decode_noting_missing_keys(&ours, &self.primary).await?;
        let hasher: &dyn ClaimHasher = &**self.codec.keys();
        let claims_wanted = self.wanted[table_of(&unique_claims::TABLE)];
        let mut keys = Keys::default();
        let mut effects = Vec::with_capacity(ours.len());
        for (stored, (event, missing)) in ours.iter().zip(decoded) {
            let (position, id) = (stored.position, &stored.stream.id);
            let stream: Uuid =
                id.parse().map_err(|_| ReplayError::Stream { position, stream: id.to_string() })?;
            keys.note(stream, &event, missing);
            // A projection is a pure function without state, so nothing is left half-changed by a panic.
            let (mut rows, claims) = std::panic::catch_unwind(AssertUnwindSafe(|| {
                let claims = if claims_wanted { event.claims(stream, hasher) } else { Vec::new() };
                (projections::changes(stream, &event), claims)
            }))
            .map_err(|_| ReplayError::Panicked { position })?;
            rows.retain(|change| self.wanted[table_of(change.table)]);
            effects.push(Effects { position, rows, claims });
        }
        Ok((effects, keys))
    }
}

impl Keys {
    /// Notes the keys that an event destroys.
    pub(super) fn note_endings(&mut self, folder: &Folder, event: &RecordedEvent) -> Result<(), ReplayError> {
        if STREAM_TYPES.contains(&&*event.stream.stream_type) {
            let ended = folder.codec.ended_subjects(event)?;
            self.ended.extend(ended.into_iter().map(|subject| (subject.kind, subject.id)));
        }
        Ok(())
    }

    fn note(&mut self, stream: Uuid, event: &AnyEvent, missing: Vec<String>) {
        self.ended.extend(event.ends_subjects(stream).into_iter().map(|subject| (subject.kind, subject.id)));
        if missing.is_empty() {
            return;
        }
        self.unreadable.insert(stream);
        let ids = missing.iter().filter_map(|subject| subject.split_once(':')?.1.parse::<Uuid>().ok());
        self.unreadable.extend(ids);
        self.missing.extend(missing);
    }
}

/// The number of a table in [`projections::TABLES`].
pub(super) fn table_of(table: &Table) -> usize {
    projections::TABLES.iter().position(|known| known.name == table.name).unwrap_or(0)
}

fn put_fields<'v>(
    content: &mut BytesMut,
    table: &Table,
    values: impl IntoIterator<Item = &'v Value>,
    position: i64,
) -> Result<(), ReplayError> {
    for (column, value) in table.columns.iter().zip(values) {
        put_value(content, column.column_type, value, position)?;
    }
    Ok(())
}

fn put_value(
    content: &mut BytesMut,
    column: crate::event_log::rows::ColumnType,
    value: &Value,
    position: i64,
) -> Result<(), ReplayError> {
    match value {
        Value::Position => tuple::put(content, column, &Value::Int(position)),
        value => tuple::put(content, column, value),
    }
}

fn push_row(
    records: &mut Records,
    content: &mut BytesMut,
    position: i64,
    RowChange { table, key, change }: &RowChange,
) -> Result<(), ReplayError> {
    content.clear();
    let kind = match change {
        Change::Insert(values) => {
            put_fields(content, table, values, position)?;
            Record::Insert
        }
        Change::Patch(columns) => {
            put_fields(content, table, key, position)?;
            for (column, value) in columns {
                content.put_u8(u8::try_from(*column).unwrap_or(u8::MAX));
                put_value(content, table.columns[*column].column_type, value, position)?;
            }
            Record::Patch
        }
        Change::Delete => {
            put_fields(content, table, key, position)?;
            Record::Delete
        }
    };
    records.push(kind, table_of(table), position, content)
}

fn push_claim(
    records: &mut Records,
    content: &mut BytesMut,
    position: i64,
    change: &ClaimChange,
) -> Result<(), ReplayError> {
    let table = &unique_claims::TABLE;
    content.clear();
    let kind = match change {
        ClaimChange::Take(claim) => {
            put_fields(content, table, &unique_claims::row(claim), position)?;
            Record::Put
        }
        ClaimChange::Release { key, holder } => {
            put_fields(content, table, &unique_claims::key_and_holder(key, holder), position)?;
            Record::Release
        }
    };
    records.push(kind, table_of(table), position, content)
}

/// A row as the replay makes it and as the live table has it.
#[derive(Default)]
pub(super) struct Row<'a> {
    pub(super) replayed: Option<Cow<'a, [u8]>>,
    pub(super) live: Option<&'a [u8]>,
}

/// The rows of a slice, by table number and key.
pub(super) type Rows<'a> = HashMap<(usize, &'a [u8]), Row<'a>>;

/// Carries out the records of a slice, in order.
pub(super) fn rows_of(slice: &[u8]) -> Result<Rows<'_>, ReplayError> {
    rows_until(slice, i64::MAX)
}

/// Carries out the records of a slice that come from events up to a position, in order.
pub(super) fn rows_until(slice: &[u8], last: i64) -> Result<Rows<'_>, ReplayError> {
    let mut rows = Rows::default();
    for entry in entries(slice) {
        let entry = entry?;
        if entry.position <= last && !entry.carry_out(&mut rows)? {
            let (position, table) = (entry.position, projections::TABLES[entry.number].name);
            let change = match entry.kind {
                Record::Insert => "insert a row that is already there",
                Record::Patch => "change a missing row",
                _ => "delete a missing row",
            };
            return Err(ReplayError::Inconsistent { position, table, change });
        }
    }
    Ok(rows)
}

/// Carries out the records of a slice of a part of the log, which are in any order, up to a position. What they change of rows that
/// other parts made is left out.
pub(super) fn rows_of_part(slice: &[u8], last: i64) -> Result<Rows<'_>, ReplayError> {
    let mut all: Vec<Entry<'_>> = entries(slice).collect::<Result<_, _>>()?;
    // Stable: what one event does stays in its order.
    all.sort_by_key(|entry| entry.position);
    let mut rows = Rows::default();
    for entry in all.iter().filter(|entry| entry.position <= last) {
        entry.carry_out(&mut rows)?;
    }
    Ok(rows)
}

fn entries(slice: &[u8]) -> impl Iterator<Item = Result<Entry<'_>, ReplayError>> {
    let mut rest = slice;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let split = Entry::split(rest);
        rest = split.as_ref().map_or(&[], |(_, rest)| *rest);
        Some(split.map(|(entry, _)| entry).ok_or(ReplayError::Malformed))
    })
}

/// A record.
struct Entry<'a> {
    kind: Record,
    /// The number of its table in [`projections::TABLES`].
    number: usize,
    position: i64,
    content: &'a [u8],
}

impl<'a> Entry<'a> {
    /// Changes the row that the record is about. False if the row is there and should not be, or the other way round.
    fn carry_out(&self, rows: &mut Rows<'a>) -> Result<bool, ReplayError> {
        let Self { kind, number, content, .. } = *self;
        let key_len = tuple::fields_len(content, projections::TABLES[number].key_columns)
            .ok_or(ReplayError::Malformed)?;
        let (key, values) = content.split_at(key_len);
        let row = rows.entry((number, key)).or_default();
        match kind {
            Record::Live => row.live = Some(content),
            Record::Insert if row.replayed.is_some() => return Ok(false),
            Record::Insert | Record::Put => row.replayed = Some(Cow::Borrowed(content)),
            Record::Patch => {
                let Some(before) = row.replayed.as_deref() else { return Ok(false) };
                row.replayed =
                    Some(Cow::Owned(tuple::patched(before, values).ok_or(ReplayError::Malformed)?));
            }
            Record::Delete => return Ok(row.replayed.take().is_some()),
            // A release by a former holder has no effect: another one may have taken the claim over.
            Record::Release => row.replayed = row.replayed.take().filter(|held| !held.starts_with(content)),
        }
        Ok(true)
    }

    /// Splits the first record off.
    fn split(records: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (kind, rest) = records.split_first()?;
        let (table, rest) = rest.split_first()?;
        let (position, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (content, after) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        let number = usize::from(*table);
        (number < projections::TABLES.len()).then_some(())?;
        let kind = *Record::ALL.get(usize::from(*kind))?;
        Some((Self { kind, number, position: i64::from_be_bytes(*position), content }, after))
    }
}
