//! Rebuilds projections while nodes read and write them.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::sleep;
use tokio_postgres::Client;
use tokio_util::task::AbortOnDropHandle;

use super::catch_up::CatchUp;
use super::compare::{Comparison, Coverage, Differences};
use super::drain;
use super::error::ReplayError;
use super::fold::{Folder, rows_of, table_of};
use super::fresh::{self, Fresh, Load};
use super::locks;
use super::others::Others;
use super::pace::Pace;
use super::parts::{Replay, Verification};
use super::progress::{Phase, Progress};
use super::scan::{Scan, scan};
use super::session;
use super::spill::{SLICES, Spilled};
use super::swap::{self, Rehearsed, Swapped, Target};
use crate::clock::Stopwatch;
use crate::event_log::drain::REBUILD_LOCK;
use crate::event_log::rows::Table;
use crate::event_log::seen::new_epoch;
use crate::postgres::Connection;
use crate::postgres::migrate::{definition_of, is_expected_build};
use crate::projections;

/// How to rebuild.
pub struct RebuildOptions {
    /// The tables to rebuild; empty for all.
    pub tables: Vec<&'static Table>,
    /// What to do about differences.
    pub verification: Verification,
    /// How long to wait for other transactions that hold locks on `view`, before the swap.
    pub swap_wait: Duration,
    /// How long to wait for nodes of another release to stop writing, if its projections are replaced.
    pub drain_timeout: Duration,
    /// How long to try the swap itself while others hold locks that it needs. It needs some only for single tables, and
    /// for views of others.
    pub lock_wait: Duration,
    /// Do nothing if the live projections are whole and of this release.
    pub unless_current: bool,
}

impl Default for RebuildOptions {
    fn default() -> Self {
        Self {
            tables: Vec::new(),
            verification: Verification::default(),
            swap_wait: Duration::from_mins(10),
            drain_timeout: Duration::from_mins(1),
            lock_wait: Duration::from_mins(1),
            unless_current: false,
        }
    }
}

/// A rebuild that has ended well.
#[derive(Clone, Debug, Serialize)]
pub struct Rebuilt {
    /// The tables that were replaced.
    pub tables: Vec<&'static str>,
    /// The position up to which they were made.
    pub position: i64,
    /// How many events were read.
    pub events: u64,
    /// How many rows were loaded.
    pub rows: u64,
    /// What the live tables held that the log does not say, or the other way round, before they were replaced.
    pub differences: Differences,
    /// Which of the tables were compared only in part, or not.
    #[serde(flatten)]
    pub coverage: Coverage,
    /// For how long a snapshot of the live tables was held.
    pub snapshot_seconds: f64,
    /// For how long appends had to wait for the swap.
    pub swap_seconds: f64,
    /// The transactions that still held locks on `view` when the wait for them ended.
    pub not_waited_for: Vec<String>,
}

/// Why a rebuild did not replace the live tables.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The replay failed.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// Another rebuild is running.
    #[error("another rebuild is running ({0}); wait until it ends")]
    Running(String),
    /// Another rebuild has ended in the meantime: the projections are whole and of this release.
    #[error("another rebuild has replaced the projections in the meantime")]
    Overtaken,
    /// The live tables differ from what the log says.
    #[error(
        "{} of {} rows differ from what the log says, so nothing was replaced; `--accept-differences` replaces them all \
         the same",
        differences.count, differences.rows
    )]
    Differs {
        /// The differences.
        differences: Box<Differences>,
        /// How many events were read.
        events: u64,
    },
    /// Objects of others cannot be put on the fresh tables.
    #[error(
        "the projections cannot be replaced while these objects depend on them: {}; drop them, rebuild, then create them \
         again",
        .0.join("; ")
    )]
    InUse(Vec<String>),
    /// Other transactions hold locks that the swap needs.
    #[error(
        "the projections could not be replaced in time, because their tables are locked by {0}; try again"
    )]
    Blocked(String),
    /// Nodes of the release before went on again and again, because this process or the database stood still.
    #[error(
        "the projections could not be replaced in time, because this process or PostgreSQL stood still for seconds; try again"
    )]
    Paused,
    /// Another transaction, such as a dump, reads the fresh tables.
    #[error(
        "the fresh tables could not be finished in time, because {0} reads them; try again when it has ended, or wait longer \
         with `--swap-wait`"
    )]
    FreshInUse(String),
}

