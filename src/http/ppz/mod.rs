//! The routes that clients of ppz call: their paths, bodies and answers stay as they are.

pub mod accept_invite;
pub mod account_invites;
pub mod create_pipe;
pub mod create_source;
pub mod decline_invite;
pub mod delete_pipe;
pub mod delete_source;
pub mod invite;
pub mod list_sources;
pub mod my_invites;
pub mod revoke_invite;
pub mod revoke_key;
pub mod show_source;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::api::invites::InviteRecord;
use crate::clock::Timestamp;

/// In which account.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Org {
    /// The account's identifier [default: the key's account, or the person's default one].
    #[param(format = Uuid)]
    pub org: Option<String>,
}

/// An invite.
#[derive(Serialize, ToSchema)]
pub struct OneInvite {
    /// The invite.
    pub invite: InviteRecord,
}

/// Invites.
#[derive(Serialize, ToSchema)]
pub struct Invites {
    /// The invites.
    pub invites: Vec<InviteRecord>,
}

/// What a source last sent to all; absent until it has.
#[derive(Serialize, ToSchema)]
pub struct LastBroadcast {
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_broadcast_at: Option<Timestamp>,
    /// What.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_broadcast_payload: Option<String>,
}
