//! `GET /api/v1/users/{user}`: a person's record, for themselves.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue, header};
use serde::Serialize;
use utoipa::ToSchema;

use super::UserRecord;
use crate::http::caller::{Caller, Via};
use crate::http::error::ApiError;
use crate::http::extract::AuthenticatedRead;
use crate::http::response::NO_STORE;
use crate::http::state::SharedState;

/// A person, as they see themselves.
#[derive(Serialize, ToSchema)]
pub struct Profile {
    /// The record.
    #[serde(flatten)]
    pub user: UserRecord,
    /// What a program that acts with the browser's session sends as `X-CSRF-Token`; absent without a session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub csrf_token: Option<String>,
}

/// A person
///
/// For the person and for operators; anybody else's is not found.
#[utoipa::path(get, path = "/api/v1/users/{user}", operation_id = "getUser", tag = "users",
    params(("user" = String, Path, description = "`me`, an identifier or a username")),
    responses((status = 200, description = "The person", body = Profile)))]
pub async fn show(
    State(state): State<SharedState>,
    read: AuthenticatedRead,
    Path(user): Path<String>,
) -> Result<([(HeaderName, HeaderValue); 1], Json<Profile>), ApiError> {
    let user = state.authorize_self(read.caller, &user).await?;
    let csrf_token = match read.caller {
        Caller::Person { via: Via::Session(session), .. } => Some(state.csrf_token(session)),
        _ => None,
    };
    let profile = Profile { user: state.user_record(user).await?, csrf_token };
    Ok(([(header::CACHE_CONTROL, NO_STORE)], Json(profile)))
}
