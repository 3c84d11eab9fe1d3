//! `POST /api/v1/users`: registers a user, for operators.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::UserRecord;
use crate::http::api::users::user_record;
use crate::http::error::ApiError;
use crate::http::extract::JsonCommand;
use crate::http::policy::require_operator;
use crate::http::response::written;
use crate::http::state::SharedState;
use crate::projections::users::User;

/// The user to register.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InsertUser {
    /// The user's unique username, but not `me`, `.`, `..` or a UUID.
    #[schema(
        pattern = "^(?!\\.{1,2}$)(?![Mm][Ee]$)(?![0-9a-fA-F]{32}$)(?![0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$)[A-Za-z0-9._-]{1,39}$"
    )]
    pub username: String,
    /// The user's email address.
    #[schema(
        pattern = "^[^\\u0000-\\u0020\\u007f-\\u00a0\\u061c\\u1680\\u2000-\\u200a\\u200e\\u200f\\u2028-\\u202f\\u205f\\u2066-\\u2069\\u3000]+@[^@\\u0000-\\u0020\\u007f-\\u00a0\\u061c\\u1680\\u2000-\\u200a\\u200e\\u200f\\u2028-\\u202f\\u205f\\u2066-\\u2069\\u3000]+$",
        max_length = 254
    )]
    pub email: String,
    /// How the user signs in: `github`, or `internal` by sign-in links from an operator [default: internal].
    #[serde(default = "internal")]
    #[schema(pattern = "^(github|internal)$")]
    pub mode: String,
}

fn internal() -> String {
    "internal".to_owned()
}

/// Register a user
///
/// Pending invites to the username are bound to the new user. For operators.
#[utoipa::path(post, path = "/api/v1/users", operation_id = "insertUser", tag = "users",
    request_body = InsertUser, responses((status = 201, description = "The user", body = UserRecord)))]
pub async fn insert(
    State(state): State<SharedState>,
    command: JsonCommand<InsertUser>,
) -> Result<Response, ApiError> {
    require_operator(&state, command.caller).await?;
    let InsertUser { username, email, mode } = &command.body;
    let done = state.tenure.insert_user(&command.context, username, email, mode).await?;
    let user = match done.made(User::registered) {
        Some(user) => user.into(),
        // A repeated request stores no event to build the record from.
        None => user_record(&state, done.answer).await?,
    };
    Ok(written(StatusCode::CREATED, done.checkpoint, user))
}
