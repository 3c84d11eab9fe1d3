//! `DELETE /api/v1/accounts/{account}/members/{user}`: removes a member from an account.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::http::api::users::named_user;
use crate::http::error::{ApiError, or_not_found};
use crate::http::extract::{EmptyCommand, Parameters};
use crate::http::policy::Permission;
use crate::http::policy::{authorize, authorize_account};
use crate::http::response::written;
use crate::http::state::SharedState;
use crate::ids::ApiKeyId;
use crate::operations::{EndedKeys, Resource};

/// What happens to the API keys that the member minted in the account.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Policy {
    /// Keep the API keys that the member minted in the account [default: false: they are revoked]. Only the owner and
    /// operators can set it to true.
    pub keep_keys: Option<bool>,
}

/// The API keys that were revoked with a membership.
#[derive(Serialize, ToSchema)]
pub struct RemovedMember {
    /// The number of API keys revoked with the membership.
    pub revoked_api_key_count: u64,
    /// The identifiers of the revoked API keys: the oldest 1,000 if there are more.
    pub revoked_api_keys: Vec<ApiKeyId>,
}

/// Remove a member
///
/// For the account's owner and operators, and for members who leave the account themselves.
#[utoipa::path(delete, path = "/api/v1/accounts/{account}/members/{user}", operation_id = "removeMember",
    tag = "members",
    params(("account" = String, Path, description = "The account's identifier or name"),
        ("user" = String, Path, description = "`me`, or the user's identifier or username"), Policy),
    responses((status = 200, description = "The API keys that were revoked with the membership", body = RemovedMember)))]
pub async fn remove(
    State(state): State<SharedState>,
    Path((account, user)): Path<(String, String)>,
    Parameters(policy): Parameters<Policy>,
    command: EmptyCommand,
) -> Result<Response, ApiError> {
    let account = authorize(&state, command.caller, Permission::ReadMembers, &account).await?;
    let me = command.caller.person()?;
    // Members may name themselves by `me`, identifier or username: recognize the caller before the owner check.
    let own_name = or_not_found(state.tenure.reader().user(me).await, Resource::User)?.username;
    let authorize_self = user == "me" || user.parse() == Ok(me) || user.eq_ignore_ascii_case(&own_name);
    if !authorize_self {
        authorize_account(&state, command.caller, Permission::Administer, account.clone()).await?;
    }
    let user = if authorize_self { me } else { named_user(&state, command.caller, &user).await? };
    let done = if policy.keep_keys == Some(true) {
        state.tenure.remove_member_but_keep_keys(&command.context, account.id, user).await?
    } else {
        state.tenure.remove_member(&command.context, account.id, user).await?
    };
    let EndedKeys { count, first } = done.answer;
    Ok(written(
        StatusCode::OK,
        done.checkpoint,
        RemovedMember { revoked_api_key_count: count, revoked_api_keys: first },
    ))
}
