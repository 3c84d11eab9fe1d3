//! The pages that people need: sign in, approve a device, see who is signed in. Plain HTML without scripts.

pub mod device_verify;
pub mod home;
pub mod return_to;
pub mod sign_in;
pub mod sign_in_dev;
pub mod sign_in_github;
pub mod sign_in_link;
pub mod sign_out;
pub mod style;

use askama::Template;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};

use super::cookies;
use super::error::ApiError;
use super::error_body::error_of;
use super::state::AppState;
use crate::context::{Actor, Context};

/// A page that says one thing.
#[derive(Template)]
#[template(path = "message.html")]
struct Message<'a> {
    title: &'a str,
    text: &'a str,
}

/// A page.
fn page(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// A page that says one thing.
fn message(status: StatusCode, title: &str, text: &str) -> Response {
    page(status, &Message { title, text })
}

/// Sends a browser on.
fn see_other(location: &str) -> Response {
    match HeaderValue::from_str(location) {
        Ok(location) => (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Signs a browser in and sends it on; what bound the form to it is used up.
fn signed_in(state: &AppState, secret: &str, to: &str) -> Response {
    let settings = &state.settings;
    let seconds = i64::try_from(settings.session_ttl.as_secs()).unwrap_or(i64::MAX);
    let mut response = see_other(to);
    for (name, value) in [
        cookies::set(settings, cookies::SESSION, secret, seconds),
        cookies::set(settings, cookies::FORM, "", 0),
    ] {
        response.headers_mut().append(name, value);
    }
    response
}

impl AppState {
    /// Ends the session that a browser leaves by signing in anew. That it cannot be ended is no reason not to sign in.
    async fn end_replaced_session(&self, headers: &HeaderMap) {
        let ended = async {
            if let Some((user, session)) = self.session(headers).await? {
                self.tenure.end_session(&Context::of(Actor::User(user)), session).await?;
            }
            Ok::<_, ApiError>(())
        };
        if let Err(error) = ended.await {
            tracing::warn!(code = error.code(), "a session that was replaced could not be ended");
        }
    }
}

/// The token of a form for a browser that is not signed in, and the cookie that it must come back with.
fn form_token(state: &AppState, headers: &HeaderMap) -> (String, Option<(header::HeaderName, HeaderValue)>) {
    let known = cookies::read(headers, &state.settings, cookies::FORM).filter(|form| !form.is_empty());
    if let Some(form) = known {
        return (state.form_token(&form), None);
    }
    let form = state.new_form();
    (state.form_token(&form), Some(cookies::set(&state.settings, cookies::FORM, &form, 3_600)))
}

/// What a browser may do with a page of ours: show it, alone.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; img-src 'self' https:; form-action 'self'; base-uri 'none'; \
     frame-ancestors 'none'",
);

/// Errors as pages, and what a browser may do with all of them.
pub async fn shape(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let made =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "text/html; charset=utf-8")
            && response.extensions().get::<ApiError>().is_none();
    if let Some((error, headers)) = if made { None } else { error_of(&mut response) } {
        let title = match error.status() {
            StatusCode::NOT_FOUND => "Not found",
            StatusCode::TOO_MANY_REQUESTS => "Too often",
            StatusCode::SERVICE_UNAVAILABLE => "Not available",
            StatusCode::FORBIDDEN => "Not allowed",
            _ => "That did not work",
        };
        response = message(error.status(), title, &error.detail());
        response.headers_mut().extend(headers);
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.entry(header::CACHE_CONTROL).or_insert(super::response::NO_STORE);
    response
}
