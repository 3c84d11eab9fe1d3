//! `view.endings`: closed accounts, forgotten users and ended memberships whose rows are still to be cleared away.
//!
//! The queries for those rows are here too. All other queries treat such rows as ended from the ending's position on.

use tokio_postgres::Row;
use uuid::Uuid;

use super::query::{QueryError, Reader};
use crate::aggregates::AnyEvent;
use crate::aggregates::account::AccountEvent;
use crate::aggregates::ending::{AccountRows, Ended, EndingEvent, PersonRows, SourceLeft};
use crate::aggregates::source::Handle;
use crate::aggregates::user::UserEvent;
use crate::clock::Timestamp;
use crate::event_log::rows::ColumnType::{BigInt, Position, Timestamptz, Uuid as UuidType};
use crate::event_log::rows::{Column, RowChange, Table, Value};
use crate::ids::{AccountId, UserId};

/// The table definition. `id` is the account or the forgotten user. Unless a membership ended, `user_id` is the nil
/// UUID and `removal` is 0.
pub static TABLE: Table = Table {
    name: "endings",
    version: 1,
    columns: &[
        Column::required("id", UuidType),
        Column::required("user_id", UuidType),
        Column::required("removal", BigInt),
        Column::required("is_person", crate::event_log::rows::ColumnType::Bool),
        Column::required("at", Timestamptz),
        Column::required("position", Position),
    ],
    key_columns: 3,
    fillfactor: 90,
    // The oldest endings are cleared first.
    indexes: &["(position)"],
};

/// An ending whose rows have not all been cleared away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The account, user or membership that ended.
    pub of: Ended,
    /// When it ended.
    pub at: Timestamp,
    /// The position of the event that ended it.
    pub position: i64,
}

fn key(of: Ended) -> Vec<Value> {
    let (id, user, removal) = match of {
        Ended::Account(account) => (account.as_uuid(), Uuid::nil(), 0),
        Ended::Person(user) => (user.as_uuid(), Uuid::nil(), 0),
        Ended::Membership { account, user, removal } => (account.as_uuid(), user.as_uuid(), removal),
    };
    vec![id.into(), user.into(), Value::Int(i64::from(removal))]
}

fn begin(of: Ended, at: Timestamp) -> Vec<RowChange> {
    let is_person = matches!(of, Ended::Person(_));
    let mut row = key(of);
    row.extend([is_person.into(), at.into(), Value::Position]);
    vec![RowChange::insert(&TABLE, row)]
}

/// The row changes that an event causes in the table.
pub(super) fn changes(stream: Uuid, event: &AnyEvent) -> Vec<RowChange> {
    match event {
        AnyEvent::Account(AccountEvent::Closed { at, listed: None, .. }) => {
            begin(Ended::Account(AccountId::from_uuid(stream)), *at)
        }
        AnyEvent::Account(AccountEvent::MemberRemoved { user, at, removal: Some(removal) }) => {
            let account = AccountId::from_uuid(stream);
            begin(Ended::Membership { account, user: *user, removal: *removal }, *at)
        }
        AnyEvent::User(UserEvent::Forgotten { at, .. }) => {
            begin(Ended::Person(UserId::from_uuid(stream)), *at)
        }
        AnyEvent::Ending(EndingEvent::Finished { of }) => vec![RowChange::delete(&TABLE, key(*of))],
        _ => Vec::new(),
    }
}

fn read(row: &Row) -> Result<Pending, tokio_postgres::Error> {
    let (id, user, removal, is_person): (Uuid, Uuid, i64, bool) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
    let of = match removal {
        0 if is_person => Ended::Person(UserId::from_uuid(id)),
        0 => Ended::Account(AccountId::from_uuid(id)),
        removal => Ended::Membership {
            account: AccountId::from_uuid(id),
            user: UserId::from_uuid(user),
            removal: u32::try_from(removal).unwrap_or(u32::MAX),
        },
    };
    Ok(Pending { of, at: row.try_get(4)?, position: row.try_get(5)? })
}

