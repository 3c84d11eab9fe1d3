//! `GET /api/v1/users/{user}/explain`: tells the story of a user.

use axum::Json;
use axum::extract::{Path, State};

use super::{Part, StoryPage, story, viewer};
use crate::explain::{Thing, Viewer};
use crate::http::error::ApiError;
use crate::http::extract::{AuthenticatedRead, Parameters};
use crate::http::policy::authorize_self;
use crate::http::state::SharedState;

/// Explain a user
///
/// The story of a user as a timeline: their registration and profile, their tokens and sessions, the invites to them and what concerns
/// them in accounts that they belong to; who did it with which credential, on whose behalf and because of what. Operators are also told
/// of accounts that the user was invited to and belongs to no more. The stories of accounts tell of the keys that the user minted, and
/// of memberships that have ended. For the user and operators.
#[utoipa::path(get, path = "/api/v1/users/{user}/explain", operation_id = "explainUser", tag = "events",
    params(("user" = String, Path, description = "`me`, or the user's identifier or name"), Part),
    responses((status = 200, description = "A part of the story", body = StoryPage)))]
pub async fn of_user(
    State(state): State<SharedState>,
    read: AuthenticatedRead,
    Path(user): Path<String>,
    Parameters(part): Parameters<Part>,
) -> Result<Json<StoryPage>, ApiError> {
    let user = authorize_self(&state, read.caller, &user).await?;
    let viewer = viewer(&state, read.caller, Viewer::User(user)).await?;
    story(&state, Thing::User(user), viewer, part).await.map(Json)
}
