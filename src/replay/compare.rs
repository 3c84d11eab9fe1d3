//! Compares the rows that a replay makes with those of the live tables.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use foldhash::HashSet;
use serde::Serialize;
use uuid::Uuid;

use super::error::ReplayError;
use super::fold::{Keys, Rows, table_of};
use super::tuple;
use crate::clock::Timestamp;
use crate::event_log::rows::{ColumnType, Table};
use crate::projections::{self, unique_claims};

/// How many differences a report names; the others are counted.
const NAMED: usize = 1_000;

/// How many differing rows are written to the log output.
pub const LOGGED: usize = 10;

/// How a live row differs from the replayed one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The live table lacks the row.
    Missing,
    /// Only the live table has the row.
    Unexpected,
    /// Columns differ.
    Changed,
}

/// One row that differs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Difference {
    /// The table of the row.
    pub table: &'static str,
    /// The values of its key columns, by name; never a name or a secret in clear.
    pub key: BTreeMap<&'static str, String>,
    /// How it differs.
    pub kind: Kind,
    /// The columns that differ, if both have the row.
    pub columns: Vec<&'static str>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key: Vec<String> = self.key.iter().map(|(name, value)| format!("{name} {value}")).collect();
        let (table, key) = (self.table, key.join(", "));
        match self.kind {
            Kind::Missing => write!(f, "{table}: the row with {key} is missing"),
            Kind::Unexpected => write!(f, "{table}: the row with {key} should not exist"),
            Kind::Changed => write!(f, "{table}: the row with {key} differs in {}", self.columns.join(", ")),
        }
    }
}

/// The rows that differ.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Differences {
    /// How many rows differ.
    pub count: u64,
    /// How many rows were compared.
    pub rows: u64,
    /// How many claims were left out, because they have expired by the clock or their names are no longer readable.
    pub claims_left_out: u64,
    /// The first of the differences; at most 1,000.
    pub first: Vec<Difference>,
}

impl Differences {
    pub(super) fn extend(&mut self, other: Self) {
        self.count += other.count;
        self.rows += other.rows;
        self.claims_left_out += other.claims_left_out;
        let room = NAMED.saturating_sub(self.first.len());
        self.first.extend(other.first.into_iter().take(room));
    }
}

/// How much of the tables of a release could be compared with live tables of another.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Coverage {
    /// Tables of which the live set had an earlier version, with the columns in which they were compared.
    pub compared_in_part: BTreeMap<&'static str, Vec<&'static str>>,
    /// Tables that the live set did not have, or had in a later version or with another key.
    pub not_compared: Vec<&'static str>,
}

impl Coverage {
    /// Of these tables, by the compared columns of each of [`projections::TABLES`].
    pub(super) fn of(tables: &[&'static Table], compared: &[Vec<usize>]) -> Self {
        let mut coverage = Self::default();
        for table in tables {
            let columns = &compared[table_of(table)];
            if columns.is_empty() {
                coverage.not_compared.push(table.name);
            } else if columns.len() < table.columns.len() {
                let names = columns.iter().map(|column| table.columns[*column].name).collect();
                coverage.compared_in_part.insert(table.name, names);
            }
        }
        coverage
    }
}

/// What is compared.
#[derive(Clone)]
pub(super) struct Comparison {
    /// The columns in which each of [`projections::TABLES`] is compared; none if it is not.
    pub(super) compared: Arc<[Vec<usize>]>,
    /// The time by which claims have expired or not.
    pub(super) now: Timestamp,
    /// What is known of data keys.
    pub(super) keys: Arc<Keys>,
    /// Only rows of this account, and claims of these streams of it.
    pub(super) account: Option<(Uuid, Arc<HashSet<Uuid>>)>,
}

impl Comparison {
    /// Compares the rows of a slice.
    pub(super) fn compare(&self, rows: &Rows<'_>, differences: &mut Differences) -> Result<(), ReplayError> {
        for (&(number, key), row) in rows {
            if self.compared[number].is_empty() {
                continue;
            }
            let table = projections::TABLES[number];
            let (mut replayed, mut live) = (row.replayed.as_deref(), row.live);
            if table.name == unique_claims::TABLE.name {
                (replayed, live) = (self.living(replayed)?, self.living(live)?);
                let is_left_out = match (replayed, live) {
                    (None, None) => row.replayed.is_some() || row.live.is_some(),
                    (None, Some(live)) => {
                        // A subject that had ended by then holds no claims.
                        let is_left_out = |holder| {
                            self.keys.unreadable.contains(holder) && !self.keys.ended_before.contains(holder)
                        };
                        holder(live).as_ref().is_some_and(is_left_out)
                    }
                    // Taken while its name was readable; whether it was given up cannot be read any more.
                    (Some(replayed), None) => self.is_untold(replayed),
                    _ => false,
                };
                if is_left_out {
                    differences.claims_left_out += 1;
                    continue;
                }
            }
            // A row that has come into the account by hand is of another one by the log.
            if ![replayed, live].into_iter().flatten().any(|tuple| self.is_of_account(table, tuple)) {
                continue;
            }
            let (kind, columns) = match (replayed, live) {
                (None, None) => continue,
                (Some(_), None) => (Kind::Missing, Vec::new()),
                (None, Some(_)) => (Kind::Unexpected, Vec::new()),
                (Some(replayed), Some(live)) => {
                    let mut columns = tuple::differing(table, replayed, live);
                    columns.retain(|column| self.compared[number].contains(column));
                    (Kind::Changed, columns.into_iter().map(|column| table.columns[column].name).collect())
                }
            };
            differences.rows += 1;
            if kind == Kind::Changed && columns.is_empty() {
                continue;
            }
            differences.count += 1;
            if differences.first.len() < NAMED {
                let key = shown_key(table, key);
                differences.first.push(Difference { table: table.name, key, kind, columns });
            }
        }
        Ok(())
    }

