//! `GET /api/v1/users/{user}/default-account`: where a person acts when nothing is said.

use axum::Json;
use axum::extract::{Path, State};

use crate::http::api::accounts::AccountRecord;
use crate::http::error::{ApiError, or_not_found};
use crate::http::extract::AuthenticatedRead;
use crate::http::state::SharedState;
use crate::operations::Resource;

/// The account in which a person acts when nothing is said
///
/// The oldest that they own, else that of their oldest membership. For the person and for operators.
#[utoipa::path(get, path = "/api/v1/users/{user}/default-account", operation_id = "getDefaultAccount", tag = "users",
    params(("user" = String, Path, description = "`me`, an identifier or a username")),
    responses((status = 200, description = "The account", body = AccountRecord)))]
pub async fn default_account(
    State(state): State<SharedState>,
    read: AuthenticatedRead,
    Path(user): Path<String>,
) -> Result<Json<AccountRecord>, ApiError> {
    let user = state.authorize_self(read.caller, &user).await?;
    Ok(Json(or_not_found(state.tenure.reader().default_account_for(user).await, Resource::Account)?.into()))
}
