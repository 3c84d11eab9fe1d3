//! The readiness of this node for `/readyz`, cached for a quarter of a second so that probes do not load the database.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::time::timeout;
use utoipa::ToSchema;

use crate::Tenure;
use crate::clock::Stopwatch;
use crate::event_log::drain::Draining;

/// The greatest age of a status that `/readyz` returns.
const MAX_AGE: Duration = Duration::from_millis(250);

/// How long `/readyz` waits for a fresh status.
const READY_TIMEOUT: Duration = Duration::from_millis(1_500);

/// Whether this process can serve requests.
#[derive(Clone, Serialize, ToSchema)]
pub struct Readiness {
    /// `ready` or `not ready`.
    status: &'static str,
    /// The state of the database, as this node sees it.
    postgres: PostgresState,
    /// Why the process cannot serve, and what to do; absent when it is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<&'static str>,
}

/// The state of the database.
#[derive(Clone, Serialize, ToSchema)]
pub struct PostgresState {
    /// `up`, `unreachable`, `replica`, `read_only`, `may_not_write`, `superseded`, `draining`, `stale`, `clock`,
    /// `not_storing`, `lacks_key` or `stopped`.
    state: &'static str,
    /// The newest position in the log, opaque; absent when the process is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<String>,
}

/// The latest readiness status, and its age.
#[derive(Default)]
pub struct ReadinessCache {
    last: Mutex<Option<(Stopwatch, Readiness)>>,
    /// Held by the one request that asks the database; the others wait for its result.
    asking: tokio::sync::Mutex<()>,
}

impl Readiness {
    async fn of(tenure: &Tenure) -> Self {
        match tenure.ready().await {
            Ok(newest) => {
                let postgres = PostgresState { state: "up", position: Some(newest.to_string()) };
                Self { status: "ready", postgres, reason: None }
            }
            Err(error) => {
                tracing::warn!(%error, "this node is not ready");
                Self::not(error.code(), error.advice())
            }
        }
    }

    fn not(state: &'static str, reason: &'static str) -> Self {
        Self { status: "not ready", postgres: PostgresState { state, position: None }, reason: Some(reason) }
    }
}

impl ReadinessCache {
    /// A status of at most this age.
    fn known(&self, age: Duration) -> Option<Readiness> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().filter(|(since, _)| since.elapsed() <= age).map(|(_, readiness)| readiness.clone())
    }

    /// A status no older than [`MAX_AGE`], or than the request for it; `unreachable` if there is none within [`READY_TIMEOUT`].
    pub(super) async fn get(&self, tenure: &Tenure) -> Readiness {
        let since_request = Stopwatch::start();
        let ask = async {
            // A node that drains says so at once.
            let drains = tenure.log().draining() != Draining::No;
            if let Some(known) = self.known(MAX_AGE)
                && !drains
            {
                return known;
            }
            let _asking = self.asking.lock().await;
            // Another request may have asked while this one waited for the lock. If that took long, the answer is still newer than
            // this request, and asking once more for each that waits would take as long again.
            let age = if drains { since_request.elapsed() } else { MAX_AGE.max(since_request.elapsed()) };
            if let Some(known) = self.known(age) {
                return known;
            }
            // The age counts from before the query: the result was true at some time after that.
            let since = Stopwatch::start();
            let readiness = Readiness::of(tenure).await;
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((since, readiness.clone()));
            readiness
        };
        timeout(READY_TIMEOUT, ask).await.unwrap_or_else(|_| {
            Readiness::not(
                "unreachable",
                "PostgreSQL did not answer in time; check that it is running and reachable",
            )
        })
    }
}
