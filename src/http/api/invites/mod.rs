//! Offers of membership, as their account sees them.

pub mod create;
pub mod list;
pub mod revoke;
pub mod show;

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::dispatch::Dispatched;
use crate::http::error::{ApiError, or_not_found};
use crate::http::state::AppState;
use crate::ids::{AccountId, InviteId, UserId};
use crate::operations::Resource;
use crate::projections::invites::Invite;

/// An invite.
#[derive(Serialize, ToSchema)]
pub struct InviteRecord {
    /// The identifier.
    pub id: InviteId,
    /// The tenant that invites.
    pub account_id: AccountId,
    /// Its name, where the invited person asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_name: Option<String>,
    /// Who is invited; empty when it cannot be read any more.
    pub invitee_username: String,
    /// Who invites.
    pub inviter_user_id: UserId,
    /// `pending`, `accepted`, `declined`, `revoked` or `expired`.
    pub status: &'static str,
    /// When.
    pub created_at: Timestamp,
    /// When it was decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_at: Option<Timestamp>,
    /// From when on it is dead.
    pub expires_at: Timestamp,
}

impl InviteRecord {
    /// As it is at this time.
    pub fn at(now: Timestamp, invite: Invite, account_name: Option<String>) -> Self {
        Self {
            id: invite.id,
            account_id: invite.account_id,
            account_name,
            status: invite.status_at(now).as_str(),
            invitee_username: invite.invitee_username,
            inviter_user_id: invite.inviter_user_id,
            created_at: invite.created_at,
            decided_at: invite.decided_at,
            expires_at: invite.expires_at,
        }
    }
}

impl AppState {
    /// The record of an invite that was made, from what was committed.
    pub(in crate::http) async fn made_invite(
        &self,
        account: AccountId,
        done: &Dispatched<InviteId>,
    ) -> Result<InviteRecord, ApiError> {
        match done.made(Invite::made) {
            Some(invite) => Ok(InviteRecord::at(self.tenure.clock().now(), invite, None)),
            None => self.invite_record(account, done.answer).await,
        }
    }

    /// An invite of this account: another account's is not found.
    pub(in crate::http) async fn invite_record(
        &self,
        account: AccountId,
        id: InviteId,
    ) -> Result<InviteRecord, ApiError> {
        let invite = or_not_found(self.tenure.reader().invite(id).await, Resource::Invite)?;
        if invite.account_id != account {
            return Err(ApiError::not_found(Resource::Invite));
        }
        Ok(InviteRecord::at(self.tenure.clock().now(), invite, None))
    }
}
