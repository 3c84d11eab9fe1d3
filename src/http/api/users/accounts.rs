//! `GET /api/v1/users/{user}/accounts`: what a person owns or is a member of.

use axum::Json;
use axum::extract::{Path, State};

use crate::http::api::accounts::AccountRecord;
use crate::http::ask::{Parameters, Reading};
use crate::http::door::Shared;
use crate::http::error::DoorError;
use crate::http::page::{Page, Paging};

/// The accounts that a person owns or is a member of, by name
///
/// For the person and for operators.
#[utoipa::path(get, path = "/api/v1/users/{user}/accounts", operation_id = "listAccountsOfUser", tag = "users",
    params(("user" = String, Path, description = "`me`, an identifier or a username"), Paging),
    responses((status = 200, description = "A page of accounts", body = Page<AccountRecord>)))]
pub async fn accounts(
    State(door): State<Shared>,
    reading: Reading,
    Path(user): Path<String>,
    Parameters(paging): Parameters<Paging>,
) -> Result<Json<Page<AccountRecord>>, DoorError> {
    let user = door.oneself(reading.caller, &user).await?;
    let (size, after) = (paging.size()?, paging.after()?.unwrap_or_default());
    let accounts = door.tenure.reader().accounts_for_user_after(user, &after, size + 1).await?;
    Ok(Json(Page::of(accounts, size, |account| account.name.clone(), AccountRecord::from)))
}
