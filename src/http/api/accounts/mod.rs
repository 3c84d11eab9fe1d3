//! Tenants. `{account}` is an identifier or a name.

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

/// A tenant.
#[derive(Serialize, ToSchema)]
pub struct AccountRecord {
    /// The identifier.
    pub id: AccountId,
    /// The unique name.
    pub name: String,
    /// Who owns it.
    pub owner_user_id: UserId,
    /// Since when it is open.
    pub created_at: Timestamp,
    /// The public key of its account at NATS, once it has one.
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

impl AppState {
    /// The record of an account.
    pub(super) async fn account_record(&self, id: AccountId) -> Result<AccountRecord, ApiError> {
        Ok(or_not_found(self.tenure.reader().account(id).await, Resource::Account)?.into())
    }
}