impl Reader {
    /// The oldest endings that are not cleared away yet, at most `limit`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn endings(&self, limit: i64) -> Result<Vec<Pending>, QueryError> {
        let sql = "select id, user_id, removal, is_person, at, position from view.endings order by position limit $1";
        self.list(sql, &[&limit], read).await
    }

    /// Rows that a closed account has left behind, at most `limit` in total; none when all are cleared away.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn rows_of_closed_account(
        &self,
        account: AccountId,
        limit: i64,
    ) -> Result<AccountRows, QueryError> {
        let (members, api_keys, invites) = (Vec::new(), Vec::new(), Vec::new());
        let mut rows =
            AccountRows { account, members, api_keys, invites, pipes: Vec::new(), sources: Vec::new() };
        let mut left = limit;
        let take = |left: &mut i64, count: usize| *left -= i64::try_from(count).unwrap_or(i64::MAX);
        let sql = "select user_id from view.members where account_id = $1 limit $2";
        rows.members = self.list(sql, &[&account, &left], |row| row.try_get(0)).await?;
        take(&mut left, rows.members.len());
        // A union, because the index on the account is split into two partial ones.
        let sql = "(select id from view.api_keys where account_id = $1 and revoked_at is null limit $2)
                   union all
                   (select id from view.api_keys where account_id = $1 and revoked_at is not null limit $2) limit $2";
        rows.api_keys = self.list(sql, &[&account, &left], |row| row.try_get(0)).await?;
        take(&mut left, rows.api_keys.len());
        let sql = "select id from view.invites where account_id = $1 limit $2";
        rows.invites = self.list(sql, &[&account, &left], |row| row.try_get(0)).await?;
        take(&mut left, rows.invites.len());
        let sql = "select p.id from view.sources s join view.pipes p on p.source_id = s.id
                   where s.account_id = $1 limit $2";
        rows.pipes = self.list(sql, &[&account, &left], |row| row.try_get(0)).await?;
        take(&mut left, rows.pipes.len());
        // Pipes are found through their sources, so sources are removed last.
        if left > 0 && rows.pipes.is_empty() {
            let sql = "select id, handle from view.sources where account_id = $1 limit $2";
            rows.sources = self
                .rows(sql, &[&account, &left])
                .await?
                .iter()
                .filter_map(|row| {
                    let handle =
                        row.try_get::<_, &str>(1).ok().and_then(|handle| Handle::parse(handle).ok())?;
                    Some(row.try_get(0).map(|id| SourceLeft { id, handle }))
                })
                .collect::<Result<_, _>>()?;
        }
        Ok(rows)
    }

    /// Rows that still hold data of a forgotten user, at most `limit` in total; none when all are cleared away.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn rows_of_forgotten_person(
        &self,
        user: UserId,
        at: Timestamp,
        limit: i64,
    ) -> Result<PersonRows, QueryError> {
        let mut rows = PersonRows {
            user,
            at,
            pending_invites: Vec::new(),
            decided_invites: Vec::new(),
            bearer_tokens: Vec::new(),
            sessions: Vec::new(),
            sign_in_links: Vec::new(),
            name_keys: Vec::new(),
        };
        let mut left = limit;
        let take = |left: &mut i64, count: usize| *left -= i64::try_from(count).unwrap_or(i64::MAX);
        // Invites bound to the user, and invites to a name the user took over. A `union` without `all`, because an
        // invite can be both.
        let sql = "select id, status = 'pending' from view.invites where invitee_user_id = $1
                   union
                   select i.id, i.status = 'pending' from view.name_keys n join view.invites i on i.name_key = n.id
                   where n.user_id = $1 and i.name_key is not null
                   limit $2";
        for row in self.rows(sql, &[&user, &left]).await? {
            let of_kind = if row.try_get(1)? { &mut rows.pending_invites } else { &mut rows.decided_invites };
            of_kind.push(row.try_get(0)?);
        }
        take(&mut left, rows.pending_invites.len() + rows.decided_invites.len());
        let sql = "select id from view.bearer_tokens where user_id = $1 and revoked_at is null limit $2";
        rows.bearer_tokens = self.list(sql, &[&user, &left], |row| row.try_get(0)).await?;
        take(&mut left, rows.bearer_tokens.len());
        let sql = "select id from view.sessions where user_id = $1 and ended_at is null limit $2";
        rows.sessions = self.list(sql, &[&user, &left], |row| row.try_get(0)).await?;
        take(&mut left, rows.sessions.len());
        let sql = "select id from view.sign_in_links where user_id = $1 and used_at is null limit $2";
        rows.sign_in_links = self.list(sql, &[&user, &left], |row| row.try_get(0)).await?;
        take(&mut left, rows.sign_in_links.len());
        // Invites are found through the name keys, so name keys are removed last.
        if left == limit {
            let sql = "select id from view.name_keys where user_id = $1 limit $2";
            rows.name_keys = self.list(sql, &[&user, &left], |row| row.try_get(0)).await?;
        }
        Ok(rows)
    }

    /// The open accounts in which a forgotten user is still listed as a member, at most `limit`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn memberships_left(&self, user: UserId, limit: i64) -> Result<Vec<AccountId>, QueryError> {
        // A closed account's own ending clears its members.
        let sql = "select m.account_id from view.members m join view.accounts a on a.id = m.account_id
                   where m.user_id = $1 limit $2";
        self.list(sql, &[&user, &limit], |row| row.try_get(0)).await
    }
}
