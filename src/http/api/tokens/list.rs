//! `GET /api/v1/users/{user}/tokens`: lists the bearer tokens of a user.

use axum::Json;
use axum::extract::{Path, State};

use super::TokenRecord;
use crate::http::error::ApiError;
use crate::http::extract::{AuthenticatedRead, Parameters};
use crate::http::pagination::{Page, Paging, Wanted};
use crate::http::policy::authorize_self;
use crate::http::state::SharedState;
use crate::projections::page::TimeKey;

/// List the bearer tokens of a user
///
/// Oldest first, including revoked and expired tokens. For the user and operators.
#[utoipa::path(get, path = "/api/v1/users/{user}/tokens", operation_id = "listTokens", tag = "tokens",
    params(("user" = String, Path, description = "`me`, or the user's identifier or username"), Paging),
    responses((status = 200, description = "A page of bearer tokens", body = Page<TokenRecord>)))]
pub async fn list(
    State(state): State<SharedState>,
    read: AuthenticatedRead,
    Path(user): Path<String>,
    Parameters(paging): Parameters<Paging>,
) -> Result<Json<Page<TokenRecord>>, ApiError> {
    let user = authorize_self(&state, read.caller, &user).await?;
    let Wanted { bounds, after } = paging.wanted(&state).await?;
    let after = after.unwrap_or(TimeKey::OLDEST);
    let rows = state.tenure.reader().bearer_tokens_after(user, after, bounds.size + 1).await?;
    Ok(Json(Page::of(&state, rows, bounds, |row| row.key().to_string(), TokenRecord::from)?))
}
