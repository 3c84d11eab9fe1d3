//! `POST /api/v1/users/{user}/sign-in-links`: a link by which an internal user signs in once.

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use secrecy::ExposeSecret as _;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::answer::{NO_STORE, written};
use crate::http::ask::Wish;
use crate::http::door::Shared;
use crate::http::error::DoorError;
use crate::operations::SIGN_IN_LINK_LIFE;

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
    State(door): State<Shared>,
    Path(user): Path<String>,
    wish: Wish,
) -> Result<Response, DoorError> {
    door.operator(wish.caller).await?;
    let user = door.user(wish.caller, &user).await?;
    let done = door.tenure.issue_sign_in_link(&wish.context, user).await?;
    let url = crate::http::pages::sign_in_link::url(&door.settings.public_url, done.answer.expose_secret());
    let link = SignInLink { url, expires_in: SIGN_IN_LINK_LIFE.as_secs() };
    let mut response = written(StatusCode::CREATED, done.checkpoint, link);
    response.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
    Ok(response)
}
