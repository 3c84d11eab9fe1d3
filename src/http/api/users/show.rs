//! `GET /api/v1/users/{user}`: returns one user.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue, header};
use serde::Serialize;
use utoipa::ToSchema;

use super::UserRecord;
use crate::http::api::users::user_record;
use crate::http::caller::{Caller, Via};
use crate::http::csrf::token_for_session;
use crate::http::error::ApiError;
use crate::http::extract::AuthenticatedRead;
use crate::http::policy::authorize_self;
use crate::http::response::NO_STORE;
use crate::http::state::SharedState;

/// A user's record, with a CSRF token if the caller uses a browser session.
#[derive(Serialize, ToSchema)]
pub struct UserProfile {
    /// The user's record.
    #[serde(flatten)]
    pub user: UserRecord,
    /// The value to send as `X-CSRF-Token` in requests that change data with the browser session; absent without a
    /// session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub csrf_token: Option<String>,
}

/// Get a user
///
/// For the user and operators. Other users get 404.
#[utoipa::path(get, path = "/api/v1/users/{user}", operation_id = "getUser", tag = "users",
    params(("user" = String, Path, description = "`me`, or the user's identifier or username")),
    responses((status = 200, description = "The user", body = UserProfile)))]
pub async fn show(
    State(state): State<SharedState>,
    read: AuthenticatedRead,
    Path(user): Path<String>,
) -> Result<([(HeaderName, HeaderValue); 1], Json<UserProfile>), ApiError> {
    let user = authorize_self(&state, read.caller, &user).await?;
    let csrf_token = match read.caller {
        Caller::Person { via: Via::Session(session), .. } => Some(token_for_session(&state, session)),
        _ => None,
    };
    let profile = UserProfile { user: user_record(&state, user).await?, csrf_token };
    // The body holds personal data and perhaps a CSRF token, which caches must not store.
    Ok(([(header::CACHE_CONTROL, NO_STORE)], Json(profile)))
}
