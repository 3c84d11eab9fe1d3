//! `GET /sign-in/github` and its callback: a user signs in through GitHub.
//!
//! The callback must carry the state that the same browser was sent to GitHub with, and only once.

use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq as _;

use super::return_to::local_path;
use super::{message, see_other, signed_in};
use crate::clock::Timestamp;
use crate::context::Actor;
use crate::dispatch::DispatchError;
use crate::http::cookies;
use crate::http::error::ApiError;
use crate::http::pages::end_replaced_session;
use crate::http::request_id::RequestTrace;
use crate::http::state::{AppState, SharedState};
use crate::operations::Refusal;

/// How long a sign-in may stay pending.
const STATE_TTL: Duration = Duration::from_mins(10);

/// The query of the route: the path to return to after signing in.
#[derive(Deserialize)]
pub struct ReturnTo {
    next: Option<String>,
}

/// The pending sign-in that the browser keeps in a cookie, with an HMAC.
#[derive(Serialize, Deserialize)]
struct PendingSignIn {
    state: String,
    verifier: String,
    next: String,
    until: Timestamp,
}

fn encode_state(state: &AppState, away: &PendingSignIn) -> Result<String, ApiError> {
    let json = serde_json::to_string(away).map_err(|_| ApiError::Internal)?;
    let mac = URL_SAFE_NO_PAD.encode(state.mac("github_sign_in", &json));
    Ok(format!("{}.{mac}", URL_SAFE_NO_PAD.encode(json)))
}

fn decode_state(state: &AppState, cookie: &str) -> Option<PendingSignIn> {
    let (json, mac) = cookie.split_once('.')?;
    let json = String::from_utf8(URL_SAFE_NO_PAD.decode(json).ok()?).ok()?;
    let mac = URL_SAFE_NO_PAD.decode(mac).ok()?;
    let ours = state.mac("github_sign_in", &json);
    bool::from(ours.as_slice().ct_eq(&mac)).then(|| serde_json::from_str(&json).ok()).flatten()
}

/// Redirects the browser to GitHub.
///
/// The pending sign-in is stored in the browser, so that any node can handle the callback and requests by strangers
/// store nothing here.
pub async fn begin(
    State(state): State<SharedState>,
    Query(then): Query<ReturnTo>,
) -> Result<Response, ApiError> {
    let github = state.github.as_ref().ok_or(ApiError::NoRoute)?;
    let entropy = state.tenure.entropy();
    let begun = github.begin(|octets| entropy.fill(octets));
    let away = PendingSignIn {
        state: begun.state,
        verifier: begun.verifier,
        next: local_path(then.next.as_deref()).to_owned(),
        until: state.tenure.clock().now().after(STATE_TTL),
    };
    let mut response = see_other(&begun.url);
    let (name, value) = cookies::set(
        &state.settings,
        cookies::GITHUB,
        &encode_state(&state, &away)?,
        i64::try_from(STATE_TTL.as_secs()).unwrap_or(600),
    );
    response.headers_mut().append(name, value);
    Ok(response)
}

/// The query of the callback, as GitHub sends it.
#[derive(Deserialize)]
pub struct CallbackQuery {
    code: Option<String>,
    state: Option<String>,
    error: Option<String>,
}

/// Handles the redirect back from GitHub and signs the browser in.
pub async fn callback(
    State(state): State<SharedState>,
    trace: RequestTrace,
    Query(back): Query<CallbackQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let github = state.github.as_ref().ok_or(ApiError::NoRoute)?;
    let mut response = finish_sign_in(&state, github, back, &headers, trace).await?;
    // A state works once, so the cookie is of no further use.
    let (name, value) = cookies::set(&state.settings, cookies::GITHUB, "", 0);
    response.headers_mut().append(name, value);
    Ok(response)
}

async fn finish_sign_in(
    state: &AppState,
    github: &crate::http::oauth::github::Github,
    back: CallbackQuery,
    headers: &HeaderMap,
    trace: RequestTrace,
) -> Result<Response, ApiError> {
    let refused = |text| Ok(message(StatusCode::BAD_REQUEST, "Sign-in failed", text));
    let now = state.tenure.clock().now();
    let away = cookies::read(headers, &state.settings, cookies::GITHUB)
        .and_then(|cookie| decode_state(state, &cookie))
        .filter(|away| away.until > now);
    let Some(away) = away else {
        return refused(
            "The sign-in was not started in this browser, or it has expired after ten minutes. Sign in again.",
        );
    };
    let same = back.state.is_some_and(|state| bool::from(state.as_bytes().ct_eq(away.state.as_bytes())));
    let digest: [u8; 32] = Sha256::digest(&away.state).into();
    // Claimed in the database, so that a state works once even across nodes. The state is checked first: a wrong
    // one must not use up the right one.
    if !same || !state.tenure.claim_once(&digest, away.until).await? {
        return refused(
            "The response from GitHub does not match the sign-in that was started here. Sign in again.",
        );
    }
    if back.error.is_some() {
        return refused("GitHub did not authorize the sign-in. Sign in again and allow access.");
    }
    let Some(code) = back.code else { return refused("GitHub sent no authorization code. Sign in again.") };
    let person = match github.finish(code, away.verifier).await {
        Ok(person) => person,
        Err(error) => {
            tracing::warn!(%error, "a sign-in through GitHub failed");
            return refused("GitHub could not confirm who you are. Sign in again.");
        }
    };
    let context = trace.context(Actor::System);
    let known = state
        .tenure
        .sign_in_with_github(
            &context,
            person.id,
            &person.login,
            // A profile field that breaks our rules is left out: it must not prevent the sign-in.
            person.email.as_deref().filter(|email| crate::aggregates::user::Email::parse(email).is_ok()),
            person.avatar_url.as_deref().filter(|url| crate::aggregates::user::AvatarUrl::parse(url).is_ok()),
        )
        .await;
    let known = match known {
        Ok(known) => known.answer,
        // The identifier or the login has a form that no person has there, as those of apps and bots.
        Err(DispatchError::Refused(Refusal::Invalid(_))) => {
            return refused("The account at GitHub is not one of a person, so it cannot sign in here.");
        }
        Err(error) => return Err(error.into()),
    };
    let context = trace.context(Actor::User(known.user));
    let started = state.tenure.start_session(&context, known.user, state.settings.session_ttl).await?;
    let (_, Some(secret)) = started.answer else { return Err(ApiError::Internal) };
    end_replaced_session(state, headers, trace).await;
    Ok(signed_in(state, secret.expose_secret(), local_path(Some(&away.next))))
}
