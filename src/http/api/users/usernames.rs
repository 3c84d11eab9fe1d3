//! `POST /api/v1/usernames`: the names of many people at once.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::ask::Ask;
use crate::http::body::MAX_LONG_BODY;
use crate::http::door::Shared;
use crate::http::error::DoorError;
use crate::ids::UserId;

/// The most names of one request.
const MOST: usize = 10_000;

/// Whose names.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UsernamesOf {
    /// At most 10,000 identifiers.
    #[schema(max_items = 10_000)]
    pub ids: Vec<UserId>,
}

/// The names.
#[derive(Serialize, ToSchema)]
pub struct Usernames {
    /// By identifier; who is unknown is absent.
    pub usernames: BTreeMap<String, String>,
}

/// The names of many people
///
/// For operators. Changes nothing.
#[utoipa::path(post, path = "/api/v1/usernames", operation_id = "getUsernames", tag = "users",
    request_body = UsernamesOf, responses((status = 200, description = "The names", body = Usernames)))]
pub async fn usernames(
    State(door): State<Shared>,
    ask: Ask<UsernamesOf, MAX_LONG_BODY>,
) -> Result<Json<Usernames>, DoorError> {
    door.operator(ask.caller).await?;
    if ask.body.ids.len() > MOST {
        return Err(DoorError::field("ids", "at most 10000"));
    }
    let names = door.tenure.reader().usernames_by_ids(&ask.body.ids).await?;
    Ok(Json(Usernames { usernames: names.into_iter().map(|(id, name)| (id.to_string(), name)).collect() }))
}
