//! `POST /api/v1/keys/verify`: verifies an API key for a gateway.

use std::net::IpAddr;

use axum::Json;
use axum::extract::State;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::schema::{AnyOfBuilder, KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};

use super::KeyRecord;
use crate::http::caller::authenticate_api_key;
use crate::http::error::{ApiError, or_not_found};
use crate::http::extract::JsonCommand;
use crate::http::origin::Origin;
use crate::http::policy::Permission;
use crate::http::policy::authorize_account;
use crate::http::state::SharedState;
use crate::operations::Resource;

/// The API key to verify.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyKey {
    /// The secret, as the client sent it to the gateway.
    #[schema(value_type = String)]
    pub key: SecretString,
    /// The IP address of the gateway's client [default: the address of this request]. Invalid keys are counted per
    /// caller and per this address.
    #[schema(schema_with = address, required = false)]
    pub address: Option<IpAddr>,
}

/// Whether an API key is valid, and its record if it is.
#[derive(Serialize, ToSchema)]
pub struct KeyVerification {
    /// Whether the key is valid at this moment.
    pub valid: bool,
    /// The key's record; absent if the key is not valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyRecord>,
}

/// The schema of an address of either family.
fn address() -> Schema {
    let of = |format| {
        ObjectBuilder::new().schema_type(Type::String).format(Some(SchemaFormat::KnownFormat(format)))
    };
    AnyOfBuilder::new()
        .item(of(KnownFormat::Ipv4))
        .item(of(KnownFormat::Ipv6))
        .item(ObjectBuilder::new().schema_type(Type::Null))
        .into()
}

/// Verify an API key
///
/// For API keys of the same account, its owner, and operators. To other callers the key is `valid: false`, like an
/// unknown, expired or revoked key. Once a revocation has been acknowledged, no node reports the key as valid.
#[utoipa::path(post, path = "/api/v1/keys/verify", operation_id = "verifyKey", tag = "keys",
    request_body = VerifyKey, responses((status = 200, description = "Whether the key is valid", body = KeyVerification)))]
pub async fn verify(
    State(state): State<SharedState>,
    from: Origin,
    command: JsonCommand<VerifyKey>,
) -> Result<Json<KeyVerification>, ApiError> {
    let from = command.body.address.map_or(from, Origin);
    let key = match authenticate_api_key(&state, &command.body.key, command.caller, from).await {
        Ok(key) => key,
        Err(ApiError::BadCredential) => return Ok(Json(KeyVerification { valid: false, key: None })),
        Err(error) => return Err(error),
    };
    let account = or_not_found(state.tenure.reader().account(key.account_id).await, Resource::Account)?;
    match authorize_account(&state, command.caller, Permission::VerifyKeys, account).await {
        Ok(_) => Ok(Json(KeyVerification { valid: true, key: Some(key.into()) })),
        // The same response as for an unknown key: callers must not learn about keys of other accounts.
        Err(ApiError::Refused(_)) => Ok(Json(KeyVerification { valid: false, key: None })),
        Err(error) => Err(error),
    }
}
