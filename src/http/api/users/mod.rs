//! Routes for users. `{user}` in a path is `me`, an identifier or a username.

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

/// A user's record.
#[derive(Serialize, ToSchema)]
pub struct UserRecord {
    /// The user's identifier.
    pub id: UserId,
    /// The unique username; a placeholder once the user is forgotten, empty if it can no longer be decrypted.
    pub username: String,
    /// The user's email address; `null` if unknown or forgotten.
    #[schema(required = true)]
    pub email: Option<String>,
    /// How the user signs in: `github` or `internal`.
    pub mode: &'static str,
    /// The user's numeric GitHub identifier; `null` if there is none.
    #[schema(required = true)]
    pub github_id: Option<i64>,
    /// The user's GitHub login; `null` if there is none.
    #[schema(required = true)]
    pub github_login: Option<String>,
    /// The URL of the user's picture; `null` if there is none.
    #[schema(required = true)]
    pub avatar_url: Option<String>,
    /// Whether the user is an operator of this instance.
    pub operator: bool,
    /// When the user was registered.
    pub created_at: Timestamp,
    /// When the user was forgotten; `null` until then.
    #[schema(required = true)]
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

/// Loads the record of a user; an unknown user is not found.
pub(super) async fn user_record(state: &AppState, id: UserId) -> Result<UserRecord, ApiError> {
    Ok(or_not_found(state.tenure.reader().user(id).await, Resource::User)?.into())
}

/// Resolves `me`, an identifier or a username to a user. Does not authorize the caller.
pub(super) async fn named_user(state: &AppState, caller: Caller, slug: &str) -> Result<UserId, ApiError> {
    if slug == "me" {
        return caller.person();
    }
    let reader = state.tenure.reader();
    let user = match slug.parse() {
        Ok(id) => reader.user(id).await,
        Err(_) => reader.user_by_username(slug).await,
    };
    Ok(or_not_found(user, Resource::User)?.id)
}
