//! Routes for accounts. `{account}` in a path is an identifier or a name.

pub mod close;
pub mod list;
pub mod open;
pub mod show;
pub mod transfer;

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::http::error::{ApiError, or_not_found};
use crate::http::state::AppState;
use crate::ids::{AccountId, UserId};
use crate::operations::Resource;
use crate::projections::accounts::Account;

/// An account: the tenant that owns API keys, sources and pipes.
#[derive(Serialize, ToSchema)]
pub struct AccountRecord {
    /// The account's identifier.
    pub id: AccountId,
    /// The account's unique name; empty if it can no longer be decrypted.
    pub name: String,
    /// The identifier of the user who owns the account.
    pub owner_user_id: UserId,
    /// When the account was opened.
    pub created_at: Timestamp,
    /// The public key of the account's NATS account; `null` until it has one.
    #[schema(required = true)]
    pub nats_account_pub: Option<String>,
}

impl From<Account> for AccountRecord {
    fn from(account: Account) -> Self {
        Self {
            id: account.id,
            name: account.name,
            owner_user_id: account.owner_user_id,
            created_at: account.created_at,
            nats_account_pub: account.nats_account_pub,
        }
    }
}

/// Loads the record of an account; an unknown or closed account is not found.
pub(super) async fn account_record(state: &AppState, id: AccountId) -> Result<AccountRecord, ApiError> {
    Ok(or_not_found(state.tenure.reader().account(id).await, Resource::Account)?.into())
}
