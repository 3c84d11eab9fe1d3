//! Parameters and response bodies shared by several ppz routes.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::clock::Timestamp;
use crate::http::api::invites::InviteRecord;

/// The account that the request acts in. Empty is as good as absent, and other query parameters are ignored.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Org {
    /// The account's identifier [default: the API key's account, or the user's default account]. An API key can name
    /// only its own account.
    #[param(pattern = "^([0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})?$")]
    pub org: Option<String>,
}

impl<S: Sync> FromRequestParts<S> for Org {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let mut pairs = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
        let named = pairs.find(|(name, value)| name == "org" && !value.is_empty());
        Ok(Self { org: named.map(|(_, value)| value.into_owned()) })
    }
}

/// A response with one invite.
#[derive(Serialize, ToSchema)]
pub struct PpzCreatedInvite {
    /// The created invite.
    pub invite: InviteRecord,
}

/// A response with a list of invites.
#[derive(Serialize, ToSchema)]
pub struct PpzInviteList {
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
