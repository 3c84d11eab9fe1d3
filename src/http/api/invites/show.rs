//! `GET /api/v1/accounts/{account}/invites/{id}`: returns one invite.

use axum::extract::{Path, State};

use super::InviteRecord;
use crate::http::api::invites::invite_record;
use crate::http::as_of::{AsOf, Shown, view};
use crate::http::error::{ApiError, id};
use crate::http::extract::{AuthenticatedRead, Parameters};
use crate::http::policy::Permission;
use crate::http::state::SharedState;
use crate::operations::Resource;

/// Get an invite
///
/// For the account's owner and operators.
#[utoipa::path(get, path = "/api/v1/accounts/{account}/invites/{id}", operation_id = "getInvite", tag = "invites",
    params(("account" = String, Path, description = "The account's identifier or name"),
        ("id" = String, Path, description = "The invite's identifier"), AsOf),
    responses((status = 200, description = "The invite", body = InviteRecord)))]
pub async fn show(
    State(state): State<SharedState>,
    read: AuthenticatedRead,
    Path((account, invite)): Path<(String, String)>,
    Parameters(as_of): Parameters<AsOf>,
) -> Result<Shown<InviteRecord>, ApiError> {
    let view = view(&state, read.caller, Permission::Administer, &account, as_of).await?;
    let invite = invite_record(&view.reader, view.at, &view.account, id(&invite, Resource::Invite)?).await?;
    Ok(view.show(invite))
}
