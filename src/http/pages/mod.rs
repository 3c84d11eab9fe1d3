//! The pages for people: sign in, approve a device, see accounts and sessions. Plain HTML without scripts.

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
use super::request_id::RequestTrace;
use super::state::AppState;
use crate::context::Actor;
use crate::http::caller::signed_in_user;
use crate::http::csrf::{new_form, token_for_form};

/// A page with a title and one text.
#[derive(Template)]
#[template(path = "message.html")]
struct Message<'a> {
    title: &'a str,
    text: &'a str,
}

/// Renders a template as a response with this status.
fn page(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(error) => {
            tracing::error!(%error, "could not render a page");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// A page with a title and one text.
fn message(status: StatusCode, title: &str, text: &str) -> Response {
    page(status, &Message { title, text })
}

/// Redirects a browser with 303, so that it follows with a GET.
fn see_other(location: &str) -> Response {
    match HeaderValue::from_str(location) {
        Ok(location) => (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Sets the session cookie, removes the form cookie, and redirects the browser.
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

/// Ends the session that a browser replaces by signing in again. A failure is only logged and does not stop the
/// sign-in.
async fn end_replaced_session(state: &AppState, headers: &HeaderMap, trace: RequestTrace) {
    let ended = async {
        if let Some((user, session)) = signed_in_user(state, headers).await? {
            state.tenure.end_session(&trace.context(Actor::User(user)), session).await?;
        }
        Ok::<_, ApiError>(())
    };
    if let Err(error) = ended.await {
        tracing::warn!(code = error.code(), "could not end a replaced session");
    }
}

/// The CSRF token of a form for a browser that is not signed in, and the cookie to set if the browser has none yet.
fn form_token(state: &AppState, headers: &HeaderMap) -> (String, Option<(header::HeaderName, HeaderValue)>) {
    // An existing cookie is kept, so that forms in several tabs stay valid.
    let known = cookies::read(headers, &state.settings, cookies::FORM).filter(|form| !form.is_empty());
    if let Some(form) = known {
        return (token_for_form(state, &form), None);
    }
    let form = new_form(state);
    (token_for_form(state, &form), Some(cookies::set(&state.settings, cookies::FORM, &form, 3_600)))
}

/// The content security policy of the pages: no scripts, no frames, forms only to this site.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; img-src 'self' https:; form-action 'self'; base-uri 'none'; \
     frame-ancestors 'none'",
);

/// Middleware that renders errors as pages and sets the security headers of all pages.
pub async fn shape(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    // A page that a handler rendered itself, whatever its status, stays.
    let made =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "text/html; charset=utf-8")
            && response.extensions().get::<ApiError>().is_none();
    if let Some((error, headers)) = if made { None } else { error_of(&mut response) } {
        let title = match error.status() {
            StatusCode::NOT_FOUND => "Not found",
            StatusCode::TOO_MANY_REQUESTS => "Too many requests",
            StatusCode::SERVICE_UNAVAILABLE => "Service unavailable",
            StatusCode::FORBIDDEN => "Not allowed",
            _ => "Something went wrong",
        };
        response = message(error.status(), title, &error.sentence());
        response.headers_mut().extend(headers);
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.entry(header::CACHE_CONTROL).or_insert(super::response::NO_STORE);
    response
}
