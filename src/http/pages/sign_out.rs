//! `POST /sign-out`: this browser, or another of the same person, is signed out.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::see_other;
use crate::context::{Actor, Context};
use crate::http::cookies;
use crate::http::error::{ApiError, id};
use crate::http::oauth::parameters::Parameters;
use crate::http::state::SharedState;
use crate::ids::SessionId;
use crate::operations::Resource;

/// Ends a session: the one that is named, else this one.
pub async fn sign_out(
    State(state): State<SharedState>,
    headers: HeaderMap,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let Some((user, session)) = state.session(&headers).await? else { return Ok(see_other("/sign-in")) };
    state.check_csrf(&headers, session, parameters.get("csrf_token")?)?;
    let ended: SessionId = match parameters.get("session")? {
        Some(named) => id(named, Resource::Session)?,
        None => session,
    };
    state.tenure.end_session(&Context::of(Actor::User(user)), ended).await?;
    if ended != session {
        return Ok(see_other("/"));
    }
    let mut response = see_other("/sign-in");
    let (name, value) = cookies::set(&state.settings, cookies::SESSION, "", 0);
    response.headers_mut().append(name, value);
    Ok(response)
}
