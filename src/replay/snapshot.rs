//! The live tables at one position.

use std::time::Duration;

use bytes::BytesMut;
use tokio_postgres::Client;

use super::error::ReplayError;
use super::fold::{Record, Records, table_of};
use super::spill::Spill;
use crate::clock::Stopwatch;
use crate::event_log::rows::Table;
use crate::postgres::copy::CopyRows;
use crate::postgres::migrate::{is_expected_build, is_mistrusted_build};

/// How many bytes of rows are collected before they are added to their slices.
const BATCH: usize = 1024 * 1024;

/// A snapshot of the live tables.
pub(super) struct Snapshot<'c> {
    client: &'c Client,
    held: Stopwatch,
    /// The newest event in the snapshot.
    pub(super) position: i64,
    /// The epoch of the position.
    pub(super) epoch: i64,
    /// The set of the live projections.
    pub(super) projection_set: String,
}

impl<'c> Snapshot<'c> {
    /// Takes a snapshot; it lasts until [`Snapshot::release`].
    pub(super) async fn take(client: &'c Client) -> Result<Self, ReplayError> {
        client.batch_execute("begin isolation level repeatable read read only").await?;
        // The first query fixes the snapshot: the tables that it shows are those at this position.
        let sql = "select coalesce((select position from log.event order by position desc limit 1), 0), epoch, projection_set
                   from log.head";
        let row = client.query_one(sql, &[]).await?;
        let held = Stopwatch::start();
        let (position, epoch, projection_set) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        Ok(Self { client, held, position, epoch, projection_set })
    }

    /// Adds the rows of a table to their slices, with null in all but these columns. Returns how many there are.
    pub(super) async fn read(
        &self,
        table: &Table,
        columns: &[usize],
        spill: &mut Spill<'_>,
    ) -> Result<u64, ReplayError> {
        let all = table.columns.iter().enumerate();
        let columns: Vec<&str> =
            all.map(|(place, column)| if columns.contains(&place) { column.name } else { "null" }).collect();
        let select = format!("select {} from view.{}", columns.join(", "), table.name);
        let mut rows = CopyRows::of(self.client, &select).await?;
        let (mut records, mut size, mut count) = (Records::new(), 0, 0);
        while let Some(row) = rows.next().await? {
            records.push(Record::Live, table_of(table), 0, &row)?;
            (size, count) = (size + row.len(), count + 1);
            if size >= BATCH {
                add(spill, &mut records)?;
                size = 0;
            }
        }
        add(spill, &mut records)?;
        Ok(count)
    }

    /// Ends the snapshot. Returns how long it was held: for that time no dead row could be removed from the database.
    ///
    /// # Errors
    /// [`ReplayError::Swapped`] if a rebuild has replaced tables since the snapshot was taken: those that were read after
    /// that were found by their names, but none of their rows.
    pub(super) async fn release(self) -> Result<Duration, ReplayError> {
        let is_whole = async {
            Ok::<_, ReplayError>(
                is_expected_build(self.client).await? || is_mistrusted_build(self.client).await?,
            )
        };
        let is_whole = is_whole.await;
        self.client.batch_execute("commit").await?;
        if !is_whole? {
            return Err(ReplayError::Swapped);
        }
        Ok(self.held.elapsed())
    }
}

/// Adds the records to their slices and clears them.
pub(super) fn add(spill: &mut Spill<'_>, records: &mut Records) -> Result<(), ReplayError> {
    for (slice, bytes) in records.0.iter_mut().enumerate() {
        spill.add(slice, bytes)?;
        BytesMut::clear(bytes);
    }
    Ok(())
}
