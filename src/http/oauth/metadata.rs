//! `GET /.well-known/oauth-authorization-server`: the metadata by which clients discover the endpoints (RFC 8414).

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::device_token::GRANT_TYPE;
use crate::http::state::SharedState;

/// The endpoints and capabilities of this authorization server.
#[derive(Serialize, ToSchema)]
pub struct ServerMetadata {
    issuer: String,
    device_authorization_endpoint: String,
    token_endpoint: String,
    introspection_endpoint: String,
    revocation_endpoint: String,
    grant_types_supported: [&'static str; 1],
    response_types_supported: [&'static str; 0],
    token_endpoint_auth_methods_supported: [&'static str; 1],
    introspection_endpoint_auth_methods_supported: [&'static str; 2],
    revocation_endpoint_auth_methods_supported: [&'static str; 1],
    service_documentation: String,
}

/// Get the metadata of this authorization server (RFC 8414)
#[utoipa::path(get, path = "/.well-known/oauth-authorization-server", operation_id = "getMetadata", tag = "oauth",
    security(()), responses((status = 200, description = "The metadata", body = ServerMetadata)))]
pub async fn metadata(State(state): State<SharedState>) -> Json<ServerMetadata> {
    let issuer = state.settings.public_url.clone();
    let at = |path: &str| format!("{issuer}{path}");
    Json(ServerMetadata {
        device_authorization_endpoint: at("/oauth/device/code"),
        token_endpoint: at(super::device_token::PATH),
        introspection_endpoint: at("/oauth/introspect"),
        revocation_endpoint: at("/oauth/revoke"),
        grant_types_supported: [GRANT_TYPE],
        response_types_supported: [],
        token_endpoint_auth_methods_supported: ["none"],
        introspection_endpoint_auth_methods_supported: ["client_secret_basic", "client_secret_post"],
        revocation_endpoint_auth_methods_supported: ["none"],
        service_documentation: at("/docs"),
        issuer,
    })
}
