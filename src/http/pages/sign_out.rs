//! `POST /sign-out`: this browser, or another of the same person, is signed out.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::see_other;
use crate::context::{Actor, Context};
use crate::http::cookies;
use crate::http::door::Shared;
use crate::http::error::{DoorError, id};
use crate::http::oauth::parameters::Parameters;
use crate::ids::SessionId;
use crate::operations::Thing;

/// Ends a session: the one that is named, else this one.
pub async fn sign_out(
    State(door): State<Shared>,
    headers: HeaderMap,
    parameters: Parameters,
) -> Result<Response, DoorError> {
    let Some((user, session)) = door.session(&headers).await? else { return Ok(see_other("/sign-in")) };
    door.check_csrf(&headers, session, parameters.get("csrf_token")?)?;
    let ended: SessionId = match parameters.get("session")? {
        Some(named) => id(named, Thing::Session)?,
        None => session,
    };
    door.tenure.end_session(&Context::of(Actor::User(user)), ended).await?;
    if ended != session {
        return Ok(see_other("/"));
    }
    let mut response = see_other("/sign-in");
    let (name, value) = cookies::set(&door.settings, cookies::SESSION, "", 0);
    response.headers_mut().append(name, value);
    Ok(response)
}
