//! `POST /api/v1/accounts/{account}/transfer`: an account gets another owner.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::AccountRecord;
use crate::http::answer::written;
use crate::http::ask::Ask;
use crate::http::door::Shared;
use crate::http::error::DoorError;
use crate::http::policy::Act;

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
    State(door): State<Shared>,
    Path(account): Path<String>,
    ask: Ask<Transfer>,
) -> Result<Response, DoorError> {
    // Whoever has given the account away may ask again what became of it; the engine knows who owns it now.
    let account = door.admit(ask.caller, Act::SeeMembers, &account).await?;
    let owns = door.admit_to(ask.caller, Act::Own, account.clone()).await;
    if ask.context.idempotency.is_none() {
        owns.as_ref().map_err(Clone::clone)?;
    }
    let to = door.user(ask.caller, &ask.body.to).await.map_err(|error| match owns {
        Ok(_) => error,
        Err(forbidden) => forbidden,
    })?;
    let done = door.tenure.transfer_ownership(&ask.context, account.id, to).await?;
    let account = if done.repeated {
        door.account_record(account.id).await?
    } else {
        AccountRecord { owner_user_id: to, ..account.into() }
    };
    Ok(written(StatusCode::OK, done.checkpoint, account))
}
