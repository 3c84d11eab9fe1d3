//! `view.unique_claims`: who holds which name; decided inside the transaction of every append.

use super::query::{QueryError, Reader};
use crate::clock::Timestamp;
use crate::event_log::claim::ClaimKey;
use crate::event_log::rows::ColumnType::{Bytea, Position, Text, Timestamptz};
use crate::event_log::rows::{Column, Table};

/// The table. Its rows are written by `log.append`, from what the events say ([`crate::event_log::claim::ClaimChange`]).
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

/// The identifier of who holds the claim of kind $1 and key $2, or held it until it died, within a larger question.
pub(super) const HOLDER: &str =
    "(select c.holder::uuid from view.unique_claims c where c.kind = $1 and c.key = $2)";
/// The same, if it does not die by the clock.
pub(super) const HOLDER_FOR_GOOD: &str = "(select c.holder::uuid from view.unique_claims c
                                           where c.kind = $1 and c.key = $2 and c.free_after is null)";

impl Reader {
    /// Who holds a claim, or held it until it died by the clock.
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

    /// Who holds a claim at this time, if anybody.
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

    /// Who holds these claims at this time, if anybody.
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
