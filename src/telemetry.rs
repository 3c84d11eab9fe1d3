//! Logs to standard error and metrics for Prometheus.

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

/// Latencies, in seconds.
const SECONDS: &[f64] = &[0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Units in a batch.
const UNITS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// Writes logs to standard error from this level on; `TENURE_LOG` overrides it.
pub fn log(level: &str) {
    // The pool warns of every idle connection that ends, also when we stop the server ourselves.
    let default = || EnvFilter::new(format!("{level},deadpool=error"));
    let filter = EnvFilter::try_from_env("TENURE_LOG").unwrap_or_else(|_| default());
    // A second subscriber in one process (tests) is of no use, and no harm.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}

/// Collects metrics from now on; the handle renders them.
///
/// # Errors
/// Metrics are collected already.
pub fn collect_metrics() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full("tenure_append_seconds".to_owned()), SECONDS)?
        .set_buckets_for_metric(Matcher::Full("tenure_batch_units".to_owned()), UNITS)?
        .install_recorder()?;
    metrics::describe_counter!("tenure_commits_total", "Transactions of the committer");
    metrics::describe_counter!("tenure_events_total", "Events stored by this node");
    metrics::describe_histogram!("tenure_batch_units", "Units of work in a transaction");
    metrics::describe_gauge!("tenure_append_queue", "Units of work waiting for the committer");
    metrics::describe_histogram!("tenure_append_seconds", "From handing a unit in to its answer");
    metrics::describe_gauge!(
        "tenure_follower_lag_events",
        "Events committed and not yet followed by this node"
    );
    Ok(handle)
}
