//! `POST /api/v1/keys/verify`: whose a key is, for gateways.

use std::net::IpAddr;

use axum::Json;
use axum::extract::State;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::KeyRecord;
use crate::http::error::{ApiError, or_not_found};
use crate::http::extract::JsonCommand;
use crate::http::origin::Origin;
use crate::http::policy::Permission;
use crate::http::state::SharedState;
use crate::operations::Resource;

/// A key to verify.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyKey {
    /// The secret, as it was sent to the gateway.
    #[schema(value_type = String)]
    pub key: SecretString,
    /// The address of the gateway's client: bad keys are counted by whoever verifies them, and by it.
    #[schema(value_type = Option<String>, format = Ipv4)]
    pub address: Option<IpAddr>,
}

/// Whether a key is good, and whose.
#[derive(Serialize, ToSchema)]
pub struct Verification {
    /// Whether it is good at this moment.
    pub valid: bool,
    /// The key, if it is good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyRecord>,
}

/// Whose is this key?
///
/// For a key of the same account, its owner, and operators; a key of another account is `valid: false`, like one that is
/// unknown, expired or revoked. A key whose revocation was acknowledged before is never valid, on any node.
#[utoipa::path(post, path = "/api/v1/keys/verify", operation_id = "verifyKey", tag = "keys",
    request_body = VerifyKey, responses((status = 200, description = "Whether it is good", body = Verification)))]
pub async fn verify(
    State(state): State<SharedState>,
    from: Origin,
    command: JsonCommand<VerifyKey>,
) -> Result<Json<Verification>, ApiError> {
    let from = command.body.address.map_or(from, Origin);
    let key = match state.api_key(&command.body.key, command.caller, from).await {
        Ok(key) => key,
        Err(ApiError::BadCredential) => return Ok(Json(Verification { valid: false, key: None })),
        Err(error) => return Err(error),
    };
    let account = or_not_found(state.tenure.reader().account(key.account_id).await, Resource::Account)?;
    match state.authorize_account(command.caller, Permission::VerifyKeys, account).await {
        Ok(_) => Ok(Json(Verification { valid: true, key: Some(key.into()) })),
        Err(ApiError::Refused(_)) => Ok(Json(Verification { valid: false, key: None })),
        Err(error) => Err(error),
    }
}
