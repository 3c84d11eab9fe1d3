//! `GET /api/v1/users/{user}/tokens`: all tokens of a person.

use axum::Json;
use axum::extract::{Path, State};

use super::TokenRecord;
use crate::http::ask::{Parameters, Reading};
use crate::http::door::Shared;
use crate::http::error::DoorError;
use crate::http::page::{Page, Paging, page};
use crate::projections::bearer_tokens::BearerToken;

/// All tokens of a person, oldest first
///
/// For the person and for operators; revoked and expired ones too.
#[utoipa::path(get, path = "/api/v1/users/{user}/tokens", operation_id = "listTokens", tag = "tokens",
    params(("user" = String, Path, description = "`me`, an identifier or a username"), Paging),
    responses((status = 200, description = "A page of tokens", body = Page<TokenRecord>)))]
pub async fn list(
    State(door): State<Shared>,
    reading: Reading,
    Path(user): Path<String>,
    Parameters(paging): Parameters<Paging>,
) -> Result<Json<Page<TokenRecord>>, DoorError> {
    let user = door.oneself(reading.caller, &user).await?;
    let tokens = door.tenure.reader().bearer_tokens_for_user(user).await?;
    let key = |token: &BearerToken| format!("{}{}", token.created_at, token.id);
    page(tokens, &paging, key, TokenRecord::from).map(Json)
}
