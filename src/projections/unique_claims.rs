//! `view.unique_claims`: who holds which name; decided inside the transaction of every append.

use std::collections::BTreeMap;

use super::query::{QueryError, Reader};
use crate::clock::Timestamp;
use crate::event_log::rows::ColumnType::{Bytea, Position, Text, Timestamptz};
use crate::event_log::rows::{Column, Table};
use crate::event_log::unit::{Claim, ClaimChange, ClaimKey};

/// The table. Its rows are written by `log.append`, from what the events say ([`ClaimChange`]).
pub static TABLE: Table = Table {
    name: "unique_claims",
    version: 1,
    columns: &[
        Column::required("kind", Text),
        Column::required("key", Bytea),
        Column::required("holder", Text),
        Column::optional("free_after", Timestamptz),
        Column::required("position", Position),
    ],
    key_columns: 2,
    indexes: &[],
};

/// The claims as they stand after some events, with the position that took each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims(BTreeMap<ClaimKey, (Claim, i64)>);

impl Claims {
    /// Takes in what the event at this position does to the claims.
    pub fn apply(&mut self, position: i64, changes: Vec<ClaimChange>) {
        for change in changes {
            match change {
                ClaimChange::Take(claim) => {
                    self.0.insert(claim.key.clone(), (claim, position));
                }
                ClaimChange::Release { key, holder } => {
                    if self.0.get(&key).is_some_and(|(claim, _)| claim.holder == holder) {
                        self.0.remove(&key);
                    }
                }
            }
        }
    }

    /// Every claim with the position that took it, in order of its key.
    pub fn iter(&self) -> impl Iterator<Item = (&Claim, i64)> {
        self.0.values().map(|(claim, position)| (claim, *position))
    }
}

impl Reader {
    /// Who holds a claim at this time, if anybody.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn holder(&self, claim: &ClaimKey, at: Timestamp) -> Result<Option<String>, QueryError> {
        let sql = "select holder from view.unique_claims
                   where kind = $1 and key = $2 and (free_after is null or free_after > $3)";
        match self
            .one(sql, &[&claim.kind, &claim.key.as_slice(), &at], |row| {
                row.try_get(0)
            })
            .await
        {
            Ok(holder) => Ok(Some(holder)),
            Err(QueryError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
