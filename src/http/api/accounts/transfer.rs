//! `POST /api/v1/accounts/{account}/transfer`: transfers an account to another owner.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::AccountRecord;
use crate::http::api::accounts::account_record;
use crate::http::api::users::named_user;
use crate::http::error::ApiError;
use crate::http::extract::JsonCommand;
use crate::http::policy::Permission;
use crate::http::policy::{authorize, authorize_account};
use crate::http::response::written;
use crate::http::state::SharedState;

/// The new owner of the account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TransferOwnership {
    /// The identifier or username of a member of the account.
    pub to: String,
}

/// Transfer an account to a member
///
/// The previous owner becomes a member. For the account's owner and operators.
#[utoipa::path(post, path = "/api/v1/accounts/{account}/transfer", operation_id = "transferOwnership",
    tag = "accounts", params(("account" = String, Path, description = "The account's identifier or name")),
    request_body = TransferOwnership, responses((status = 200, description = "The account", body = AccountRecord)))]
pub async fn transfer(
    State(state): State<SharedState>,
    Path(account): Path<String>,
    command: JsonCommand<TransferOwnership>,
) -> Result<Response, ApiError> {
    // A former owner, by then only a member, may repeat the request with its idempotency key: membership is enough to
    // get this far, and the engine decides.
    let account = authorize(&state, command.caller, Permission::ReadMembers, &account).await?;
    let owns = authorize_account(&state, command.caller, Permission::Administer, account.clone()).await;
    if command.context.idempotency.is_none() {
        owns.as_ref().map_err(Clone::clone)?;
    }
    // Without permission the caller must not learn whether the named user exists.
    let to = named_user(&state, command.caller, &command.body.to).await.map_err(|error| match owns {
        Ok(_) => error,
        Err(forbidden) => forbidden,
    })?;
    let done = state.tenure.transfer_ownership(&command.context, account.id, to).await?;
    let account = if done.repeated {
        // The account may have changed owner again since the first request.
        account_record(&state, account.id).await?
    } else {
        AccountRecord { owner_user_id: to, ..account.into() }
    };
    Ok(written(StatusCode::OK, done.checkpoint, account))
}
