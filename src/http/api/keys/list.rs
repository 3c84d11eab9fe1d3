//! `GET /api/v1/accounts/{account}/keys`: all keys of an account.

use axum::Json;
use axum::extract::{Path, State};

use super::KeyRecord;
use crate::http::ask::{Parameters, Reading};
use crate::http::door::Shared;
use crate::http::error::DoorError;
use crate::http::page::{Page, Paging, page};
use crate::http::policy::Act;
use crate::projections::api_keys::ApiKey;

/// All keys of an account, the good ones first
///
/// For the owner and for operators; revoked and expired ones too.
#[utoipa::path(get, path = "/api/v1/accounts/{account}/keys", operation_id = "listKeys", tag = "keys",
    params(("account" = String, Path, description = "An identifier or a name"), Paging),
    responses((status = 200, description = "A page of keys", body = Page<KeyRecord>)))]
pub async fn list(
    State(door): State<Shared>,
    reading: Reading,
    Path(account): Path<String>,
    Parameters(paging): Parameters<Paging>,
) -> Result<Json<Page<KeyRecord>>, DoorError> {
    let account = door.admit(reading.caller, Act::Own, &account).await?;
    let now = door.tenure.clock().now();
    let keys = door.tenure.reader().api_keys_for_account(account.id, now).await?;
    let key = |key: &ApiKey| {
        let dead = key.revoked_at.is_some() || key.expires_at.is_some_and(|end| end <= now);
        format!("{}{}{}", u8::from(dead), key.created_at, key.id)
    };
    page(keys, &paging, key, KeyRecord::from).map(Json)
}
