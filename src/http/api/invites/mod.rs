//! Routes for the invites of an account.

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
use crate::projections::Reader;
use crate::projections::accounts::Account;
use crate::projections::invites::Invite;

/// An invite: an offer of membership in an account.
#[derive(Serialize, ToSchema)]
pub struct InviteRecord {
    /// The invite's identifier.
    pub id: InviteId,
    /// The account that the invite is for.
    pub account_id: AccountId,
    /// The account's name.
    pub account_name: String,
    /// The invitee's username; empty if it can no longer be decrypted.
    pub invitee_username: String,
    /// The identifier of the user who created the invite.
    pub inviter_user_id: UserId,
    /// The status: `pending`, `accepted`, `declined`, `revoked` or `expired`.
    pub status: &'static str,
    /// When the invite was created.
    pub created_at: Timestamp,
    /// When the invite was accepted, declined or revoked; absent until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_at: Option<Timestamp>,
    /// When the invite expires; it cannot be accepted from then on.
    pub expires_at: Timestamp,
}

impl InviteRecord {
    /// The record of an invite as of `now`, which decides whether a pending invite has expired.
    pub fn at(now: Timestamp, invite: Invite, account_name: String) -> Self {
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

/// The record of a new invite, built from the committed event; read from the database if the request is a
/// repetition.
pub(in crate::http) async fn created_invite(
    state: &AppState,
    account: &Account,
    done: &Dispatched<InviteId>,
) -> Result<InviteRecord, ApiError> {
    match done.made(Invite::made) {
        Some(invite) => Ok(InviteRecord::at(state.tenure.clock().now(), invite, account.name.clone())),
        None => invite_record(state.tenure.reader(), state.tenure.clock().now(), account, done.answer).await,
    }
}

/// The record of an invite of this account; an invite of another account is not found.
pub(in crate::http) async fn invite_record(
    reader: &Reader,
    now: Timestamp,
    account: &Account,
    id: InviteId,
) -> Result<InviteRecord, ApiError> {
    let invite = or_not_found(reader.invite(id).await, Resource::Invite)?;
    if invite.account_id != account.id {
        return Err(ApiError::not_found(Resource::Invite));
    }
    Ok(InviteRecord::at(now, invite, account.name.clone()))
}
