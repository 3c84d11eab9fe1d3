//! `GET /api/v1/users/{user}/default-account`: where a person acts when nothing is said.

use axum::Json;
use axum::extract::{Path, State};

use crate::http::api::accounts::AccountRecord;
use crate::http::ask::Reading;
use crate::http::door::Shared;
use crate::http::error::{DoorError, found};
use crate::operations::Thing;

/// The account in which a person acts when nothing is said
///
/// The oldest that they own, else that of their oldest membership. For the person and for operators.
#[utoipa::path(get, path = "/api/v1/users/{user}/default-account", operation_id = "getDefaultAccount", tag = "users",
    params(("user" = String, Path, description = "`me`, an identifier or a username")),
    responses((status = 200, description = "The account", body = AccountRecord)))]
pub async fn default_account(
    State(door): State<Shared>,
    reading: Reading,
    Path(user): Path<String>,
) -> Result<Json<AccountRecord>, DoorError> {
    let user = door.oneself(reading.caller, &user).await?;
    Ok(Json(found(door.tenure.reader().default_account_for(user).await, Thing::Account)?.into()))
}
