//! `GET`, `POST /oauth/device/verify`: a user approves or denies a device (RFC 8628 §3.3).

use askama::Template;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;

use super::return_to::sign_in_returning_to;
use super::{message, page, see_other};
use crate::aggregates::device_code::UserCode;
use crate::context::Actor;
use crate::dispatch::DispatchError;
use crate::http::caller::signed_in_user;
use crate::http::csrf::{check_session_token, token_for_session};
use crate::http::error::{ApiError, or_not_found};
use crate::http::oauth::parameters::Parameters;
use crate::http::origin::Origin;
use crate::http::request_id::RequestTrace;
use crate::http::state::{AppState, SharedState};
use crate::ids::{SessionId, UserId};
use crate::operations::{GUESS_WINDOW, Refusal, Resource, UserCodeAttempt};
use crate::projections::QueryError;

/// The path of the page.
pub const PATH: &str = "/oauth/device/verify";

#[derive(Template)]
#[template(path = "device_enter.html")]
struct Enter {
    username: String,
}

#[derive(Template)]
#[template(path = "device_approve.html")]
struct Approve {
    username: String,
    user_code: String,
    client_name: String,
    origin: String,
    csrf_token: String,
}

/// The query of the page: the user code, if the device's link carries it.
#[derive(Deserialize)]
pub struct Code {
    user_code: Option<String>,
}

/// One text for all reasons, so that a guess reveals nothing about the codes of others.
fn no_such_code() -> Response {
    let text = "The code is mistyped, already used, or expired. Check the code on the device and try again.";
    message(StatusCode::NOT_FOUND, "Code not found", text)
}

/// Counts an attempt at a user code, before the code is looked up.
///
/// # Errors
/// [`ApiError::TooMany`] after too many wrong codes.
async fn attempt_code(
    state: &AppState,
    user: UserId,
    session: SessionId,
    Origin(from): Origin,
) -> Result<UserCodeAttempt, ApiError> {
    let tried = state.tenure.attempt_user_code(user, session, from).await?;
    tried.ok_or(ApiError::TooMany { retry_after: GUESS_WINDOW.as_secs() })
}

/// Shows the form for the code or, with a code, the form that asks whether to approve the device.
pub async fn show(
    State(state): State<SharedState>,
    from: Origin,
    Query(code): Query<Code>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let typed = code.user_code.filter(|typed| !typed.is_empty());
    let Some((user, session)) = signed_in_user(&state, &headers).await? else {
        let then = match &typed {
            None => PATH.to_owned(),
            Some(typed) => {
                let typed: String = form_urlencoded::byte_serialize(typed.as_bytes()).collect();
                format!("{PATH}?user_code={typed}")
            }
        };
        return Ok(see_other(&sign_in_returning_to(&then)));
    };
    let reader = state.tenure.reader();
    let username = or_not_found(reader.user(user).await, Resource::User)?.username;
    let Some(typed) = typed else { return Ok(page(StatusCode::OK, &Enter { username })) };
    if !UserCode::is_possible(&typed) {
        return Ok(no_such_code());
    }
    // Counted before the look-up and refunded after it, so that concurrent guesses cannot exceed the limit.
    let tried = attempt_code(&state, user, session, from).await?;
    let code = match reader.device_code_by_user_code(&typed, state.tenure.clock().now()).await {
        Ok(code) => code,
        Err(QueryError::NotFound) => return Ok(no_such_code()),
        Err(error) => return Err(error.into()),
    };
    state.tenure.refund_attempt(tried).await?;
    let origin = state.tenure.device_address(code.id).await?;
    let form = Approve {
        username,
        user_code: code.user_code,
        client_name: code.client_name,
        origin: origin.unwrap_or_else(|| "an unknown address".to_owned()),
        csrf_token: token_for_session(&state, session),
    };
    Ok(page(StatusCode::OK, &form))
}

/// Approves or denies the device, as the user decided.
pub async fn decide(
    State(state): State<SharedState>,
    from: Origin,
    trace: RequestTrace,
    headers: HeaderMap,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let Some((user, session)) = signed_in_user(&state, &headers).await? else {
        return Ok(see_other(&sign_in_returning_to(PATH)));
    };
    // Before the attempt is counted: another site must not be able to use up the user's attempts.
    check_session_token(&state, &headers, session, parameters.get("csrf_token")?)?;
    let typed = parameters.required("user_code")?;
    let approve = match parameters.required("action")? {
        "approve" => true,
        "deny" => false,
        _ => return Err(ApiError::field("action", "must be `approve` or `deny`")),
    };
    if !UserCode::is_possible(typed) {
        return Ok(no_such_code());
    }
    let tried = attempt_code(&state, user, session, from).await?;
    let context = trace.context(Actor::User(user));
    let decided = if approve {
        state.tenure.approve_device_code(&context, typed, user).await
    } else {
        state.tenure.deny_device_code(&context, typed, user).await
    };
    match decided {
        Ok(_) => {}
        Err(DispatchError::Refused(Refusal::NotFound(_))) => return Ok(no_such_code()),
        Err(error) => return Err(error.into()),
    }
    state.tenure.refund_attempt(tried).await?;
    Ok(if approve {
        message(
            StatusCode::OK,
            "The device may act for you",
            "You can close this page and go back to the device.",
        )
    } else {
        message(
            StatusCode::OK,
            "The device may not act for you",
            "The device learns of it when it asks next. You can close this page.",
        )
    })
}
