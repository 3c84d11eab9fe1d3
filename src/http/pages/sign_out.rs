//! `POST /sign-out`: signs out this browser, or another session of the same user.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::see_other;
use crate::context::Actor;
use crate::http::caller::signed_in_user;
use crate::http::cookies;
use crate::http::csrf::check_session_token;
use crate::http::error::{ApiError, id};
use crate::http::oauth::parameters::Parameters;
use crate::http::request_id::RequestTrace;
use crate::http::state::SharedState;
use crate::ids::SessionId;
use crate::operations::Resource;

/// Ends the session that the form names, or else the session of this browser.
pub async fn sign_out(
    State(state): State<SharedState>,
    trace: RequestTrace,
    headers: HeaderMap,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let Some((user, session)) = signed_in_user(&state, &headers).await? else {
        return Ok(see_other("/sign-in"));
    };
    // Without the check, another site could sign the user out.
    check_session_token(&state, &headers, session, parameters.get("csrf_token")?)?;
    let ended: SessionId = match parameters.get("session")? {
        Some(named) => id(named, Resource::Session)?,
        None => session,
    };
    state.tenure.end_session(&trace.context(Actor::User(user)), ended).await?;
    if ended != session {
        return Ok(see_other("/"));
    }
    let mut response = see_other("/sign-in");
    let (name, value) = cookies::set(&state.settings, cookies::SESSION, "", 0);
    response.headers_mut().append(name, value);
    Ok(response)
}
