//! `GET /api/v1/accounts/{account}/members`: who belongs to an account.

use axum::Json;
use axum::extract::{Path, State};

use super::MemberRecord;
use crate::http::ask::{Parameters, Reading};
use crate::http::door::Shared;
use crate::http::error::{DoorError, found};
use crate::http::page::{Page, Paging};
use crate::http::policy::Act;
use crate::operations::Thing;
use crate::projections::page::Place;

/// Who belongs to an account: the owner, then the members, oldest membership first
///
/// For members, the owner and operators.
#[utoipa::path(get, path = "/api/v1/accounts/{account}/members", operation_id = "listMembers", tag = "members",
    params(("account" = String, Path, description = "An identifier or a name"), Paging),
    responses((status = 200, description = "A page of people", body = Page<MemberRecord>)))]
pub async fn list(
    State(door): State<Shared>,
    reading: Reading,
    Path(account): Path<String>,
    Parameters(paging): Parameters<Paging>,
) -> Result<Json<Page<MemberRecord>>, DoorError> {
    let account = door.admit(reading.caller, Act::SeeMembers, &account).await?;
    let reader = door.tenure.reader();
    let (size, cursor) = (paging.size()?, paging.after_key::<Place>()?);
    let after = match cursor {
        Some(after) => after,
        None => reader.members_begin().await?,
    };
    let mut people = Vec::new();
    if cursor.is_none() {
        let owner = found(reader.user(account.owner_user_id).await, Thing::User)?;
        let (user_id, username) = (owner.id, owner.username);
        let record = MemberRecord { user_id, username, role: "owner", since: account.created_at };
        people.push((after, record));
    }
    let members = reader.members_after(account.id, after, size + 1).await?;
    people.extend(members.into_iter().map(|member| {
        let (place, user_id, username) = (member.place(after.newest), member.user.id, member.user.username);
        (place, MemberRecord { user_id, username, role: "member", since: member.added_at })
    }));
    Ok(Json(Page::of(people, size, |(place, _)| place.to_string(), |(_, person)| person)))
}
