//! `GET /sign-in`: the ways in.

use askama::Template;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;

use super::next::path_of_this_site;
use super::{form_token, page, see_other};
use crate::http::door::Shared;
use crate::http::error::DoorError;

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn<'a> {
    github: bool,
    dev: bool,
    next: &'a str,
    csrf_token: String,
}

/// Where to go then.
#[derive(Deserialize)]
pub struct Then {
    next: Option<String>,
}

/// The ways in.
pub async fn sign_in(
    State(door): State<Shared>,
    Query(then): Query<Then>,
    headers: HeaderMap,
) -> Result<Response, DoorError> {
    let next = path_of_this_site(then.next.as_deref());
    if door.session(&headers).await?.is_some() {
        return Ok(see_other(next));
    }
    let (csrf_token, cookie) = form_token(&door, &headers);
    let ways = SignIn { github: door.github.is_some(), dev: door.settings.dev_sign_in, next, csrf_token };
    let mut response = page(StatusCode::OK, &ways);
    if let Some((name, value)) = cookie {
        response.headers_mut().append(name, value);
    }
    Ok(response)
}
