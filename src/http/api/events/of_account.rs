//! `GET /api/v1/accounts/{account}/events`: lists the events of an account.

use axum::Json;
use axum::extract::{Path, State};

use super::{EventPage, Feed};
use crate::http::api::events::feed;
use crate::http::error::ApiError;
use crate::http::extract::{AuthenticatedRead, Parameters};
use crate::http::policy::Permission;
use crate::http::policy::authorize;
use crate::http::state::SharedState;

/// List the events of an account
///
/// For the account's members and owner, and operators.
#[utoipa::path(get, path = "/api/v1/accounts/{account}/events", operation_id = "listAccountEvents", tag = "events",
    params(("account" = String, Path, description = "The account's identifier or name"), Feed),
    responses((status = 200, description = "A page of events", body = EventPage)))]
pub async fn of_account(
    State(state): State<SharedState>,
    read: AuthenticatedRead,
    Path(account): Path<String>,
    Parameters(query): Parameters<Feed>,
) -> Result<Json<EventPage>, ApiError> {
    let account = authorize(&state, read.caller, Permission::ReadHistory, &account).await?;
    feed(&state, query, Some(account.id.as_uuid())).await
}