impl From<tokio_postgres::Error> for RebuildError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Replay(error.into())
    }
}

impl Replay {
    /// Rebuilds projections from the log while nodes read and write them, and swaps the fresh tables for the live ones.
    ///
    /// Whatever ends it early, the live tables are untouched; what it leaves is dropped by the next rebuild, the next start
    /// of a node, or within a minute by a node that runs.
    ///
    /// # Errors
    /// See [`RebuildError`].
    pub async fn rebuild(
        &self,
        options: &RebuildOptions,
        progress: &Progress,
    ) -> Result<Rebuilt, RebuildError> {
        // Large: boxed, so that it does not enlarge the futures of its callers.
        session::while_server_answers(&self.log, Box::pin(self.rebuild_while(options, progress))).await
    }

    async fn rebuild_while(
        &self,
        options: &RebuildOptions,
        progress: &Progress,
    ) -> Result<Rebuilt, RebuildError> {
        let lock = session::connect(&self.log, session::REBUILDING).await?;
        if let Err(holder) = session::lock(&lock.client, REBUILD_LOCK).await? {
            return Err(RebuildError::Running(holder));
        }
        if options.unless_current && is_current(&lock.client).await? {
            return Err(RebuildError::Overtaken);
        }
        // Of a rebuild that was killed; whoever has the lock takes it back.
        drain::withdraw(&lock.client).await?;
        session::drop_leftovers(&lock.client).await?;
        let mut work = Work { replay: self, options, progress, lock };
        match work.run().await {
            Err(RebuildError::Replay(error)) if error.is_lock() => {
                work.lock.client.batch_execute("rollback").await?;
                Err(RebuildError::Blocked(locks::holders(&work.lock.client, &["view"]).await?))
            }
            ended => ended,
        }
    }
}

/// How long a swap is tried again for locks while the nodes of the release before have stopped writing for it.
const WHILE_DRAINED: Duration = Duration::from_secs(2);

/// Whether the live projections are whole and of this release.
async fn is_current(client: &Client) -> Result<bool, ReplayError> {
    let set: String = client.query_one("select projection_set from log.head", &[]).await?.try_get(0)?;
    Ok(set == projections::set_name() && is_expected_build(client).await?)
}

struct Work<'a> {
    replay: &'a Replay,
    options: &'a RebuildOptions,
    progress: &'a Progress,
    /// The connection that holds the lock, and that swaps: without the lock nothing is swapped.
    lock: Connection,
}

