//! Routes for the members of an account.

pub mod add;
pub mod list;
pub mod remove;

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::ids::UserId;

/// A user who belongs to an account.
#[derive(Serialize, ToSchema)]
pub struct MemberRecord {
    /// The user's identifier.
    pub user_id: UserId,
    /// The user's username.
    pub username: String,
    /// The user's role in the account: `owner` or `member`.
    pub role: &'static str,
    /// When the membership began; for the owner, when the account was opened.
    pub since: Timestamp,
}
