//! Sign-ins of browsers.

pub mod end;
pub mod list;

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::ids::{SessionId, UserId};
use crate::projections::sessions::Session;

/// A session; its secret is not part of it.
#[derive(Serialize, ToSchema)]
pub struct SessionRecord {
    /// The identifier.
    pub id: SessionId,
    /// Whose it is.
    pub user_id: UserId,
    /// Since when.
    pub created_at: Timestamp,
    /// From when on it is dead.
    pub expires_at: Timestamp,
    /// When it was ended before its time.
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
