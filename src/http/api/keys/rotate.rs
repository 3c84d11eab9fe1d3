//! `POST /api/v1/accounts/{account}/keys/{id}/rotate`: a key gets another secret.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{KeyRecord, KeySecret};
use crate::http::answer;
use crate::http::ask::Ask;
use crate::http::door::Shared;
use crate::http::error::{DoorError, id};
use crate::http::policy::Act;
use crate::operations::Thing;
use crate::projections::api_keys::ApiKey;

/// How to rotate.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateKey {
    /// For how many seconds the former secret stays good.
    #[schema(minimum = 0, maximum = 2_592_000, default = 86_400)]
    #[serde(default, deserialize_with = "crate::http::number::whole")]
    pub grace_seconds: Option<u64>,
}

/// For how many seconds the former secret stays good when nothing is said: a day.
const USUAL_GRACE: u64 = 86_400;

/// Give a key another secret
///
/// For the account's owner and for operators. The secret is in this answer and nowhere else.
#[utoipa::path(post, path = "/api/v1/accounts/{account}/keys/{id}/rotate", operation_id = "rotateKey", tag = "keys",
    params(("account" = String, Path, description = "An identifier or a name"),
        ("id" = String, Path, description = "The key's identifier")),
    request_body = RotateKey, responses((status = 200, description = "The key and its secret", body = KeySecret)))]
pub async fn rotate(
    State(door): State<Shared>,
    Path((account, key)): Path<(String, String)>,
    ask: Ask<RotateKey>,
) -> Result<Response, DoorError> {
    let account = door.admit(ask.caller, Act::Own, &account).await?;
    let (key, grace) =
        (id(&key, Thing::ApiKey)?, Duration::from_secs(ask.body.grace_seconds.unwrap_or(USUAL_GRACE)));
    // What the rotation leaves as it is.
    let before = door.key_record(account.id, key).await?;
    let rotated = door.tenure.rotate_api_key(&ask.context, Some(account.id), key, grace).await;
    let done = rotated.map_err(|error| DoorError::from(error).renamed("grace", "grace_seconds"))?;
    let made = done.made(ApiKey::rotated).map(|key_prefix| KeyRecord { key_prefix, ..before });
    let mut response = door.key_secret(account.id, StatusCode::OK, done, made).await?;
    response.headers_mut().insert(axum::http::header::CACHE_CONTROL, answer::NO_STORE);
    Ok(response)
}
