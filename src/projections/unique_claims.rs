//! `view.unique_claims`: the holder of each claimed name, decided inside the transaction of every append.

use super::query::{QueryError, Reader};
use crate::clock::Timestamp;
use crate::event_log::claim::{Claim, ClaimKey};
use crate::event_log::rows::ColumnType::{Bytea, Position, Text, Timestamptz};
use crate::event_log::rows::{Column, Table, Value};

/// The table definition. `log.append` writes the rows, from the [`crate::event_log::claim::ClaimChange`]s of the
/// events. `free_after` is null for a claim that holds until it is released.
pub static TABLE: Table = Table {
    name: "unique_claims",
    version: 1,
    columns: &[
        Column::required("key", Bytea),
        Column::required("kind", Text),
        Column::required("holder", Text),
        Column::optional("free_after", Timestamptz),
        Column::required("position", Position),
    ],
    key_columns: 2,
    fillfactor: 90,
    indexes: &[],
};

/// The row of a claim.
pub(crate) fn row(claim: &Claim) -> [Value; 5] {
    let [key, kind, holder] = key_and_holder(&claim.key, &claim.holder);
    [key, kind, holder, claim.free_after.into(), Value::Position]
}

/// The first columns of the row of a claim.
pub(crate) fn key_and_holder(key: &ClaimKey, holder: &str) -> [Value; 3] {
    [Value::Bytes(key.key.to_vec()), key.kind.into(), holder.into()]
}

/// Subquery: the identifier of the last holder of the claim of kind $1 and key $2, expired or not.
pub(super) const HOLDER: &str =
    "(select c.holder::uuid from view.unique_claims c where c.kind = $1 and c.key = $2)";
/// Subquery: as [`HOLDER`], but only of a claim that never expires, so that tombstones are left out.
pub(super) const HOLDER_FOR_GOOD: &str = "(select c.holder::uuid from view.unique_claims c
                                           where c.kind = $1 and c.key = $2 and c.free_after is null)";

impl Reader {
    /// The last holder of a claim, expired or not; none if the claim was released or never taken.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn last_holder(&self, claim: &ClaimKey) -> Result<Option<String>, QueryError> {
        let sql = "select holder from view.unique_claims where kind = $1 and key = $2";
        match self.one(sql, &[&claim.kind, &claim.key.as_slice()], |row| row.try_get(0)).await {
            Ok(holder) => Ok(Some(holder)),
            Err(QueryError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The holder of a claim at this time; none if it is free.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn holder(&self, claim: &ClaimKey, at: Timestamp) -> Result<Option<String>, QueryError> {
        let sql = "select holder from view.unique_claims
                   where kind = $1 and key = $2 and (free_after is null or free_after > $3)";
        match self.one(sql, &[&claim.kind, &claim.key.as_slice(), &at], |row| row.try_get(0)).await {
            Ok(holder) => Ok(Some(holder)),
            Err(QueryError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The holders of several claims at this time, in one query, in the order of the claims; none for a free claim.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn holders<const N: usize>(
        &self,
        claims: [&ClaimKey; N],
        at: Timestamp,
    ) -> Result<[Option<String>; N], QueryError> {
        let (kinds, keys): (Vec<&str>, Vec<&[u8]>) =
            claims.iter().map(|claim| (claim.kind, claim.key.as_slice())).unzip();
        // Free claims give no row, so each row says which claim it answers.
        let sql = "select t.place, c.holder
                   from unnest($1::text[], $2::bytea[]) with ordinality as t (kind, key, place)
                   join view.unique_claims c on c.kind = t.kind and c.key = t.key
                   where c.free_after is null or c.free_after > $3";
        let mut holders = [const { None }; N];
        for row in self.rows(sql, &[&kinds, &keys, &at]).await? {
            let place: i64 = row.try_get(0)?;
            if let Some(holder) = usize::try_from(place - 1).ok().and_then(|place| holders.get_mut(place)) {
                *holder = Some(row.try_get(1)?);
            }
        }
        Ok(holders)
    }
}
