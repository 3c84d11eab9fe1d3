//! What changed between two moments: the rows as they were then and then, compared.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use uuid::Uuid;

use super::compare::{living, shown, shown_key};
use super::error::ReplayError;
use super::fold::{Rows, rows_of_part, rows_until, table_of};
use super::moment::Resolved;
use super::part::read_part;
use super::parts::Replay;
use super::progress::{Phase, Progress};
use super::scan::read_log;
use super::session;
use super::spill::{SLICES, Spill};
use super::tuple;
use crate::clock::Timestamp;
use crate::event_log::rows::{ColumnType, Table};
use crate::projections::{self, unique_claims};

/// How many changes a report names; the others are counted.
const NAMED: usize = 10_000;

/// Columns with digests and hashes of secrets: that they changed is shown, their values are not.
const SECRETS: &[&str] = &["key_hash", "former_hash", "digest"];

/// Shown in place of a secret.
const HIDDEN: &str = "(hidden)";

/// How a row changed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It was not there before.
    Added,
    /// Its columns changed.
    Changed,
    /// It is not there any more.
    Removed,
}

/// A value before and after; `None` if it was null, or the row was not there.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct ColumnChange {
    /// The value at the first moment.
    pub before: Option<String>,
    /// The value at the second.
    pub after: Option<String>,
}

/// A row that changed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct RowChanged {
    /// Its table.
    pub table: &'static str,
    /// The values of its key columns, by name.
    pub key: BTreeMap<&'static str, String>,
    /// How it changed.
    pub kind: ChangeKind,
    /// The columns that differ, by name.
    pub columns: BTreeMap<&'static str, ColumnChange>,
}

impl fmt::Display for RowChanged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key: Vec<String> = self.key.iter().map(|(name, value)| format!("{name} {value}")).collect();
        let sign = match self.kind {
            ChangeKind::Added => '+',
            ChangeKind::Changed => '~',
            ChangeKind::Removed => '-',
        };
        write!(f, "{sign} {} {}", self.table, key.join(", "))?;
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "–".to_owned());
        for (column, ColumnChange { before, after }) in &self.columns {
            match self.kind {
                ChangeKind::Added => write!(f, "\n    {column}: {}", value(after))?,
                ChangeKind::Removed => write!(f, "\n    {column}: {}", value(before))?,
                ChangeKind::Changed => write!(f, "\n    {column}: {} → {}", value(before), value(after))?,
            }
        }
        Ok(())
    }
}

/// What changed between two moments.
#[derive(Clone, Debug, Serialize)]
pub struct Changes {
    /// The first moment.
    pub from: Resolved,
    /// The second.
    pub to: Resolved,
    /// How many events were read.
    pub events: u64,
    /// How many rows changed.
    pub count: u64,
    /// The first of them, by table and key; at most 10,000.
    pub changes: Vec<RowChanged>,
}

impl Replay {
    /// Compares the tables as they were at two moments, all of them or the rows of one account. Columns of secrets are hidden, and
    /// what was forgotten is blank.
    ///
    /// # Errors
    /// [`ReplayError`]
    pub async fn changes(
        &self,
        (from, to): (Resolved, Resolved),
        account: Option<Uuid>,
        progress: &Progress,
    ) -> Result<Changes, ReplayError> {
        if from.epoch != to.epoch {
            return Err(ReplayError::EpochChanged);
        }
        session::while_server_answers(&self.log, Box::pin(self.changes_while((from, to), account, progress)))
            .await
    }

    async fn changes_while(
        &self,
        (from, to): (Resolved, Resolved),
        account: Option<Uuid>,
        progress: &Progress,
    ) -> Result<Changes, ReplayError> {
        let folder = self.folder_of_past(account.is_some());
        let connection = Arc::new(session::connect(&self.log, session::COMPARING).await?);
        let mut spill = Spill::new(&*self.entropy);
        let events = if let Some(account) = account {
            progress.begin(Phase::ReadingLog, 0);
            let of = (account, to.position);
            read_part(&folder, &connection, of, u64::MAX, &mut spill, progress)
                .await?
                .map_or(0, |part| part.events)
        } else {
            read_log(self, &folder, &connection, (to.position, None), &mut spill, progress).await?.events
        };
        progress.begin(Phase::Loading, SLICES as u64);
        let mut found = Changes { from, to, events, count: 0, changes: Vec::new() };
        for slice in 0..SLICES {
            let slice = spill.take(slice).read()?;
            let (before, after) = if account.is_some() {
                (rows_of_part(&slice, from.position)?, rows_of_part(&slice, to.position)?)
            } else {
                (rows_until(&slice, from.position)?, rows_until(&slice, to.position)?)
            };
            found.compare(&before, &after)?;
            progress.advance(1);
            tokio::task::yield_now().await;
        }
        found.changes.sort_unstable();
        found.changes.truncate(NAMED);
        Ok(found)
    }
}

impl Changes {
    fn compare(&mut self, before: &Rows<'_>, after: &Rows<'_>) -> Result<(), ReplayError> {
        // What is there at the first moment only is a row without content at the second: events are read up to that one.
        for (&(number, key), row) in after {
            let old = before.get(&(number, key)).and_then(|row| row.replayed.as_deref());
            let old = present(number, old, self.from.at)?;
            let new = present(number, row.replayed.as_deref(), self.to.at)?;
            let table = projections::TABLES[number];
            let kind = match (old, new) {
                (None, None) => continue,
                (None, Some(_)) => ChangeKind::Added,
                (Some(_), None) => ChangeKind::Removed,
                (Some(_), Some(_)) => ChangeKind::Changed,
            };
            let columns = columns(table, old, new);
            if columns.is_empty() && kind == ChangeKind::Changed {
                continue;
            }
            self.count += 1;
            self.changes.push(RowChanged { table: table.name, key: shown_key(table, key), kind, columns });
            // Kept in order without sorting each time.
            if self.changes.len() >= 2 * NAMED {
                self.changes.sort_unstable();
                self.changes.truncate(NAMED);
            }
        }
        Ok(())
    }
}

/// The row, unless it is a claim that has expired.
fn present(number: usize, row: Option<&[u8]>, at: Timestamp) -> Result<Option<&[u8]>, ReplayError> {
    if number == table_of(&unique_claims::TABLE) { living(row, at) } else { Ok(row) }
}

/// The columns behind the key that differ.
fn columns(table: &Table, old: Option<&[u8]>, new: Option<&[u8]>) -> BTreeMap<&'static str, ColumnChange> {
    let values = |row: Option<&[u8]>| -> Vec<Option<Vec<u8>>> {
        row.map_or_else(
            || vec![None; table.columns.len()],
            |row| tuple::fields(row).map(|field| field.map(<[u8]>::to_vec)).collect(),
        )
    };
    let (old, new) = (values(old), values(new));
    let mut changed = BTreeMap::new();
    for (column, (before, after)) in table.columns.iter().zip(old.iter().zip(&new)).skip(table.key_columns) {
        if before == after {
            continue;
        }
        let show = |value: &Option<Vec<u8>>| {
            let value = value.as_deref()?;
            let is_secret = SECRETS.contains(&column.name) || column.column_type == ColumnType::Bytea;
            Some(if is_secret { HIDDEN.to_owned() } else { shown(column.column_type, value) })
        };
        changed.insert(column.name, ColumnChange { before: show(before), after: show(after) });
    }
    changed
}
