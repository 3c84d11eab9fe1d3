//! `GET /healthz`, `GET /readyz`, `GET /metrics`: probes and metrics for those who operate the instance.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use utoipa::ToSchema;

use super::readiness::Readiness;
use super::state::SharedState;

/// The liveness status of the process.
#[derive(Serialize, ToSchema)]
pub struct Health {
    /// Always `ok`: a process that answers is alive.
    status: &'static str,
    /// The version of the release.
    version: &'static str,
}

/// Check that the process is alive
#[utoipa::path(get, path = "/healthz", operation_id = "getHealth", tag = "health", security(()),
    responses((status = 200, description = "The process is alive", body = Health)))]
pub async fn healthz() -> Json<Health> {
    Json(Health { status: "ok", version: env!("CARGO_PKG_VERSION") })
}

/// Check that the process can serve: its database is a writable primary that has everything this node has seen
#[utoipa::path(get, path = "/readyz", operation_id = "getReadiness", tag = "health", security(()),
    responses((status = 200, description = "The process can serve", body = Readiness),
        (status = 503, description = "The process cannot serve; `reason` says why", body = Readiness)))]
pub async fn readyz(State(state): State<SharedState>) -> (StatusCode, Json<Readiness>) {
    let readiness = state.readiness.get(&state.tenure).await;
    let status = if readiness.reason.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness))
}

/// All metrics, in the text format of Prometheus.
pub async fn render_metrics(State(metrics): State<PrometheusHandle>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], metrics.render())
}
