//! Stops this node's writes when a release with other projections is about to replace those that it maintains.
//!
//! Every node has a row in `log.node`, which it renews. Before a new release swaps its projections in, it announces their
//! set in `log.head` and waits until all rows of other sets are drained. A node that sees the announcement first reports
//! that it is not ready, then refuses new units, finishes those that it has accepted, and marks its row as drained. If the
//! new release gives up or dies, the node goes on. A node that misses all of this is refused by `log.append`, which compares
//! the set.

use std::sync::PoisonError;
use std::time::Duration;

use uuid::Uuid;

use super::drain::{self, Draining};
use super::error::ReadError;
use super::listen::LISTENS_AS;
use super::log::EventLog;
use crate::clock::Stopwatch;

/// How often a node looks for an announcement.
const LOOK_EVERY: Duration = Duration::from_millis(150);

/// How long the row of a node that no longer renews it lasts.
const EXPIRES_AFTER: Duration = Duration::from_secs(5);

/// How often a node renews its row.
const RENEW_EVERY: Duration = Duration::from_secs(1);

/// How long a node still accepts units after it has reported that it is not ready, so that a load balancer can send requests
/// elsewhere first.
const NOTICE: Duration = Duration::from_millis(1_500);

impl EventLog {
    /// What this node does about an announced set of projections.
    #[must_use]
    pub fn draining(&self) -> Draining {
        self.drain().state.borrow().clone()
    }

    /// Gives this node its row in `log.node`, and listens for the commits of other nodes.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`]
    pub async fn join(&self, node: Uuid) -> Result<(), ReadError> {
        self.renew(node, false).await?;
        // A node that starts in the middle of an upgrade never says that it is ready.
        if let Some(set) = self.announced().await?
            && set != self.projection_set()
        {
            self.drain().state.send_replace(Draining::Announced(set));
        }
        self.listen();
        Ok(())
    }

    /// Keeps this node's row in `log.node`, and drains it when another set of projections is announced; for ever.
    pub async fn take_part(&self, node: Uuid) -> std::convert::Infallible {
        let mut renewed: Option<(Stopwatch, bool)> = None;
        let mut announced: Option<Stopwatch> = None;
        loop {
            match self.announced().await {
                Ok(Some(set)) if set != self.projection_set() => {
                    let since = announced.get_or_insert_with(|| {
                        tracing::warn!(set, "another release is about to replace the projections; draining");
                        Stopwatch::start()
                    });
                    let is_over = since.elapsed() >= NOTICE;
                    let state = if is_over { Draining::Refusing(set) } else { Draining::Announced(set) };
                    self.drain().state.send_replace(state);
                }
                Ok(_) => {
                    if announced.take().is_some() {
                        tracing::warn!(
                            "the projections are not replaced after all, or by those of this release"
                        );
                    }
                    self.drain().state.send_replace(Draining::No);
                }
                Err(error) => tracing::debug!(%error, "could not look for announced projections"),
            }
            let is_drained = self.is_drained();
            let is_due = renewed.as_ref().is_none_or(|(since, was_drained)| {
                since.elapsed() >= RENEW_EVERY || *was_drained != is_drained
            });
            if is_due {
                match self.renew(node, is_drained).await {
                    Ok(()) => renewed = Some((Stopwatch::start(), is_drained)),
                    Err(error) => tracing::debug!(%error, "this node's row in log.node could not be renewed"),
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Whether new units are refused and every accepted one is answered.
    fn is_drained(&self) -> bool {
        matches!(&*self.drain().state.borrow(), Draining::Refusing(_)) && self.drain().is_idle()
    }

    /// How long ago this node's row was last renewed, if it has expired since: the database stores nothing.
    pub(super) fn stores_nothing_for(&self) -> Option<Duration> {
        let renewed = self.row_renewed().lock().unwrap_or_else(PoisonError::into_inner);
        renewed.as_ref().map(Stopwatch::elapsed).filter(|since| *since > EXPIRES_AFTER)
    }

    async fn renew(&self, node: Uuid, is_drained: bool) -> Result<(), ReadError> {
        let sql = "insert into log.node (id, projection_set, is_drained, expires_at, listens_as)
                   values ($1, $2, $4, clock_timestamp() + make_interval(secs => $3), $5)
                   on conflict (id) do update set is_drained = excluded.is_drained, expires_at = excluded.expires_at";
        let expires_after = EXPIRES_AFTER.as_secs_f64();
        let set = self.projection_set();
        self.heartbeat().execute(sql, &[&node, &set, &expires_after, &is_drained, &LISTENS_AS]).await?;
        *self.row_renewed().lock().unwrap_or_else(PoisonError::into_inner) = Some(Stopwatch::start());
        Ok(())
    }

    /// Deletes this node's row.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`]; the row then expires.
    pub async fn leave(&self, node: Uuid) -> Result<(), ReadError> {
        self.heartbeat().execute("delete from log.node where id = $1", &[&node]).await?;
        Ok(())
    }

    /// The set that has replaced this node's, or the announced one, if the release that announced it still lives.
    async fn announced(&self) -> Result<Option<String>, ReadError> {
        let announced = drain::announced();
        let sql = format!(
            "select case when projection_set <> $1 then projection_set else {announced} end from log.head"
        );
        let row = self.heartbeat().row(&sql, &[&self.projection_set()]).await?;
        row.map_or(Ok(None), |row| Ok(row.try_get(0)?))
    }
}