impl Work<'_> {
    fn is_whole(&self) -> bool {
        self.options.tables.is_empty()
    }

    fn tables(&self) -> Vec<&'static Table> {
        if self.is_whole() { projections::TABLES.to_vec() } else { self.options.tables.clone() }
    }

    async fn run(&mut self) -> Result<Rebuilt, RebuildError> {
        let tables = self.tables();
        let others =
            Others::find(&self.lock.client, &tables, self.is_whole().then_some("view_retired")).await?;
        if !others.refused.is_empty() {
            return Err(RebuildError::InUse(others.refused));
        }
        let mut wanted = vec![false; projections::TABLES.len()];
        for table in &tables {
            wanted[table_of(table)] = true;
        }
        let fresh = Fresh::new(tables, new_epoch(&*self.replay.entropy));
        // Locks that others hold now may be free when the swap needs them.
        self.rehearse(&fresh).await?;
        let log = &self.replay.log;
        let [events, other] = [
            session::connect(log, session::REPLAYING).await?,
            session::connect(log, session::REPLAYING).await?,
        ];
        let events = Arc::new(events);
        let folder = self.replay.folder(wanted.into());
        let verification = self.options.verification;
        let mut scan =
            scan(self.replay, &folder, &events, &other.client, verification, None, self.progress).await?;
        // Single tables of this release beside those of another one would be no set at all.
        if !self.is_whole() && scan.projection_set != projections::set_name() {
            return Err(ReplayError::SetChanged(scan.projection_set).into());
        }
        fresh.create(&mut self.lock.client).await?;
        let filling = self.fill_and_swap(&fresh, &mut scan, folder, events, &other);
        let ended = Box::pin(filling).await;
        if ended.is_err() {
            // A failed statement may have left a transaction open. The error of the rebuild says more than one of this.
            let _ = self.lock.client.batch_execute("rollback").await;
            // Without the announcement the nodes of the release before go on.
            let _ = drain::withdraw(&self.lock.client).await;
        }
        // After a swap this drops the retired schema, unless somebody still reads it; then a node's sweeper drops it.
        let _ = session::drop_leftovers(&self.lock.client).await;
        // The server may notice only later that the connection is gone, and the next rebuild may come at once.
        let _ = session::unlock(&self.lock.client).await;
        ended
    }

    async fn fill_and_swap(
        &mut self,
        fresh: &Fresh,
        scan: &mut Scan<'_>,
        folder: Folder,
        events: Arc<Connection>,
        other: &Connection,
    ) -> Result<Rebuilt, RebuildError> {
        let (differences, rows) = Box::pin(self.fill(fresh, scan, other)).await?;
        if differences.count > 0 && self.options.verification == Verification::Strict {
            return Err(RebuildError::Differs { differences: Box::new(differences), events: scan.events });
        }
        let client = &self.lock.client;
        self.progress.begin(Phase::Indexing, fresh.tables.len() as u64);
        let clients = [client, &other.client];
        if let Some(readers) = fresh.index(clients, self.options.swap_wait, self.progress).await? {
            return Err(RebuildError::FreshInUse(readers));
        }
        fresh.index_for_others(client).await?;
        self.progress.begin(Phase::CatchingUp, 0);
        let keys = Arc::unwrap_or_clone(std::mem::take(&mut scan.keys));
        let clock = self.replay.clock.clone();
        let mut catch_up = CatchUp::new(events, folder, clock, keys, scan.position);
        catch_up.nearly(client, fresh).await?;
        self.progress.begin(Phase::Waiting, 0);
        let with_maintenance = self.needs_locks_of_maintenance(fresh).await?;
        let tell = |holders: &[String]| self.progress.say(holders);
        let not_waited_for =
            locks::wait_for_others(client, with_maintenance, self.options.swap_wait, &tell).await?;
        let (set, definition) = (projections::set_name(), definition_of(projections::TABLES));
        let is_upgrade = scan.projection_set != set;
        if is_upgrade {
            // Nodes stop writing for the swap alone: not while this one catches up on what came during the wait, and not if it cannot
            // get its locks.
            fresh.index_for_others(client).await?;
            catch_up.nearly(client, fresh).await?;
            self.rehearse_until_free(fresh).await?;
        }
        let target = Target {
            tries: if is_upgrade {
                WHILE_DRAINED.min(self.options.lock_wait)
            } else {
                self.options.lock_wait
            },
            is_whole: self.is_whole(),
            set: &scan.projection_set,
            epoch: scan.epoch,
            becomes: self.is_whole().then_some(&*set),
            definition: &definition,
        };
        let trying = Stopwatch::start();
        let swapped = loop {
            if is_upgrade {
                self.drain(&set).await?;
            }
            self.progress.begin(Phase::Swapping, 0);
            match swap::swap(client, fresh, &mut catch_up, &target).await? {
                Swapped::Expired
                    if trying.elapsed() < self.options.lock_wait + self.options.drain_timeout => {}
                // Somebody has come between the rehearsal and the swap: nodes go on until the locks are free again.
                Swapped::Blocked(_) if is_upgrade && trying.elapsed() < self.options.lock_wait => {
                    drain::withdraw(client).await?;
                    self.rehearse_until_free(fresh).await?;
                }
                swapped => break swapped,
            }
        };
        match swapped {
            Swapped::Expired => Err(RebuildError::Paused),
            Swapped::Refused(objects) => Err(RebuildError::InUse(objects)),
            Swapped::Blocked(holders) => Err(RebuildError::Blocked(holders)),
            Swapped::Done { position, held } => Ok(Rebuilt {
                tables: fresh.tables.iter().map(|table| table.name).collect(),
                position,
                events: scan.events + position.abs_diff(scan.position),
                rows,
                differences,
                coverage: Coverage::of(&fresh.tables, &scan.compared),
                snapshot_seconds: scan.snapshot_held.as_secs_f64(),
                swap_seconds: held.as_secs_f64(),
                not_waited_for,
            }),
        }
    }

    /// Whether the swap needs locks on live tables that `vacuum` and the like conflict with.
    async fn needs_locks_of_maintenance(&self, fresh: &Fresh) -> Result<bool, ReplayError> {
        if !self.is_whole() {
            return Ok(true);
        }
        let others = Others::find(&self.lock.client, &fresh.tables, Some("view_retired")).await?;
        let need = ["drop statistics", "alter "];
        Ok(others.statements.iter().any(|statement| need.iter().any(|need| statement.starts_with(need))))
    }

    /// Rehearses the swap until others leave it the locks that it needs.
    async fn rehearse_until_free(&self, fresh: &Fresh) -> Result<(), RebuildError> {
        let trying = Stopwatch::start();
        while let Rehearsed::Blocked(holders) = self.rehearse(fresh).await? {
            if trying.elapsed() >= self.options.lock_wait {
                return Err(RebuildError::Blocked(holders));
            }
            self.progress.say(&[holders]);
            sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    async fn rehearse(&self, fresh: &Fresh) -> Result<Rehearsed, RebuildError> {
        // Beside the fresh tables, if there are any already.
        let as_if = Fresh::new(fresh.tables.clone(), new_epoch(&*self.replay.entropy));
        match swap::rehearse(&self.lock.client, &as_if, self.is_whole()).await? {
            Rehearsed::Refused(object) => Err(RebuildError::InUse(vec![object])),
            rehearsed => Ok(rehearsed),
        }
    }

    /// Asks the nodes of the release before to stop writing, and waits for them.
    async fn drain(&self, set: &str) -> Result<(), RebuildError> {
        self.progress.begin(Phase::Draining, 0);
        let client = &self.lock.client;
        drain::announce(client, set).await?;
        let left = drain::wait(client, set, self.options.drain_timeout).await?;
        if left > 0 {
            tracing::warn!(
                left,
                "nodes of the release before did not stop writing in time; they are refused now"
            );
        }
        Ok(())
    }

    /// Compares and loads slice by slice, over two connections. While the rows of one slice are stored, those of the next are made
    /// and compared, in threads of their own, so that neither this process nor the server waits for the other.
    async fn fill(
        &self,
        fresh: &Fresh,
        scan: &mut Scan<'_>,
        other: &Connection,
    ) -> Result<(Differences, u64), ReplayError> {
        self.progress.begin(Phase::Loading, SLICES as u64);
        let comparison = Comparison {
            compared: scan.compared.clone(),
            now: self.replay.clock.now(),
            keys: scan.keys.clone(),
            account: None,
        };
        let tables: Arc<[&'static Table]> = fresh.tables.clone().into();
        let spill = std::sync::Mutex::new((&mut scan.spill, 0..SLICES));
        let next = || {
            let mut spill = spill.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let spilled = spill.1.next().map(|slice| spill.0.take(slice))?;
            let (comparison, tables) = (comparison.clone(), tables.clone());
            let making = tokio::task::spawn_blocking(move || made(spilled, &comparison, &tables));
            Some(AbortOnDropHandle::new(making))
        };
        let pace = Pace::new(&self.replay.log, scan.position);
        let work = async |client: &Client| {
            let (mut differences, mut count) = (Differences::default(), 0);
            let mut making = None;
            loop {
                let step = Stopwatch::start();
                let Some(made) = making.take().or_else(&next) else { break };
                let (loads, found) = made.await.map_err(ReplayError::task)??;
                // Beside nodes that write, one after the other.
                if !pace.gives_way() {
                    making = next();
                }
                differences.extend(found);
                count += fresh::load(client, &fresh.schema, loads).await?;
                self.progress.advance(1);
                pace.give_way(&step).await;
            }
            Ok::<_, ReplayError>((differences, count))
        };
        let both = futures::future::try_join(work(&self.lock.client), work(&other.client));
        let ((mut differences, one), (others, two)) = Box::pin(both).await?;
        differences.extend(others);
        Ok((differences, one + two))
    }
}

/// The rows of a slice, and how the live ones differ from them.
fn made(
    spilled: Spilled,
    comparison: &Comparison,
    tables: &[&'static Table],
) -> Result<(Vec<Load>, Differences), ReplayError> {
    let slice = spilled.read()?;
    let rows = rows_of(&slice)?;
    let mut differences = Differences::default();
    comparison.compare(&rows, &mut differences)?;
    Ok((fresh::loads(tables, &rows), differences))
}
