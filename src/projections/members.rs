//! `view.members`: one row per member of an account; the owner has none.

use std::collections::HashMap;

use futures::{Stream, TryStreamExt as _};
use tokio_postgres::Row;
use uuid::Uuid;

use super::page::{self, Place, TimeKey};
use super::query::{QueryError, Reader};
use super::users::{self, User};
use crate::aggregates::AnyEvent;
use crate::aggregates::account::{AccountEvent, ListedAtClosing};
use crate::aggregates::ending::{AccountRows, EndingEvent};
use crate::clock::Timestamp;
use crate::event_log::rows::ColumnType::{Position, Timestamptz, Uuid as UuidType};
use crate::event_log::rows::{Column, RowChange, Table, Value};
use crate::ids::{AccountId, UserId};

/// The table definition. The key begins with the user, so that the memberships of a user are found through it.
pub static TABLE: Table = Table {
    name: "members",
    version: 2,
    columns: &[
        Column::required("user_id", UuidType),
        Column::required("account_id", UuidType),
        Column::required("added_at", Timestamptz),
        Column::required("position", Position),
    ],
    key_columns: 2,
    fillfactor: 90,
    // Pages of an account's members.
    indexes: &["(account_id, added_at, position)"],
};

/// A member of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The user who is the member.
    pub user: User,
    /// When the user became a member.
    pub added_at: Timestamp,
    /// The position of the event that made the user a member.
    pub position: i64,
}

impl Member {
    /// The cursor of this member in a list of its account's members that began at position `newest`.
    #[must_use]
    pub const fn place(&self, newest: i64) -> Place {
        Place { newest, key: TimeKey { at: self.added_at, position: self.position } }
    }
}

fn key(account: Uuid, user: UserId) -> Vec<Value> {
    vec![user.as_uuid().into(), account.into()]
}

fn insert(account: Uuid, user: UserId, at: Timestamp) -> RowChange {
    RowChange::insert(&TABLE, vec![user.as_uuid().into(), account.into(), at.into(), Value::Position])
}

/// The row changes that an event causes in the table.
pub(super) fn changes(stream: Uuid, event: &AnyEvent) -> Vec<RowChange> {
    let event = match event {
        AnyEvent::Account(event) => event,
        AnyEvent::Ending(EndingEvent::AccountRowsRemoved(AccountRows { account, members, .. })) => {
            return members
                .iter()
                .map(|user| RowChange::delete(&TABLE, key(account.as_uuid(), *user)))
                .collect();
        }
        _ => return Vec::new(),
    };
    match event {
        AccountEvent::MemberAdded { user, at } => vec![insert(stream, *user, *at)],
        AccountEvent::MemberRemoved { user, .. } => vec![RowChange::delete(&TABLE, key(stream, *user))],
        AccountEvent::OwnershipTransferred { from, to, at } => {
            vec![RowChange::delete(&TABLE, key(stream, *to)), insert(stream, *from, *at)]
        }
        AccountEvent::Closed { listed: Some(ListedAtClosing { members, .. }), .. } => {
            members.iter().map(|user| RowChange::delete(&TABLE, key(stream, *user))).collect()
        }
        AccountEvent::Closed { listed: None, .. }
        | AccountEvent::Opened { .. }
        | AccountEvent::Renamed { .. }
        | AccountEvent::NatsAccountSet { .. }
        | AccountEvent::NatsSigningSeedReissued { .. } => Vec::new(),
    }
}

fn read(row: &Row) -> Result<Member, tokio_postgres::Error> {
    // The first eleven columns are the user's.
    Ok(Member { user: users::read(row)?, added_at: row.try_get(11)?, position: row.try_get(12)? })
}

impl Reader {
    /// The members of an account without its owner, oldest membership first; none for an unknown or closed account.
    ///
    /// # Errors
    /// An item: the database cannot be read.
    pub fn members(&self, account: AccountId) -> impl Stream<Item = Result<Member, QueryError>> + use<> {
        let reader = self.clone();
        let read = move |after: Option<Place>| {
            let reader = reader.clone();
            async move {
                let after = match after {
                    Some(after) => after,
                    None => reader.members_begin().await?,
                };
                let members = reader.members_after(account, after, page::PAGE).await?;
                Ok(members.into_iter().map(|member| (member.place(after.newest), member)).collect())
            }
        };
        page::all(None, read, |(place, _)| Some(*place)).map_ok(|(_, member)| member)
    }

    /// The names of those of these users who own the account or are a member of it now.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn usernames_of_members_among(
        &self,
        account: AccountId,
        ids: &[UserId],
    ) -> Result<HashMap<UserId, String>, QueryError> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let sql = "select u.id, coalesce(u.username, '') from view.users u
                   where u.id = any ($2) and u.forgotten_at is null
                     and (exists (select from view.members m where m.user_id = u.id and m.account_id = $1)
                          or exists (select from view.accounts a where a.id = $1 and a.owner_user_id = u.id))";
        let rows = self.rows(sql, &[&account, &ids]).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }

    /// The cursor at the start of a list of members that begins at the newest position.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn members_begin(&self) -> Result<Place, QueryError> {
        Ok(Place { newest: self.newest().await?, key: TimeKey::OLDEST })
    }

    /// The members of an account that come after this cursor, oldest first, at most `limit`. Memberships that began
    /// after the list did are left out.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn members_after(
        &self,
        account: AccountId,
        after: Place,
        limit: usize,
    ) -> Result<Vec<Member>, QueryError> {
        // Checks the user and the account too: a membership ends with either before its row is cleared away.
        let sql = format!(
            "select {}, m.added_at, m.position from view.members m join view.users u on u.id = m.user_id
             where m.account_id = $1 and (m.added_at, m.position) > ($2, $3) and m.position <= $5
               and u.forgotten_at is null
               and exists (select from view.accounts a where a.id = $1)
             order by m.added_at, m.position limit $4",
            users::columns_of("u")
        );
        let Place { newest, key } = after;
        self.list(&sql, &[&account, &key.at, &key.position, &page::limit(limit), &newest], read).await
    }
}
