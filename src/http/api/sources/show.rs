//! `GET /api/v1/accounts/{account}/sources/{handle}`: one source.

use axum::Json;
use axum::extract::{Path, State};

use super::SourceRecord;
use crate::http::ask::Reading;
use crate::http::door::Shared;
use crate::http::error::DoorError;
use crate::http::policy::Act;

/// A source
///
/// For keys of the account, members, the owner and operators.
#[utoipa::path(get, path = "/api/v1/accounts/{account}/sources/{handle}", operation_id = "getSource",
    tag = "sources",
    params(("account" = String, Path, description = "An identifier or a name"),
        ("handle" = String, Path, description = "What the source is called")),
    responses((status = 200, description = "The source", body = SourceRecord)))]
pub async fn show(
    State(door): State<Shared>,
    reading: Reading,
    Path((account, handle)): Path<(String, String)>,
) -> Result<Json<SourceRecord>, DoorError> {
    let account = door.admit(reading.caller, Act::See, &account).await?;
    Ok(Json(door.source(account.id, &handle).await?.into()))
}
