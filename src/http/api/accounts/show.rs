//! `GET /api/v1/accounts/{account}`: one tenant.

use axum::Json;
use axum::extract::{Path, State};

use super::AccountRecord;
use crate::http::ask::Reading;
use crate::http::door::Shared;
use crate::http::error::DoorError;
use crate::http::policy::Act;

/// An account
///
/// For its members, its owner, its keys, and operators; for anybody else it is not found.
#[utoipa::path(get, path = "/api/v1/accounts/{account}", operation_id = "getAccount", tag = "accounts",
    params(("account" = String, Path, description = "An identifier or a name")),
    responses((status = 200, description = "The account", body = AccountRecord)))]
pub async fn show(
    State(door): State<Shared>,
    reading: Reading,
    Path(account): Path<String>,
) -> Result<Json<AccountRecord>, DoorError> {
    Ok(Json(door.admit(reading.caller, Act::See, &account).await?.into()))
}