    /// The claim, unless it has expired.
    fn living<'r>(&self, claim: Option<&'r [u8]>) -> Result<Option<&'r [u8]>, ReplayError> {
        living(claim, self.now)
    }

    fn is_untold(&self, claim: &[u8]) -> bool {
        let text =
            |name| std::str::from_utf8(tuple::fields(claim).nth(unique_claims::TABLE.column(name))??).ok();
        text("kind").zip(text("holder")).is_some_and(|(kind, holder)| self.keys.is_untold(kind, holder))
    }

    fn is_of_account(&self, table: &Table, tuple: &[u8]) -> bool {
        let Some((account, streams)) = &self.account else { return true };
        if table.name == unique_claims::TABLE.name {
            return holder(tuple).is_some_and(|holder| streams.contains(&holder));
        }
        let id = |name| {
            let place = table.columns.iter().position(|column| column.name == name)?;
            Uuid::from_slice(tuple::fields(tuple).nth(place)??).ok()
        };
        // Accounts and their endings have the account as their key; pipes are found through their source.
        let of = id("account_id").or_else(|| id("source_id")).or_else(|| id("id"));
        of.is_some_and(|of| of == *account || streams.contains(&of))
    }
}

/// The claim, unless it has expired by then.
pub(super) fn living(claim: Option<&[u8]>, now: Timestamp) -> Result<Option<&[u8]>, ReplayError> {
    let Some(tuple) = claim else { return Ok(None) };
    let place = unique_claims::TABLE.column("free_after");
    let free_after = tuple::fields(tuple).nth(place).ok_or(ReplayError::Malformed)?;
    let free_after = free_after.map(time).transpose()?;
    Ok(claim.filter(|_| free_after.is_none_or(|end| end > now)))
}

fn time(bytes: &[u8]) -> Result<Timestamp, ReplayError> {
    use tokio_postgres::types::{FromSql as _, Type};
    Timestamp::from_sql(&Type::TIMESTAMPTZ, bytes).map_err(|_| ReplayError::Malformed)
}

/// The holder of a claim, if it is an aggregate or a name key.
fn holder(claim: &[u8]) -> Option<Uuid> {
    let text = tuple::fields(claim).nth(unique_claims::TABLE.column("holder"))??;
    std::str::from_utf8(text).ok()?.parse().ok()
}

pub(super) fn shown_key(table: &Table, key: &[u8]) -> BTreeMap<&'static str, String> {
    let columns = table.columns.iter().zip(tuple::fields(key));
    columns
        .map(|(column, field)| (column.name, shown(column.column_type, field.unwrap_or_default())))
        .collect()
}

/// A value for people to read.
pub(super) fn shown(column: ColumnType, bytes: &[u8]) -> String {
    let hex = || crate::postgres::hex(bytes);
    match column {
        ColumnType::Uuid => Uuid::from_slice(bytes).map_or_else(|_| hex(), |id| id.to_string()),
        ColumnType::BigInt | ColumnType::Position => {
            bytes.try_into().map_or_else(|_| hex(), |bytes| i64::from_be_bytes(bytes).to_string())
        }
        ColumnType::Text => String::from_utf8_lossy(bytes).into_owned(),
        ColumnType::Bool => if bytes == [0] { "false" } else { "true" }.to_owned(),
        ColumnType::Timestamptz => time(bytes).map_or_else(|_| hex(), |at| at.to_string()),
        ColumnType::Bytea => hex(),
    }
}
