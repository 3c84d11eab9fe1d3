//! `DELETE /api/v1/accounts/{account}/members/{user}`: a membership ends.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::http::error::{ApiError, or_not_found};
use crate::http::extract::{EmptyCommand, Parameters};
use crate::http::policy::Permission;
use crate::http::response::written;
use crate::http::state::SharedState;
use crate::ids::ApiKeyId;
use crate::operations::{EndedKeys, Resource};

/// What becomes of the keys that the person has minted.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Policy {
    /// Leave the API keys that the person has minted in the account as they are [default: false: they are revoked].
    pub keep_keys: Option<bool>,
}

/// What went with a membership.
#[derive(Serialize, ToSchema)]
pub struct Removed {
    /// How many API keys ended with it.
    pub revoked_api_key_count: u64,
    /// The oldest of them, at most 1,000.
    pub revoked_api_keys: Vec<ApiKeyId>,
}

/// End a membership
///
/// For the owner, for operators, and for members who leave (`me`).
#[utoipa::path(delete, path = "/api/v1/accounts/{account}/members/{user}", operation_id = "removeMember",
    tag = "members",
    params(("account" = String, Path, description = "An identifier or a name"),
        ("user" = String, Path, description = "`me`, an identifier or a username"), Policy),
    responses((status = 200, description = "What went with the membership", body = Removed)))]
pub async fn remove(
    State(state): State<SharedState>,
    Path((account, user)): Path<(String, String)>,
    Parameters(policy): Parameters<Policy>,
    command: EmptyCommand,
) -> Result<Response, ApiError> {
    let account = state.authorize(command.caller, Permission::ReadMembers, &account).await?;
    let me = command.caller.person()?;
    let own_name = or_not_found(state.tenure.reader().user(me).await, Resource::User)?.username;
    let authorize_self = user == "me" || user.parse() == Ok(me) || user.eq_ignore_ascii_case(&own_name);
    if !authorize_self {
        state.authorize_account(command.caller, Permission::Administer, account.clone()).await?;
    }
    let user = if authorize_self { me } else { state.user(command.caller, &user).await? };
    let done = if policy.keep_keys == Some(true) {
        state.tenure.remove_member_but_keep_keys(&command.context, account.id, user).await?
    } else {
        state.tenure.remove_member(&command.context, account.id, user).await?
    };
    let EndedKeys { count, first } = done.answer;
    Ok(written(
        StatusCode::OK,
        done.checkpoint,
        Removed { revoked_api_key_count: count, revoked_api_keys: first },
    ))
}
