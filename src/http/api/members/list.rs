//! `GET /api/v1/accounts/{account}/members`: who belongs to an account.

use axum::Json;
use axum::extract::{Path, State};

use super::MemberRecord;
use crate::http::ask::{Parameters, Reading};
use crate::http::door::Shared;
use crate::http::error::{DoorError, found};
use crate::http::page::{Page, Paging, page};
use crate::http::policy::Act;
use crate::operations::Thing;

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
    let owner = found(reader.user(account.owner_user_id).await, Thing::User)?;
    let mut people = vec![MemberRecord {
        user_id: owner.id,
        username: owner.username,
        role: "owner",
        since: account.created_at,
    }];
    people.extend(reader.members(account.id).await?.into_iter().map(|member| MemberRecord {
        user_id: member.user.id,
        username: member.user.username,
        role: "member",
        since: member.added_at,
    }));
    let key = |person: &MemberRecord| {
        let rank = u8::from(person.role != "owner");
        format!("{rank}{}{}", person.since, person.user_id)
    };
    page(people, &paging, key, |person| person).map(Json)
}
