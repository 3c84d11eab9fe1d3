//! `GET /api/v1/users/{user}`: a person's record, for themselves.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue, header};
use serde::Serialize;
use utoipa::ToSchema;

use super::UserRecord;
use crate::http::answer::NO_STORE;
use crate::http::ask::Reading;
use crate::http::caller::{Caller, Via};
use crate::http::door::Shared;
use crate::http::error::DoorError;

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
    State(door): State<Shared>,
    reading: Reading,
    Path(user): Path<String>,
) -> Result<([(HeaderName, HeaderValue); 1], Json<Profile>), DoorError> {
    let user = door.oneself(reading.caller, &user).await?;
    let csrf_token = match reading.caller {
        Caller::Person { via: Via::Session(session), .. } => Some(door.csrf_token(session)),
        _ => None,
    };
    let profile = Profile { user: door.user_record(user).await?, csrf_token };
    Ok(([(header::CACHE_CONTROL, NO_STORE)], Json(profile)))
}
