//! `POST /api/v1/accounts`: an account is opened.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::AccountRecord;
use crate::http::error::ApiError;
use crate::http::extract::JsonCommand;
use crate::http::response::written;
use crate::http::state::SharedState;
use crate::projections::accounts::Account;

/// An account to open.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenAccount {
    /// The unique name; not of the form of a UUID.
    #[schema(
        pattern = "^(?![0-9a-fA-F]{32}$)(?![0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$)[A-Za-z0-9._-]{1,64}$"
    )]
    pub name: String,
    /// Who owns it, by identifier or username: whoever asks, if nothing is said. Somebody else for operators alone.
    pub owner: Option<String>,
}

/// Open an account
#[utoipa::path(post, path = "/api/v1/accounts", operation_id = "openAccount", tag = "accounts",
    request_body = OpenAccount, responses((status = 201, description = "The account", body = AccountRecord)))]
pub async fn open(
    State(state): State<SharedState>,
    command: JsonCommand<OpenAccount>,
) -> Result<Response, ApiError> {
    let me = command.caller.person()?;
    let owner = match &command.body.owner {
        None => me,
        Some(slug) => state.authorize_self(command.caller, slug).await?,
    };
    let done = state.tenure.open_account(&command.context, &command.body.name, Some(owner)).await?;
    let account = match done.made(Account::opened) {
        Some(account) => account.into(),
        None => state.account_record(done.answer).await?,
    };
    Ok(written(StatusCode::CREATED, done.checkpoint, account))
}
