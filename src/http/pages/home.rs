//! `GET /`: the home page, with the user's accounts and sessions.

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::{page, see_other};
use crate::clock::Timestamp;
use crate::http::caller::signed_in_user;
use crate::http::csrf::token_for_session;
use crate::http::error::{ApiError, or_not_found};
use crate::http::state::SharedState;
use crate::operations::Resource;
use crate::projections::accounts::Account;
use crate::projections::sessions::Session;

/// A session as the page shows it; times to the minute, in UTC.
struct SignIn {
    id: String,
    since: String,
    until: String,
}

impl From<Session> for SignIn {
    fn from(session: Session) -> Self {
        let to_the_minute = |at: Timestamp| {
            let text = at.to_string();
            format!("{} UTC", text.get(..16).unwrap_or(&text).replace('T', " "))
        };
        Self {
            id: session.id.to_string(),
            since: to_the_minute(session.created_at),
            until: to_the_minute(session.expires_at),
        }
    }
}

#[derive(Template)]
#[template(path = "home.html")]
struct Home {
    username: String,
    operator: bool,
    accounts: Vec<Account>,
    sessions: Vec<SignIn>,
    current: String,
    csrf_token: String,
}

/// The most accounts, and the most sessions, that the page shows.
const MAX_SHOWN: usize = 200;

/// Shows the home page, or sends an anonymous browser to the sign-in page.
pub async fn home(State(state): State<SharedState>, headers: HeaderMap) -> Result<Response, ApiError> {
    let Some((user, session)) = signed_in_user(&state, &headers).await? else {
        return Ok(see_other("/sign-in"));
    };
    let reader = state.tenure.reader();
    let person = or_not_found(reader.user(user).await, Resource::User)?;
    let now = state.tenure.clock().now();
    let sessions = reader.living_sessions(user, now, MAX_SHOWN).await?;
    let home = Home {
        username: person.username,
        operator: person.operator,
        accounts: reader.accounts_for_user_after(user, "", MAX_SHOWN).await?,
        sessions: sessions.into_iter().map(SignIn::from).collect(),
        current: session.to_string(),
        csrf_token: token_for_session(&state, session),
    };
    Ok(page(StatusCode::OK, &home))
}
