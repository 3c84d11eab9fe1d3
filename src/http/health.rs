//! `GET /healthz`, `GET /readyz`, `GET /metrics`: for whoever runs the instance.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use utoipa::ToSchema;

use super::door::Shared;

/// How long a readiness check waits for PostgreSQL.
const READY_WITHIN: Duration = Duration::from_secs(2);

/// The process lives.
#[derive(Serialize, ToSchema)]
pub struct Health {
    /// `ok`.
    status: &'static str,
    /// The release.
    version: &'static str,
}

/// What the process needs.
#[derive(Serialize, ToSchema)]
pub struct Readiness {
    /// `ready` or `not ready`.
    status: &'static str,
    /// The database.
    postgres: Postgres,
}

/// The database.
#[derive(Serialize, ToSchema)]
pub struct Postgres {
    /// `up` or `unreachable`.
    state: &'static str,
    /// The newest position.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<i64>,
}

/// The process lives
#[utoipa::path(get, path = "/healthz", operation_id = "getHealth", tag = "health", security(()),
    responses((status = 200, description = "It does", body = Health)))]
pub async fn healthz() -> Json<Health> {
    Json(Health { status: "ok", version: env!("CARGO_PKG_VERSION") })
}

/// The process can do its work: PostgreSQL answers
#[utoipa::path(get, path = "/readyz", operation_id = "getReadiness", tag = "health", security(()),
    responses((status = 200, description = "It can", body = Readiness),
        (status = 503, description = "It cannot", body = Readiness)))]
pub async fn readyz(State(door): State<Shared>) -> (StatusCode, Json<Readiness>) {
    if let Ok(Ok(position)) = tokio::time::timeout(READY_WITHIN, door.tenure.log().newest()).await {
        let postgres = Postgres { state: "up", position: Some(position) };
        return (StatusCode::OK, Json(Readiness { status: "ready", postgres }));
    }
    let postgres = Postgres { state: "unreachable", position: None };
    (StatusCode::SERVICE_UNAVAILABLE, Json(Readiness { status: "not ready", postgres }))
}

/// All metrics, for Prometheus.
pub async fn render_metrics(State(metrics): State<PrometheusHandle>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], metrics.render())
}
