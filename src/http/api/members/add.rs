//! `PUT /api/v1/accounts/{account}/members/{user}`: a person becomes a member.

use axum::extract::{Path, State};
use axum::response::Response;

use crate::http::answer::done;
use crate::http::ask::Wish;
use crate::http::door::Shared;
use crate::http::error::DoorError;
use crate::http::policy::Act;

/// Make a person a member
///
/// For the owner and for operators; who belongs to the account already stays as they are.
#[utoipa::path(put, path = "/api/v1/accounts/{account}/members/{user}", operation_id = "addMember", tag = "members",
    params(("account" = String, Path, description = "An identifier or a name"),
        ("user" = String, Path, description = "`me`, an identifier or a username")),
    responses((status = 204, description = "The person belongs to the account")))]
pub async fn add(
    State(door): State<Shared>,
    Path((account, user)): Path<(String, String)>,
    wish: Wish,
) -> Result<Response, DoorError> {
    let account = door.admit(wish.caller, Act::Own, &account).await?;
    let user = door.user(wish.caller, &user).await?;
    Ok(done(door.tenure.add_member(&wish.context, account.id, user).await?.checkpoint))
}
