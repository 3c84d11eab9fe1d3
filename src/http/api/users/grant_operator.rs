//! `PUT /api/v1/users/{user}/operator`: a person runs the instance.

use axum::extract::{Path, State};
use axum::response::Response;

use crate::http::answer::done;
use crate::http::ask::Wish;
use crate::http::door::Shared;
use crate::http::error::DoorError;

/// Let a person run the instance
///
/// For operators; again, nothing changes.
#[utoipa::path(put, path = "/api/v1/users/{user}/operator", operation_id = "grantOperator", tag = "users",
    params(("user" = String, Path, description = "`me`, an identifier or a username")),
    responses((status = 204, description = "It is so")))]
pub async fn grant_operator(
    State(door): State<Shared>,
    Path(user): Path<String>,
    wish: Wish,
) -> Result<Response, DoorError> {
    door.operator(wish.caller).await?;
    let user = door.user(wish.caller, &user).await?;
    Ok(done(door.tenure.set_operator(&wish.context, user, true).await?.checkpoint))
}
