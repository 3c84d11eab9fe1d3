//! `PUT /api/v1/accounts/{account}/members/{user}`: a person becomes a member.

use axum::extract::{Path, State};
use axum::response::Response;

use crate::http::error::ApiError;
use crate::http::extract::EmptyCommand;
use crate::http::policy::Permission;
use crate::http::response::done;
use crate::http::state::SharedState;

/// Make a person a member
///
/// For the owner and for operators; who belongs to the account already stays as they are.
#[utoipa::path(put, path = "/api/v1/accounts/{account}/members/{user}", operation_id = "addMember", tag = "members",
    params(("account" = String, Path, description = "An identifier or a name"),
        ("user" = String, Path, description = "`me`, an identifier or a username")),
    responses((status = 204, description = "The person belongs to the account")))]
pub async fn add(
    State(state): State<SharedState>,
    Path((account, user)): Path<(String, String)>,
    command: EmptyCommand,
) -> Result<Response, ApiError> {
    let account = state.authorize(command.caller, Permission::Administer, &account).await?;
    let user = state.user(command.caller, &user).await?;
    Ok(done(state.tenure.add_member(&command.context, account.id, user).await?.checkpoint))
}
