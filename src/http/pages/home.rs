//! `GET /`: who is signed in here, and where.

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::{page, see_other};
use crate::clock::Timestamp;
use crate::http::error::{ApiError, or_not_found};
use crate::http::state::SharedState;
use crate::operations::Resource;
use crate::projections::accounts::Account;
use crate::projections::sessions::Session;

/// A sign-in of a browser, as its person reads it.
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

/// How many accounts and how many sign-ins the page shows at most.
const MAX_SHOWN: usize = 200;

/// Who is signed in here.
pub async fn home(State(state): State<SharedState>, headers: HeaderMap) -> Result<Response, ApiError> {
    let Some((user, session)) = state.session(&headers).await? else { return Ok(see_other("/sign-in")) };
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
        csrf_token: state.csrf_token(session),
    };
    Ok(page(StatusCode::OK, &home))
}
