//! Parameters and answers that several of these routes share.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::clock::Timestamp;
use crate::http::api::invites::InviteRecord;

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
