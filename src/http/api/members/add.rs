//! `PUT /api/v1/accounts/{account}/members/{user}`: adds a member to an account.

use axum::extract::{Path, State};
use axum::response::Response;

use crate::http::api::users::named_user;
use crate::http::error::ApiError;
use crate::http::extract::EmptyCommand;
use crate::http::policy::Permission;
use crate::http::policy::authorize;
use crate::http::response::done;
use crate::http::state::SharedState;

/// Add a member
///
/// Changes nothing if the user is already a member or the owner. For the account's owner and operators.
#[utoipa::path(put, path = "/api/v1/accounts/{account}/members/{user}", operation_id = "addMember", tag = "members",
    params(("account" = String, Path, description = "The account's identifier or name"),
        ("user" = String, Path, description = "`me`, or the user's identifier or username")),
    responses((status = 204, description = "The user belongs to the account")))]
pub async fn add(
    State(state): State<SharedState>,
    Path((account, user)): Path<(String, String)>,
    command: EmptyCommand,
) -> Result<Response, ApiError> {
    let account = authorize(&state, command.caller, Permission::Administer, &account).await?;
    let user = named_user(&state, command.caller, &user).await?;
    Ok(done(state.tenure.add_member(&command.context, account.id, user).await?.checkpoint))
}
