//! `GET`, `POST /sign-in/link/{secret}`: a user signs in with a link that an operator created.
//!
//! A GET does not use up the link, so link previews and mail scanners do no harm.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use secrecy::{ExposeSecret as _, SecretString};

use super::{form_token, message, page, signed_in};
use crate::context::Actor;
use crate::dispatch::DispatchError;
use crate::http::caller::signed_in_user;
use crate::http::csrf::check_form_token;
use crate::http::error::{ApiError, or_not_found};
use crate::http::oauth::parameters::Parameters;
use crate::http::pages::end_replaced_session;
use crate::http::request_id::RequestTrace;
use crate::http::state::SharedState;
use crate::operations::{Refusal, Resource};
use crate::projections::QueryError;

/// The URL of a sign-in link with this secret.
#[must_use]
pub fn url(public_url: &str, secret: &str) -> String {
    format!("{public_url}/sign-in/link/{secret}")
}

#[derive(Template)]
#[template(path = "sign_in_link.html")]
struct Link {
    username: String,
    signed_in_as: Option<String>,
    csrf_token: String,
}

fn gone() -> Response {
    let text =
        "The link is unknown, already used, or has expired after ten minutes. Ask an operator for a new one.";
    message(StatusCode::NOT_FOUND, "This link is not valid", text)
}

/// Shows the form that asks whether to sign in as the user of the link.
pub async fn show(
    State(state): State<SharedState>,
    Path(secret): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let user = match state.tenure.lookup_sign_in_link(&SecretString::from(secret)).await {
        Ok(user) => user,
        Err(QueryError::NotFound) => return Ok(gone()),
        Err(error) => return Err(error.into()),
    };
    let reader = state.tenure.reader();
    let username = or_not_found(reader.user(user).await, Resource::User)?.username;
    let signed_in_as = match signed_in_user(&state, &headers).await? {
        Some((current, _)) => Some(or_not_found(reader.user(current).await, Resource::User)?.username),
        None => None,
    };
    let (csrf_token, cookie) = form_token(&state, &headers);
    let mut response = page(StatusCode::OK, &Link { username, signed_in_as, csrf_token });
    if let Some((name, value)) = cookie {
        response.headers_mut().append(name, value);
    }
    Ok(response)
}

/// Signs in and uses up the link.
pub async fn consume(
    State(state): State<SharedState>,
    Path(secret): Path<String>,
    trace: RequestTrace,
    headers: HeaderMap,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    check_form_token(&state, &headers, parameters.get("csrf_token")?)?;
    let (context, ttl) = (trace.context(Actor::System), state.settings.session_ttl);
    match state.tenure.sign_in_by_link(&context, &secret.into(), ttl).await {
        Ok(done) => {
            // Only after the sign-in succeeded: a bad link must not sign the browser out.
            end_replaced_session(&state, &headers, trace).await;
            Ok(signed_in(&state, done.answer.2.expose_secret(), "/"))
        }
        Err(DispatchError::Refused(Refusal::NotFound(_))) => Ok(gone()),
        Err(error) => Err(error.into()),
    }
}
