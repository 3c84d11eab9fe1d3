//! `POST /api/v1/users`: an operator registers a person.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::UserRecord;
use crate::http::answer::written;
use crate::http::ask::Ask;
use crate::http::door::Shared;
use crate::http::error::DoorError;
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
pub async fn insert(State(door): State<Shared>, ask: Ask<InsertUser>) -> Result<Response, DoorError> {
    door.operator(ask.caller).await?;
    let InsertUser { username, email, mode } = &ask.body;
    let done = door.tenure.insert_user(&ask.context, username, email, mode).await?;
    let user = match done.made(User::registered) {
        Some(user) => user.into(),
        None => door.user_record(done.answer).await?,
    };
    Ok(written(StatusCode::CREATED, done.checkpoint, user))
}
