//! `DELETE /api/v1/users/{user}/operator`: a person runs the instance no longer.

use axum::extract::{Path, State};
use axum::response::Response;

use crate::http::answer::done;
use crate::http::ask::Wish;
use crate::http::door::Shared;
use crate::http::error::DoorError;

/// A person runs the instance no longer
///
/// For operators; again, nothing changes.
#[utoipa::path(delete, path = "/api/v1/users/{user}/operator", operation_id = "revokeOperator", tag = "users",
    params(("user" = String, Path, description = "`me`, an identifier or a username")),
    responses((status = 204, description = "It is so")))]
pub async fn revoke_operator(
    State(door): State<Shared>,
    Path(user): Path<String>,
    wish: Wish,
) -> Result<Response, DoorError> {
    door.operator(wish.caller).await?;
    let user = door.user(wish.caller, &user).await?;
    Ok(done(door.tenure.set_operator(&wish.context, user, false).await?.checkpoint))
}
