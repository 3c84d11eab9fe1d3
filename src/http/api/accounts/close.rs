//! `DELETE /api/v1/accounts/{account}`: an account ends.

use axum::extract::{Path, State};
use axum::response::Response;

use crate::http::answer::done;
use crate::http::ask::Wish;
use crate::http::door::Shared;
use crate::http::error::DoorError;
use crate::http::policy::Act;

/// Close an account
///
/// Revokes its keys and invites and deletes its sources in one step; its name is free again, and what was sealed for it
/// is unreadable from then on. For its owner and for operators.
#[utoipa::path(delete, path = "/api/v1/accounts/{account}", operation_id = "closeAccount", tag = "accounts",
    params(("account" = String, Path, description = "An identifier or a name")),
    responses((status = 204, description = "It is closed")))]
pub async fn close(
    State(door): State<Shared>,
    Path(account): Path<String>,
    wish: Wish,
) -> Result<Response, DoorError> {
    let account = door.admit(wish.caller, Act::Own, &account).await?;
    Ok(done(door.tenure.close_account(&wish.context, account.id).await?.checkpoint))
}
