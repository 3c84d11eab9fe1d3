//! The HTTP doors: the whole route table.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;

use crate::Tenure;

/// How long a readiness check waits for PostgreSQL.
const READY_WITHIN: Duration = Duration::from_secs(2);

/// The routes of the public address.
pub fn public(tenure: Arc<Tenure>) -> Router {
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz)).with_state(tenure)
}

/// The routes of the loopback address for whoever runs the instance.
pub fn internal(metrics: PrometheusHandle) -> Router {
    Router::new().route("/metrics", get(render_metrics)).with_state(metrics)
}

/// The process lives.
async fn healthz() -> impl IntoResponse {
    Json(json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")}))
}

/// The process can do its work: PostgreSQL answers.
async fn readyz(State(tenure): State<Arc<Tenure>>) -> impl IntoResponse {
    let position = tokio::time::timeout(READY_WITHIN, tenure.log().newest()).await;
    match position {
        Ok(Ok(position)) => (
            StatusCode::OK,
            Json(json!({"status": "ready", "postgres": {"state": "up", "position": position}})),
        ),
        _ => (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(json!({"status": "not ready", "postgres": {"state": "unreachable"}})),
        ),
    }
}

async fn render_metrics(State(metrics): State<PrometheusHandle>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], metrics.render())
}
