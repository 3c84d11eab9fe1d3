//! Compares the live tables with what the log says, at one position.

use std::sync::Arc;

use uuid::Uuid;

use super::compare::{Comparison, Differences};
use super::error::ReplayError;
use super::fold::rows_of;
use super::locks::holders;
use super::parts::{Replay, Verification};
use super::progress::{Phase, Progress};
use super::scan::scan;
use super::session;
use super::spill::SLICES;
use crate::projections;

/// How often a comparison starts again because a rebuild has replaced the tables that it was reading.
const TRIES: u32 = 3;

/// The result of a comparison.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Diff {
    /// The position at which the tables were compared.
    pub position: i64,
    /// How many events were read.
    pub events: u64,
    /// The rows that differ.
    #[serde(flatten)]
    pub differences: Differences,
    /// For how long a snapshot of the live tables was held.
    pub snapshot_seconds: f64,
}

impl Replay {
    /// Compares the live tables with a replay of the whole log, row by row; with an account, only its rows and claims.
    ///
    /// Changes nothing. Holds a snapshot of the live tables while it reads them.
    ///
    /// # Errors
    /// See [`ReplayError`].
    pub async fn diff(&self, account: Option<Uuid>, progress: &Progress) -> Result<Diff, ReplayError> {
        session::while_server_answers(&self.log, Box::pin(self.diff_while(account, progress))).await
    }

    async fn diff_while(&self, account: Option<Uuid>, progress: &Progress) -> Result<Diff, ReplayError> {
        let connect = || session::connect(&self.log, session::COMPARING);
        let (events, live) = (Arc::new(connect().await?), connect().await?);
        let wanted: Arc<[bool]> = vec![true; projections::TABLES.len()].into();
        let folder = self.folder(wanted);
        let mut tries = 0;
        let mut scan = loop {
            let scanned = scan(self, &folder, &events, &live.client, Verification::Strict, account, progress);
            match scanned.await {
                // A rebuild has swapped in between.
                Err(ReplayError::Swapped) if tries < TRIES => tries += 1,
                Err(error) if error.is_lock() => {
                    live.client.batch_execute("rollback").await?;
                    return Err(ReplayError::Locked(holders(&live.client, &["view"]).await?));
                }
                scanned => break scanned?,
            }
        };
        if scan.projection_set != projections::set_name() {
            return Err(ReplayError::SetChanged(scan.projection_set));
        }
        progress.begin(Phase::Loading, SLICES as u64);
        let mut differences = Differences::default();
        let comparison = Comparison {
            compared: scan.compared.clone(),
            now: self.clock.now(),
            keys: scan.keys.clone(),
            account: account.map(|account| (account, Arc::new(std::mem::take(&mut scan.streams)))),
        };
        for slice in 0..SLICES {
            let slice = scan.spill.take(slice).read()?;
            comparison.compare(&rows_of(&slice)?, &mut differences)?;
            progress.advance(1);
            // A slice can take a while, and other tasks of this node wait for the thread.
            tokio::task::yield_now().await;
        }
        let (position, events, held) = (scan.position, scan.events, scan.snapshot_held);
        Ok(Diff { position, events, differences, snapshot_seconds: held.as_secs_f64() })
    }
}
