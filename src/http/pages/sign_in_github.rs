//! `GET /sign-in/github` and its callback: a person signs in through GitHub.
//!
//! What comes back must carry the state that this very browser was sent away with, once.

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
use crate::context::{Actor, Context};
use crate::http::cookies;
use crate::http::error::ApiError;
use crate::http::state::{AppState, SharedState};

/// How long a sign-in may be under way.
const STATE_TTL: Duration = Duration::from_mins(10);

/// Where to go then.
#[derive(Deserialize)]
pub struct ReturnTo {
    next: Option<String>,
}

/// What the browser keeps while it is away, with an HMAC.
#[derive(Serialize, Deserialize)]
struct PendingSignIn {
    state: String,
    verifier: String,
    next: String,
    until: Timestamp,
}

impl AppState {
    fn encode_state(&self, away: &PendingSignIn) -> Result<String, ApiError> {
        let json = serde_json::to_string(away).map_err(|_| ApiError::Internal)?;
        let mac = URL_SAFE_NO_PAD.encode(self.mac("github_sign_in", &json));
        Ok(format!("{}.{mac}", URL_SAFE_NO_PAD.encode(json)))
    }

    fn decode_state(&self, cookie: &str) -> Option<PendingSignIn> {
        let (json, mac) = cookie.split_once('.')?;
        let json = String::from_utf8(URL_SAFE_NO_PAD.decode(json).ok()?).ok()?;
        let mac = URL_SAFE_NO_PAD.decode(mac).ok()?;
        let ours = self.mac("github_sign_in", &json);
        bool::from(ours.as_slice().ct_eq(&mac)).then(|| serde_json::from_str(&json).ok()).flatten()
    }
}

/// Sends the browser to GitHub.
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
        &state.encode_state(&away)?,
        i64::try_from(STATE_TTL.as_secs()).unwrap_or(600),
    );
    response.headers_mut().append(name, value);
    Ok(response)
}

/// What GitHub sends back.
#[derive(Deserialize)]
pub struct CallbackQuery {
    code: Option<String>,
    state: Option<String>,
    error: Option<String>,
}

/// Takes the browser back from GitHub and signs it in.
pub async fn callback(
    State(state): State<SharedState>,
    Query(back): Query<CallbackQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let github = state.github.as_ref().ok_or(ApiError::NoRoute)?;
    let mut response = state.finish_sign_in(github, back, &headers).await?;
    let (name, value) = cookies::set(&state.settings, cookies::GITHUB, "", 0);
    response.headers_mut().append(name, value);
    Ok(response)
}

impl AppState {
    async fn finish_sign_in(
        &self,
        github: &crate::http::oauth::github::Github,
        back: CallbackQuery,
        headers: &HeaderMap,
    ) -> Result<Response, ApiError> {
        let refused = |text| Ok(message(StatusCode::BAD_REQUEST, "Signing in did not work", text));
        let now = self.tenure.clock().now();
        let away = cookies::read(headers, &self.settings, cookies::GITHUB)
            .and_then(|cookie| self.decode_state(&cookie))
            .filter(|away| away.until > now);
        let Some(away) = away else {
            return refused("This sign-in was not begun in this browser, or more than ten minutes ago.");
        };
        let same = back.state.is_some_and(|state| bool::from(state.as_bytes().ct_eq(away.state.as_bytes())));
        let digest: [u8; 32] = Sha256::digest(&away.state).into();
        if !same || !self.tenure.claim_once(&digest, away.until).await? {
            return refused("This is not the answer to the sign-in that was begun here.");
        }
        if back.error.is_some() {
            return refused("GitHub has not let Tenure know who you are.");
        }
        let Some(code) = back.code else { return refused("GitHub has sent no code.") };
        let person = match github.finish(code, away.verifier).await {
            Ok(person) => person,
            Err(error) => {
                tracing::warn!(%error, "a sign-in through GitHub failed");
                return refused("GitHub does not say who you are. Try again.");
            }
        };
        let context = Context::of(Actor::System);
        let known = self
            .tenure
            .sign_in_with_github(
                &context,
                person.id,
                &person.login,
                person.email.as_deref().filter(|email| crate::aggregates::user::Email::parse(email).is_ok()),
                person
                    .avatar_url
                    .as_deref()
                    .filter(|url| crate::aggregates::user::AvatarUrl::parse(url).is_ok()),
            )
            .await?
            .answer;
        let context = Context::of(Actor::User(known.user));
        let started = self.tenure.start_session(&context, known.user, self.settings.session_ttl).await?;
        let (_, Some(secret)) = started.answer else { return Err(ApiError::Internal) };
        self.end_replaced_session(headers).await;
        Ok(signed_in(self, secret.expose_secret(), local_path(Some(&away.next))))
    }
}
