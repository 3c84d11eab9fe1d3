//! Parameters and response bodies shared by several ppz routes.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::clock::Timestamp;
use crate::http::api::invites::InviteRecord;

/// The account that the request acts in.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Org {
    /// The account's identifier [default: the API key's account, or the user's default account]. An API key can name
    /// only its own account.
    #[param(format = Uuid)]
    pub org: Option<String>,
}

/// A response with one invite.
#[derive(Serialize, ToSchema)]
pub struct OneInvite {
    /// The created invite.
    pub invite: InviteRecord,
}

/// A response with a list of invites.
#[derive(Serialize, ToSchema)]
pub struct Invites {
    /// The invites, in the order of the list.
    pub invites: Vec<InviteRecord>,
}

/// The last broadcast of a source.
#[derive(Serialize, ToSchema)]
pub struct LastBroadcast {
    /// When the source last broadcast; absent if it never has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_broadcast_at: Option<Timestamp>,
    /// The text of the last broadcast; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_broadcast_payload: Option<String>,
}
