//! `POST /api/v1/users/{user}/sign-in-links`: a link by which an internal user signs in once.

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use secrecy::ExposeSecret as _;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::error::ApiError;
use crate::http::extract::EmptyCommand;
use crate::http::response::{NO_STORE, written};
use crate::http::state::SharedState;
use crate::operations::SIGN_IN_LINK_TTL;

/// A link by which somebody signs in once.
#[derive(Serialize, ToSchema)]
pub struct SignInLink {
    /// Where to go; whoever has it signs in as the person.
    pub url: String,
    /// For how many seconds it is good.
    pub expires_in: u64,
}

/// Make a link by which an internal user signs in once
///
/// For operators. Without an idempotency key: the link is a secret and is given once.
#[utoipa::path(post, path = "/api/v1/users/{user}/sign-in-links", operation_id = "issueSignInLink", tag = "users",
    params(("user" = String, Path, description = "`me`, an identifier or a username")),
    responses((status = 201, description = "The link", body = SignInLink)))]
pub async fn sign_in_link(
    State(state): State<SharedState>,
    Path(user): Path<String>,
    command: EmptyCommand,
) -> Result<Response, ApiError> {
    state.require_operator(command.caller).await?;
    let user = state.user(command.caller, &user).await?;
    let done = state.tenure.issue_sign_in_link(&command.context, user).await?;
    let url = crate::http::pages::sign_in_link::url(&state.settings.public_url, done.answer.expose_secret());
    let link = SignInLink { url, expires_in: SIGN_IN_LINK_TTL.as_secs() };
    let mut response = written(StatusCode::CREATED, done.checkpoint, link);
    response.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
    Ok(response)
}
