//! `GET`, `POST /sign-in/link/{secret}`: a person signs in by a link that an operator has made.
//!
//! Looking at the link uses nothing up: programs that look ahead of people do no harm.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use secrecy::{ExposeSecret as _, SecretString};

use super::{form_token, message, page, signed_in};
use crate::context::{Actor, Context};
use crate::dispatch::DispatchError;
use crate::http::door::Shared;
use crate::http::error::{DoorError, found};
use crate::http::oauth::parameters::Parameters;
use crate::operations::{Refusal, Thing};
use crate::projections::QueryError;

/// The address of a link.
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
        "The link is unknown, was used already, or its ten minutes are over. An operator can make another.";
    message(StatusCode::NOT_FOUND, "This link is good for nothing", text)
}

/// Asks whether to sign in.
pub async fn show(
    State(door): State<Shared>,
    Path(secret): Path<String>,
    headers: HeaderMap,
) -> Result<Response, DoorError> {
    let user = match door.tenure.lookup_sign_in_link(&SecretString::from(secret)).await {
        Ok(user) => user,
        Err(QueryError::NotFound) => return Ok(gone()),
        Err(error) => return Err(error.into()),
    };
    let reader = door.tenure.reader();
    let username = found(reader.user(user).await, Thing::User)?.username;
    let signed_in_as = match door.session(&headers).await? {
        Some((somebody, _)) => Some(found(reader.user(somebody).await, Thing::User)?.username),
        None => None,
    };
    let (csrf_token, cookie) = form_token(&door, &headers);
    let mut response = page(StatusCode::OK, &Link { username, signed_in_as, csrf_token });
    if let Some((name, value)) = cookie {
        response.headers_mut().append(name, value);
    }
    Ok(response)
}

/// Signs in, once.
pub async fn consume(
    State(door): State<Shared>,
    Path(secret): Path<String>,
    headers: HeaderMap,
    parameters: Parameters,
) -> Result<Response, DoorError> {
    door.check_form(&headers, parameters.get("csrf_token")?)?;
    let (context, life) = (Context::of(Actor::System), door.settings.session_life);
    match door.tenure.sign_in_by_link(&context, &secret.into(), life).await {
        Ok(done) => {
            door.end_replaced_session(&headers).await;
            Ok(signed_in(&door, done.answer.2.expose_secret(), "/"))
        }
        Err(DispatchError::Refused(Refusal::NotFound(_))) => Ok(gone()),
        Err(error) => Err(error.into()),
    }
}
