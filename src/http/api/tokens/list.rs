//! `GET /api/v1/users/{user}/tokens`: all tokens of a person.

use axum::Json;
use axum::extract::{Path, State};

use super::TokenRecord;
use crate::http::error::ApiError;
use crate::http::extract::{AuthenticatedRead, Parameters};
use crate::http::pagination::{Page, Paging};
use crate::http::state::SharedState;
use crate::projections::page::TimeKey;

/// All tokens of a person, oldest first
///
/// For the person and for operators; revoked and expired ones too.
#[utoipa::path(get, path = "/api/v1/users/{user}/tokens", operation_id = "listTokens", tag = "tokens",
    params(("user" = String, Path, description = "`me`, an identifier or a username"), Paging),
    responses((status = 200, description = "A page of tokens", body = Page<TokenRecord>)))]
pub async fn list(
    State(state): State<SharedState>,
    read: AuthenticatedRead,
    Path(user): Path<String>,
    Parameters(paging): Parameters<Paging>,
) -> Result<Json<Page<TokenRecord>>, ApiError> {
    let user = state.authorize_self(read.caller, &user).await?;
    let (size, after) = (paging.size()?, paging.after_key()?.unwrap_or(TimeKey::OLDEST));
    let rows = state.tenure.reader().bearer_tokens_after(user, after, size + 1).await?;
    Ok(Json(Page::of(rows, size, |row| row.key().to_string(), TokenRecord::from)))
}
