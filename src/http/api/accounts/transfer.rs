//! `POST /api/v1/accounts/{account}/transfer`: an account gets another owner.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::AccountRecord;
use crate::http::error::ApiError;
use crate::http::extract::JsonCommand;
use crate::http::policy::Permission;
use crate::http::response::written;
use crate::http::state::SharedState;

/// To whom.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// A member, by identifier or username.
    pub to: String,
}

/// Make a member the owner, and the owner a member
///
/// For the owner and for operators.
#[utoipa::path(post, path = "/api/v1/accounts/{account}/transfer", operation_id = "transferOwnership",
    tag = "accounts", params(("account" = String, Path, description = "An identifier or a name")),
    request_body = Transfer, responses((status = 200, description = "The account", body = AccountRecord)))]
pub async fn transfer(
    State(state): State<SharedState>,
    Path(account): Path<String>,
    command: JsonCommand<Transfer>,
) -> Result<Response, ApiError> {
    // Whoever has given the account away may ask again what became of it; the engine knows who owns it now.
    let account = state.authorize(command.caller, Permission::ReadMembers, &account).await?;
    let owns = state.authorize_account(command.caller, Permission::Administer, account.clone()).await;
    if command.context.idempotency.is_none() {
        owns.as_ref().map_err(Clone::clone)?;
    }
    let to = state.user(command.caller, &command.body.to).await.map_err(|error| match owns {
        Ok(_) => error,
        Err(forbidden) => forbidden,
    })?;
    let done = state.tenure.transfer_ownership(&command.context, account.id, to).await?;
    let account = if done.repeated {
        state.account_record(account.id).await?
    } else {
        AccountRecord { owner_user_id: to, ..account.into() }
    };
    Ok(written(StatusCode::OK, done.checkpoint, account))
}
