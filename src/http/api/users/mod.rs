//! People. `{user}` is `me`, an identifier or a username.

pub mod accounts;
pub mod default_account;
pub mod forget;
pub mod grant_operator;
pub mod insert;
pub mod list;
pub mod revoke_operator;
pub mod show;
pub mod sign_in_link;
pub mod usernames;

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::http::caller::Caller;
use crate::http::error::{ApiError, or_not_found};
use crate::http::state::AppState;
use crate::ids::UserId;
use crate::operations::Resource;
use crate::projections::users::User;

/// A person.
#[derive(Serialize, ToSchema)]
pub struct UserRecord {
    /// The identifier.
    pub id: UserId,
    /// The unique name; empty when it cannot be read any more.
    pub username: String,
    /// Where the person can be reached.
    pub email: Option<String>,
    /// How the person signs in: `github` or `internal`.
    pub mode: &'static str,
    /// GitHub's number for the person.
    pub github_id: Option<i64>,
    /// The login at GitHub.
    pub github_login: Option<String>,
    /// The person's picture.
    pub avatar_url: Option<String>,
    /// Whether the person runs the instance.
    pub operator: bool,
    /// Since when the person is known.
    pub created_at: Timestamp,
    /// When the person was forgotten.
    pub forgotten_at: Option<Timestamp>,
}

impl From<User> for UserRecord {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            username: user.username,
            email: user.email,
            mode: user.mode.as_str(),
            github_id: user.github_id,
            github_login: user.github_login,
            avatar_url: user.avatar_url,
            operator: user.operator,
            created_at: user.created_at,
            forgotten_at: user.forgotten_at,
        }
    }
}

impl AppState {
    /// The record of a person.
    pub(super) async fn user_record(&self, id: UserId) -> Result<UserRecord, ApiError> {
        Ok(or_not_found(self.tenure.reader().user(id).await, Resource::User)?.into())
    }

    /// The person whom `me`, an identifier or a username names.
    pub(super) async fn user(&self, caller: Caller, slug: &str) -> Result<UserId, ApiError> {
        if slug == "me" {
            return caller.person();
        }
        let reader = self.tenure.reader();
        let user = match slug.parse() {
            Ok(id) => reader.user(id).await,
            Err(_) => reader.user_by_username(slug).await,
        };
        Ok(or_not_found(user, Resource::User)?.id)
    }
}
