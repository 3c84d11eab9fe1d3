//! `GET /api/v1/accounts/{account}/keys`: all keys of an account.

use axum::Json;
use axum::extract::{Path, State};

use super::KeyRecord;
use crate::http::ask::{Parameters, Reading};
use crate::http::door::Shared;
use crate::http::error::DoorError;
use crate::http::page::{Page, Paging};
use crate::http::policy::Act;

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
    let (reader, size) = (door.tenure.reader(), paging.size()?);
    let after = match paging.after_key()? {
        Some(after) => after,
        None => reader.api_keys_begin(door.tenure.clock().now()).await?,
    };
    let keys = reader.api_keys_after(account.id, after, size + 1).await?;
    Ok(Json(Page::of(keys, size, |(_, place)| place.to_string(), |(key, _)| KeyRecord::from(key))))
}
