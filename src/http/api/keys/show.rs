//! `GET /api/v1/accounts/{account}/keys/{id}`: one key.

use axum::Json;
use axum::extract::{Path, State};

use super::KeyRecord;
use crate::http::ask::Reading;
use crate::http::door::Shared;
use crate::http::error::{DoorError, id};
use crate::http::policy::Act;
use crate::operations::Thing;

/// A key
///
/// For the account's owner and for operators.
#[utoipa::path(get, path = "/api/v1/accounts/{account}/keys/{id}", operation_id = "getKey", tag = "keys",
    params(("account" = String, Path, description = "An identifier or a name"),
        ("id" = String, Path, description = "The key's identifier")),
    responses((status = 200, description = "The key", body = KeyRecord)))]
pub async fn show(
    State(door): State<Shared>,
    reading: Reading,
    Path((account, key)): Path<(String, String)>,
) -> Result<Json<KeyRecord>, DoorError> {
    let account = door.admit(reading.caller, Act::Own, &account).await?;
    door.key_record(account.id, id(&key, Thing::ApiKey)?).await.map(Json)
}
