//! `GET /api/v1/users/{user}/default-account`: returns the default account of a user.

use axum::Json;
use axum::extract::{Path, State};

use crate::http::api::accounts::AccountRecord;
use crate::http::error::{ApiError, or_not_found};
use crate::http::extract::AuthenticatedRead;
use crate::http::policy::authorize_self;
use crate::http::state::SharedState;
use crate::operations::Resource;

/// Get the default account of a user
///
/// The account used when a request names none: the one the user has owned longest, or else the one of their oldest
/// membership. For the user and operators.
#[utoipa::path(get, path = "/api/v1/users/{user}/default-account", operation_id = "getDefaultAccount", tag = "users",
    params(("user" = String, Path, description = "`me`, or the user's identifier or username")),
    responses((status = 200, description = "The account", body = AccountRecord)))]
pub async fn default_account(
    State(state): State<SharedState>,
    read: AuthenticatedRead,
    Path(user): Path<String>,
) -> Result<Json<AccountRecord>, ApiError> {
    let user = authorize_self(&state, read.caller, &user).await?;
    Ok(Json(or_not_found(state.tenure.reader().default_account_for(user).await, Resource::Account)?.into()))
}
