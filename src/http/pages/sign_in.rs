//! `GET /sign-in`: the sign-in page.

use askama::Template;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;

use super::return_to::local_path;
use super::{form_token, page, see_other};
use crate::http::caller::signed_in_user;
use crate::http::error::ApiError;
use crate::http::state::SharedState;

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn<'a> {
    github: bool,
    dev: bool,
    next: &'a str,
    csrf_token: String,
}

/// The query of the page: the path to return to after signing in.
#[derive(Deserialize)]
pub struct ReturnTo {
    next: Option<String>,
}

/// Shows the ways to sign in; a browser that is already signed in is sent on.
pub async fn sign_in(
    State(state): State<SharedState>,
    Query(then): Query<ReturnTo>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let next = local_path(then.next.as_deref());
    if signed_in_user(&state, &headers).await?.is_some() {
        return Ok(see_other(next));
    }
    let (csrf_token, cookie) = form_token(&state, &headers);
    let ways = SignIn { github: state.github.is_some(), dev: state.settings.dev_sign_in, next, csrf_token };
    let mut response = page(StatusCode::OK, &ways);
    if let Some((name, value)) = cookie {
        response.headers_mut().append(name, value);
    }
    Ok(response)
}
