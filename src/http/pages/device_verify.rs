//! `GET`, `POST /oauth/device/verify`: a person lets a device act for them, or does not (RFC 8628 §3.3).

use askama::Template;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;

use super::return_to::sign_in_returning_to;
use super::{message, page, see_other};
use crate::context::{Actor, Context};
use crate::dispatch::DispatchError;
use crate::http::error::{ApiError, or_not_found};
use crate::http::oauth::parameters::Parameters;
use crate::http::origin::Origin;
use crate::http::state::{AppState, SharedState};
use crate::ids::{SessionId, UserId};
use crate::operations::{GUESS_WINDOW, Refusal, Resource, UserCodeAttempt};
use crate::projections::QueryError;

/// The route.
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

/// Which code.
#[derive(Deserialize)]
pub struct Code {
    user_code: Option<String>,
}

fn no_such_code() -> Response {
    let text =
        "Nothing waits for this code: it is mistyped, decided already, or too old. Look at the device again.";
    message(StatusCode::NOT_FOUND, "No such code", text)
}

impl AppState {
    /// Counts a try at a user code.
    async fn try_code(
        &self,
        user: UserId,
        session: SessionId,
        Origin(from): Origin,
    ) -> Result<UserCodeAttempt, ApiError> {
        let tried = self.tenure.attempt_user_code(user, session, from).await?;
        tried.ok_or(ApiError::TooMany { retry_after: GUESS_WINDOW.as_secs() })
    }
}

/// Asks for a code, or whether to let the device with this one act.
pub async fn show(
    State(state): State<SharedState>,
    from: Origin,
    Query(code): Query<Code>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let typed = code.user_code.filter(|typed| !typed.is_empty());
    let Some((user, session)) = state.session(&headers).await? else {
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
    let tried = state.try_code(user, session, from).await?;
    let code = match reader.device_code_by_user_code(&typed, state.tenure.clock().now()).await {
        Ok(code) => code,
        Err(QueryError::NotFound) => return Ok(no_such_code()),
        Err(error) => return Err(error.into()),
    };
    state.tenure.right_user_code(tried).await?;
    let origin = state.tenure.device_address(code.id).await?;
    let form = Approve {
        username,
        user_code: code.user_code,
        client_name: code.client_name,
        origin: origin.unwrap_or_else(|| "an unknown address".to_owned()),
        csrf_token: state.csrf_token(session),
    };
    Ok(page(StatusCode::OK, &form))
}

/// Takes the decision.
pub async fn decide(
    State(state): State<SharedState>,
    from: Origin,
    headers: HeaderMap,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let Some((user, session)) = state.session(&headers).await? else {
        return Ok(see_other(&sign_in_returning_to(PATH)));
    };
    state.check_csrf(&headers, session, parameters.get("csrf_token")?)?;
    let typed = parameters.required("user_code")?;
    let approve = match parameters.required("action")? {
        "approve" => true,
        "deny" => false,
        _ => return Err(ApiError::field("action", "`approve` or `deny`")),
    };
    let tried = state.try_code(user, session, from).await?;
    let context = Context::of(Actor::User(user));
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
    state.tenure.right_user_code(tried).await?;
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
            "It has been status so. You can close this page.",
        )
    })
}
