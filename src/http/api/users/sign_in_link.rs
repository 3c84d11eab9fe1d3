//! `POST /api/v1/users/{user}/sign-in-links`: issues a single-use sign-in link for an internal user.

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use secrecy::ExposeSecret as _;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::api::users::named_user;
use crate::http::error::ApiError;
use crate::http::extract::EmptyCommand;
use crate::http::policy::require_operator;
use crate::http::response::{NO_STORE, written};
use crate::http::state::SharedState;
use crate::operations::SIGN_IN_LINK_TTL;

/// A single-use sign-in link.
#[derive(Serialize, ToSchema)]
pub struct SignInLink {
    /// The URL to open in a browser. It is a credential: it signs in as the user, without further proof.
    pub url: String,
    /// How many seconds the link is valid.
    pub expires_in: u64,
}

/// Issue a sign-in link
///
/// Lets an internal user sign in once. An idempotency key is ignored: every request issues a new link, because the link
/// is a secret and is shown only once. For operators.
#[utoipa::path(post, path = "/api/v1/users/{user}/sign-in-links", operation_id = "issueSignInLink", tag = "users",
    params(("user" = String, Path, description = "`me`, or the user's identifier or username")),
    responses((status = 201, description = "The sign-in link", body = SignInLink)))]
pub async fn sign_in_link(
    State(state): State<SharedState>,
    Path(user): Path<String>,
    command: EmptyCommand,
) -> Result<Response, ApiError> {
    require_operator(&state, command.caller).await?;
    let user = named_user(&state, command.caller, &user).await?;
    let done = state.tenure.issue_sign_in_link(&command.context, user).await?;
    let url = crate::http::pages::sign_in_link::url(&state.settings.public_url, done.answer.expose_secret());
    let link = SignInLink { url, expires_in: SIGN_IN_LINK_TTL.as_secs() };
    let mut response = written(StatusCode::CREATED, done.checkpoint, link);
    // The body holds a secret, which caches must not store.
    response.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
    Ok(response)
}
