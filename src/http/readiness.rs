//! Whether this node can serve, as `/readyz` answers it: from a status that is at most a quarter of a second old.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::time::timeout;
use utoipa::ToSchema;

use crate::Tenure;
use crate::clock::Stopwatch;

/// How old the status may be that `/readyz` answers with.
const MAX_AGE: Duration = Duration::from_millis(250);

/// How long `/readyz` waits for a younger one.
const READY_TIMEOUT: Duration = Duration::from_millis(1_500);

/// Whether the process can serve.
#[derive(Clone, Serialize, ToSchema)]
pub struct Readiness {
    /// `ready` or `not ready`.
    status: &'static str,
    /// The database.
    postgres: Postgres,
    /// Why the process cannot serve, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<&'static str>,
}

/// The database.
#[derive(Clone, Serialize, ToSchema)]
pub struct Postgres {
    /// `up`, `unreachable`, `replica`, `read_only`, `may_not_write`, `superseded`, `stale` or `stopped`.
    state: &'static str,
    /// The newest position; opaque.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<String>,
}

/// The last answer to whether the process can serve, and since when it is known.
#[derive(Default)]
pub struct ReadinessCache {
    last: Mutex<Option<(Stopwatch, Readiness)>>,
    /// One request at a time asks the database; the others take its answer.
    asking: tokio::sync::Mutex<()>,
}

impl Readiness {
    async fn of(tenure: &Tenure) -> Self {
        match tenure.ready().await {
            Ok(newest) => {
                let postgres = Postgres { state: "up", position: Some(newest.to_string()) };
                Self { status: "ready", postgres, reason: None }
            }
            Err(error) => {
                tracing::warn!(%error, "this node is not ready");
                Self::not(error.code(), error.advice())
            }
        }
    }

    fn not(state: &'static str, reason: &'static str) -> Self {
        Self { status: "not ready", postgres: Postgres { state, position: None }, reason: Some(reason) }
    }
}

impl ReadinessCache {
    fn fresh(&self) -> Option<Readiness> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().filter(|(since, _)| since.elapsed() <= MAX_AGE).map(|(_, readiness)| readiness.clone())
    }

    /// A status that is no older than [`MAX_AGE`].
    pub(super) async fn get(&self, tenure: &Tenure) -> Readiness {
        let ask = async {
            loop {
                if let Some(fresh) = self.fresh() {
                    return fresh;
                }
                let _asking = self.asking.lock().await;
                if self.fresh().is_none() {
                    // The age counts from the question: what the answer says was true at some time after it.
                    let since = Stopwatch::start();
                    let readiness = Readiness::of(tenure).await;
                    *self.last.lock().unwrap_or_else(PoisonError::into_inner) =
                        Some((since, readiness.clone()));
                    return readiness;
                }
            }
        };
        timeout(READY_TIMEOUT, ask)
            .await
            .unwrap_or_else(|_| Readiness::not("unreachable", "PostgreSQL has not answered in time"))
    }
}
