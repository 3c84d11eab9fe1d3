//! `GET /api/v1/accounts/{account}/members`: lists the owner and members of an account.

use axum::extract::{Path, State};

use super::MemberRecord;
use crate::http::as_of::{PagingAsOf, Shown, view_page};
use crate::http::error::{ApiError, or_not_found};
use crate::http::extract::{AuthenticatedRead, Parameters};
use crate::http::pagination::{Page, Wanted};
use crate::http::policy::Permission;
use crate::http::state::SharedState;
use crate::operations::Resource;
use crate::projections::page::Place;

/// List the members of an account
///
/// The owner first, then the members, oldest membership first. For the account's members and owner, and operators.
#[utoipa::path(get, path = "/api/v1/accounts/{account}/members", operation_id = "listMembers", tag = "members",
    params(("account" = String, Path, description = "The account's identifier or name"), PagingAsOf),
    responses((status = 200, description = "A page of members", body = Page<MemberRecord>)))]
pub async fn list(
    State(state): State<SharedState>,
    read: AuthenticatedRead,
    Path(account): Path<String>,
    Parameters(query): Parameters<PagingAsOf>,
) -> Result<Shown<Page<MemberRecord>>, ApiError> {
    let (view, Wanted { bounds, after: cursor }) =
        view_page::<Place>(&state, read.caller, Permission::ReadMembers, &account, query).await?;
    let (reader, account) = (&view.reader, &view.account);
    let after = match cursor {
        Some(after) => after,
        None => reader.members_begin().await?,
    };
    let mut people = Vec::new();
    // The owner has no membership to sort by, and so stands at the start of the first page.
    if cursor.is_none() {
        let owner = or_not_found(reader.user(account.owner_user_id).await, Resource::User)?;
        let (user_id, username) = (owner.id, owner.username);
        let record = MemberRecord { user_id, username, role: "owner", since: account.created_at };
        people.push((after, record));
    }
    let members = reader.members_after(account.id, after, bounds.size + 1).await?;
    people.extend(members.into_iter().map(|member| {
        let (place, user_id, username) = (member.place(after.newest), member.user.id, member.user.username);
        (place, MemberRecord { user_id, username, role: "member", since: member.added_at })
    }));
    Ok(view.show(Page::of(&state, people, bounds, |(place, _)| place.to_string(), |(_, person)| person)?))
}
