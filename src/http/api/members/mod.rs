//! Who belongs to a tenant.

pub mod add;
pub mod list;
pub mod remove;

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::ids::UserId;

/// A person who belongs to an account.
#[derive(Serialize, ToSchema)]
pub struct MemberRecord {
    /// Who.
    pub user_id: UserId,
    /// The person's name.
    pub username: String,
    /// `owner` or `member`.
    pub role: &'static str,
    /// Since when: the account's opening for the owner.
    pub since: Timestamp,
}
