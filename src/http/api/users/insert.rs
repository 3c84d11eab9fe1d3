//! `POST /api/v1/users`: an operator registers a person.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::UserRecord;
use crate::http::error::ApiError;
use crate::http::extract::JsonCommand;
use crate::http::response::written;
use crate::http::state::SharedState;
use crate::projections::users::User;

/// A person to register.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InsertUser {
    /// The unique name.
    #[schema(pattern = "^[A-Za-z0-9._-]{1,39}$")]
    pub username: String,
    /// Where the person can be reached.
    #[schema(
        pattern = "^[^\\u0000-\\u0020\\u007f-\\u00a0\\u061c\\u1680\\u2000-\\u200a\\u200e\\u200f\\u2028-\\u202f\\u205f\\u2066-\\u2069\\u3000]+@[^@\\u0000-\\u0020\\u007f-\\u00a0\\u061c\\u1680\\u2000-\\u200a\\u200e\\u200f\\u2028-\\u202f\\u205f\\u2066-\\u2069\\u3000]+$",
        max_length = 254
    )]
    pub email: String,
    /// How the person signs in.
    #[serde(default = "internal")]
    #[schema(pattern = "^(github|internal)$", default = "internal")]
    pub mode: String,
}

fn internal() -> String {
    "internal".to_owned()
}

/// Register a person
///
/// For operators. Invites that wait for the name are theirs from then on.
#[utoipa::path(post, path = "/api/v1/users", operation_id = "insertUser", tag = "users",
    request_body = InsertUser, responses((status = 201, description = "The person", body = UserRecord)))]
pub async fn insert(
    State(state): State<SharedState>,
    command: JsonCommand<InsertUser>,
) -> Result<Response, ApiError> {
    state.require_operator(command.caller).await?;
    let InsertUser { username, email, mode } = &command.body;
    let done = state.tenure.insert_user(&command.context, username, email, mode).await?;
    let user = match done.made(User::registered) {
        Some(user) => user.into(),
        None => state.user_record(done.answer).await?,
    };
    Ok(written(StatusCode::CREATED, done.checkpoint, user))
}
