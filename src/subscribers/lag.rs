//! How far the subscriptions of a log are behind, as metrics of every node.

use std::collections::BTreeSet;
use std::time::Duration;

use super::operate::Subscriptions;
use crate::event_log::{EventLog, ReadError};

/// How often the metrics are set.
const MEASURE_EVERY: Duration = Duration::from_secs(5);

/// How many subscriptions are read at a time.
const PAGE: i64 = 100;

/// Sets the metrics of all subscriptions, for ever. Every node does, so that lag shows also while no process takes part.
pub async fn keep_measuring(log: &EventLog) -> std::convert::Infallible {
    let mut known = BTreeSet::new();
    loop {
        match measure(log).await {
            Ok(names) => {
                // A removed subscription is behind no longer.
                for gone in known.difference(&names) {
                    set(gone, 0.0, 0.0, 0.0);
                }
                known = names;
            }
            Err(error) => tracing::debug!(%error, "the lag of the subscriptions could not be read"),
        }
        tokio::time::sleep(MEASURE_EVERY).await;
    }
}

/// Sets the metrics of all subscriptions, and returns their names.
async fn measure(log: &EventLog) -> Result<BTreeSet<String>, ReadError> {
    let subscriptions = Subscriptions::of(log);
    let mut names = BTreeSet::new();
    loop {
        let after = names.last().map_or("", String::as_str);
        let page = subscriptions.list(after, PAGE).await?;
        let is_last = i64::try_from(page.len()).unwrap_or(PAGE) < PAGE;
        for found in page {
            #[allow(clippy::cast_precision_loss)]
            set(&found.name, found.lag_events as f64, found.lag_seconds, found.parked_streams as f64);
            names.insert(found.name);
        }
        if is_last {
            return Ok(names);
        }
    }
}

fn set(name: &str, lag_events: f64, lag_seconds: f64, parked_streams: f64) {
    let name = || name.to_owned();
    metrics::gauge!("tenure_subscription_lag_events", "subscription" => name()).set(lag_events);
    metrics::gauge!("tenure_subscription_lag_seconds", "subscription" => name()).set(lag_seconds);
    metrics::gauge!("tenure_subscription_parked_streams", "subscription" => name()).set(parked_streams);
}
