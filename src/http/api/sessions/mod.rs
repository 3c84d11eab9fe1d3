//! Routes for browser sessions.

pub mod end;
pub mod list;

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::ids::{SessionId, UserId};
use crate::projections::sessions::Session;

/// A browser session, without its secret.
#[derive(Serialize, ToSchema)]
pub struct SessionRecord {
    /// The session's identifier.
    pub id: SessionId,
    /// The identifier of the user who is signed in.
    pub user_id: UserId,
    /// When the session began.
    pub created_at: Timestamp,
    /// When the session expires.
    pub expires_at: Timestamp,
    /// When the session was ended before it expired; `null` if it was not.
    #[schema(required = true)]
    pub ended_at: Option<Timestamp>,
}

impl From<Session> for SessionRecord {
    fn from(session: Session) -> Self {
        Self {
            id: session.id,
            user_id: session.user_id,
            created_at: session.created_at,
            expires_at: session.expires_at,
            ended_at: session.ended_at,
        }
    }
}
