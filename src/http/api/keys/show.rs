//! `GET /api/v1/accounts/{account}/keys/{id}`: returns one API key.

use axum::extract::{Path, State};

use super::KeyRecord;
use crate::http::api::keys::key_record;
use crate::http::as_of::{AsOf, Shown, view};
use crate::http::error::{ApiError, id};
use crate::http::extract::{AuthenticatedRead, Parameters};
use crate::http::policy::Permission;
use crate::http::state::SharedState;
use crate::operations::Resource;

/// Get an API key
///
/// For the account's owner and operators.
#[utoipa::path(get, path = "/api/v1/accounts/{account}/keys/{id}", operation_id = "getKey", tag = "keys",
    params(("account" = String, Path, description = "The account's identifier or name"),
        ("id" = String, Path, description = "The key's identifier"), AsOf),
    responses((status = 200, description = "The API key", body = KeyRecord)))]
pub async fn show(
    State(state): State<SharedState>,
    read: AuthenticatedRead,
    Path((account, key)): Path<(String, String)>,
    Parameters(as_of): Parameters<AsOf>,
) -> Result<Shown<KeyRecord>, ApiError> {
    let view = view(&state, read.caller, Permission::Administer, &account, as_of).await?;
    let key = key_record(&view.reader, view.now.id, id(&key, Resource::ApiKey)?).await?;
    Ok(view.show(key))
}
