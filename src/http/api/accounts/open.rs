//! `POST /api/v1/accounts`: opens an account.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::AccountRecord;
use crate::http::api::accounts::account_record;
use crate::http::error::ApiError;
use crate::http::extract::JsonCommand;
use crate::http::policy::authorize_self;
use crate::http::response::written;
use crate::http::state::SharedState;
use crate::projections::accounts::Account;

/// The name and owner of a new account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenAccount {
    /// A unique name, but not `me`, `.`, `..` or a UUID.
    #[schema(
        pattern = "^(?!\\.{1,2}$)(?![Mm][Ee]$)(?![0-9a-fA-F]{32}$)(?![0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$)[A-Za-z0-9._-]{1,64}$"
    )]
    pub name: String,
    /// The owner's identifier or username [default: the caller]. Only operators can name another user.
    pub owner: Option<String>,
}

/// Open an account
///
/// For users. An account has one owner; without `owner` that is the caller.
#[utoipa::path(post, path = "/api/v1/accounts", operation_id = "openAccount", tag = "accounts",
    request_body = OpenAccount, responses((status = 201, description = "The account", body = AccountRecord)))]
pub async fn open(
    State(state): State<SharedState>,
    command: JsonCommand<OpenAccount>,
) -> Result<Response, ApiError> {
    let me = command.caller.person()?;
    let owner = match &command.body.owner {
        None => me,
        Some(slug) => authorize_self(&state, command.caller, slug).await?,
    };
    let done = state.tenure.open_account(&command.context, &command.body.name, Some(owner)).await?;
    let account = match done.made(Account::opened) {
        Some(account) => account.into(),
        // A repeated request stores no event to build the record from.
        None => account_record(&state, done.answer).await?,
    };
    Ok(written(StatusCode::CREATED, done.checkpoint, account))
}
