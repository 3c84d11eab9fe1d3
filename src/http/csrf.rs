//! CSRF protection: the origin that the browser reports, and a token that another site does not know.

use axum::http::{HeaderMap, HeaderName, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq as _;

use super::cookies;
use super::error::ApiError;
use super::settings::loopback_port;
use super::state::AppState;
use crate::ids::SessionId;

/// The header in which scripts that act with a session send its CSRF token.
pub const X_CSRF_TOKEN: HeaderName = HeaderName::from_static("x-csrf-token");

/// The CSRF token of a session: an HMAC of its identifier, so that nothing has to be stored.
#[must_use]
pub fn token_for_session(state: &AppState, session: SessionId) -> String {
    URL_SAFE_NO_PAD.encode(state.mac("csrf", &format!("session:{session}")))
}

/// A fresh random value for the form cookie, for browsers that are not signed in.
#[must_use]
pub fn new_form(state: &AppState) -> String {
    let mut octets = [0; 24];
    state.tenure.entropy().fill(&mut octets);
    URL_SAFE_NO_PAD.encode(octets)
}

/// The CSRF token of a form whose browser has this form cookie.
#[must_use]
pub fn token_for_form(state: &AppState, form: &str) -> String {
    URL_SAFE_NO_PAD.encode(state.mac("csrf", &format!("form:{form}")))
}

/// Refuses a request that another site made the browser send: checks the reported origin and the session's token.
///
/// # Errors
/// [`ApiError::CrossSite`] if the origin is another site, or the token is missing or wrong.
pub fn check_session_token(
    state: &AppState,
    headers: &HeaderMap,
    session: SessionId,
    token: Option<&str>,
) -> Result<(), ApiError> {
    same_origin(state, headers)?;
    matches(token, &token_for_session(state, session))
}

/// The same check for a form of a browser that is not signed in. A client that is not a browser (it sends no origin
/// and no cookie) cannot be misused by another site: it needs no token.
///
/// # Errors
/// [`ApiError::CrossSite`] if the origin is another site, or the token is missing or wrong.
pub fn check_form_token(state: &AppState, headers: &HeaderMap, token: Option<&str>) -> Result<(), ApiError> {
    same_origin(state, headers)?;
    // Browsers send Origin with every POST, so another site cannot make one look like such a client.
    let of_browsers =
        [header::ORIGIN, header::REFERER, header::COOKIE, HeaderName::from_static("sec-fetch-site")];
    if of_browsers.iter().all(|name| !headers.contains_key(name)) {
        return Ok(());
    }
    // Without the form cookie there is nothing that the token could match.
    let form = cookies::read(headers, &state.settings, cookies::FORM);
    matches(token, &form.map(|form| token_for_form(state, &form)).ok_or(ApiError::CrossSite)?)
}

/// Whether an origin is this instance. On a loopback address, every name of this machine counts.
fn is_ours(state: &AppState, origin: &str) -> bool {
    let ours = &state.settings.public_url;
    origin == ours || loopback_port(ours).is_some_and(|port| loopback_port(origin) == Some(port))
}

/// Refuses a request whose reported origin is another site. Without a reported origin only the token protects.
fn same_origin(state: &AppState, headers: &HeaderMap) -> Result<(), ApiError> {
    let from_elsewhere = match headers.get(header::ORIGIN) {
        Some(origin) => !origin.to_str().is_ok_and(|origin| is_ours(state, origin)),
        // Some requests carry no Origin; Sec-Fetch-Site, which scripts cannot set, then says where they began.
        None => headers
            .get("sec-fetch-site")
            .is_some_and(|site| !matches!(site.as_bytes(), b"same-origin" | b"none")),
    };
    if from_elsewhere { Err(ApiError::CrossSite) } else { Ok(()) }
}

/// Compares in constant time, so that response times do not reveal how much of a guessed token is right.
fn matches(given: Option<&str>, wanted: &str) -> Result<(), ApiError> {
    let same = given.is_some_and(|given| bool::from(given.as_bytes().ct_eq(wanted.as_bytes())));
    if same { Ok(()) } else { Err(ApiError::CrossSite) }
}
