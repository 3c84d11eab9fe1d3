//! `view.invites`: one row per invite, including decided and expired ones.

use futures::Stream;
use tokio_postgres::Row;
use uuid::Uuid;

use super::page::{self, TimeKey};
use super::query::{QueryError, Reader};
use super::sealed_value::sealed;
use crate::aggregates::AnyEvent;
use crate::aggregates::ending::EndingEvent;
use crate::aggregates::invite::{InviteEnd, InviteEvent, InviteeKey};
use crate::aggregates::user::{UserMode, Username};
use crate::clock::Timestamp;
use crate::event_log::rows::ColumnType::{Position, Text, Timestamptz, Uuid as UuidType};
use crate::event_log::rows::{Column, RowChange, Table, Value};
use crate::ids::{AccountId, InviteId, UserId};

/// The table definition. `name_key` is the key that seals the name of an invite sent before any user had it.
pub static TABLE: Table = Table {
    name: "invites",
    version: 2,
    columns: &[
        Column::required("id", UuidType),
        Column::required("account_id", UuidType),
        Column::optional("invitee_username", Text).changing().without_statistics(),
        Column::optional("invitee_user_id", UuidType).changing(),
        Column::required("inviter_user_id", UuidType),
        Column::required("mode", Text),
        Column::required("status", Text).changing(),
        Column::required("created_at", Timestamptz),
        Column::optional("decided_at", Timestamptz).changing(),
        Column::required("expires_at", Timestamptz),
        Column::optional("name_key", UuidType).changing().since(2),
        Column::required("position", Position),
    ],
    key_columns: 1,
    fillfactor: 50,
    indexes: &[
        // Pages of an account's invites.
        "(account_id, created_at, position)",
        // The count of an account's pending invites.
        "(account_id, expires_at) where status = 'pending'",
        // Pending invites of a user.
        "(invitee_user_id, status, expires_at)",
        // Pending invites to a name that is not bound to a user.
        "(lower(invitee_username), expires_at) where invitee_user_id is null and status = 'pending'",
        // Invites of a forgotten user that are to be cleared.
        "(name_key) where name_key is not null",
    ],
};

/// The columns as shown. If the invitee has been forgotten, the name is hidden and a pending invite counts as revoked,
/// also before the row says so.
const COLUMNS: &str = "i.id, i.account_id,
    case when b.forgotten_at is null and t.forgotten_at is null then i.invitee_username end,
    i.invitee_user_id, i.inviter_user_id, i.mode,
    case when i.status = 'pending' and (b.forgotten_at is not null or t.forgotten_at is not null) then 'revoked'
         else i.status end,
    i.created_at,
    case when i.status = 'pending' then coalesce(b.forgotten_at, t.forgotten_at) else i.decided_at end,
    i.expires_at, i.position";

/// The joins that [`COLUMNS`] need beside the invites `i`: the bound user `b`, and the user `t` who has taken the name.
/// An invite to a name may be unbound although its name is taken, so both are checked.
const BESIDE: &str = "left join view.users b on b.id = i.invitee_user_id
    left join view.name_keys n on n.id = i.name_key
    left join view.users t on t.id = n.user_id";

/// Whether the account of invite `i` is open: invites of a closed account are cleared away later.
const OF_OPEN_ACCOUNT: &str = "exists (select from view.accounts a where a.id = i.account_id)";

/// The status of an invite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InviteStatus {
    /// The invitee can accept or decline it.
    Pending,
    /// The invitee accepted it.
    Accepted,
    /// The invitee declined it.
    Declined,
    /// The account revoked it, or the invitee was forgotten.
    Revoked,
    /// It expired before it was decided.
    Expired,
}

impl InviteStatus {
    /// The name of the status in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Accepted => "accepted",
            Self::Declined => "declined",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
        }
    }
}

/// An invite to an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invite {
    /// The identifier of the invite.
    pub id: InviteId,
    /// The account that invites.
    pub account_id: AccountId,
    /// The invited username, in the case it was given; empty if it cannot be decrypted or its user was forgotten.
    pub invitee_username: String,
    /// The invited user; none while the invite is not bound to one.
    pub invitee_user_id: Option<UserId>,
    /// The user who sent the invite.
    pub inviter_user_id: UserId,
    /// The sign-in mode that a user who registers the name must have to get the invite.
    pub mode: UserMode,
    /// The stored status, which is never `Expired`; see [`Invite::status_at`].
    pub status: InviteStatus,
    /// When the invite was created.
    pub created_at: Timestamp,
    /// When the invite was accepted, declined or revoked; none while it is pending.
    pub decided_at: Option<Timestamp>,
    /// When the invite expires.
    pub expires_at: Timestamp,
    /// The position of the event that created the invite.
    pub position: i64,
}

impl Invite {
    /// The invite that this event creates; none for any other event.
    #[must_use]
    pub fn made(position: i64, stream: Uuid, event: &AnyEvent) -> Option<Self> {
        let AnyEvent::Invite(InviteEvent::Created {
            account,
            inviter,
            bound,
            mode,
            at,
            expires_at,
            invitee,
            ..
        }) = event
        else {
            return None;
        };
        Some(Self {
            id: InviteId::from_uuid(stream),
            account_id: *account,
            invitee_username: invitee.open().map(|name| name.as_str().to_owned()).unwrap_or_default(),
            invitee_user_id: *bound,
            inviter_user_id: *inviter,
            mode: *mode,
            status: InviteStatus::Pending,
            created_at: *at,
            decided_at: None,
            expires_at: *expires_at,
            position,
        })
    }

    /// The cursor of this invite in the list of its account's invites.
    #[must_use]
    pub const fn key(&self) -> TimeKey {
        TimeKey { at: self.created_at, position: self.position }
    }

    /// The status at this time: `Expired` if the invite is pending and past its expiry.
    #[must_use]
    pub fn status_at(&self, now: Timestamp) -> InviteStatus {
        if self.status == InviteStatus::Pending && now >= self.expires_at {
            InviteStatus::Expired
        } else {
            self.status
        }
    }
}

/// An invite with the name of its account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InviteWithAccount {
    /// The invite itself.
    pub invite: Invite,
    /// The name of the account; empty if it cannot be decrypted.
    pub account_name: String,
}

fn name_key(key: InviteeKey) -> Value {
    match key {
        InviteeKey::Name { id, .. } => Value::Uuid(id.as_uuid()),
        InviteeKey::User(_) => Value::Null,
    }
}

/// The row changes that an event causes in the table.
pub(super) fn changes(stream: Uuid, event: &AnyEvent) -> Vec<RowChange> {
    let event = match event {
        AnyEvent::Invite(event) => event,
        AnyEvent::Ending(EndingEvent::AccountRowsRemoved(rows)) => {
            let gone = |invite: &InviteId| RowChange::delete(&TABLE, vec![invite.as_uuid().into()]);
            return rows.invites.iter().map(gone).collect();
        }
        AnyEvent::Ending(EndingEvent::PersonRowsBlanked(rows)) => {
            // Also clear the user and the name key: rows that still have them are found as rows to blank.
            let columns = || {
                [
                    ("invitee_username", Value::Null),
                    ("invitee_user_id", Value::Null),
                    ("name_key", Value::Null),
                ]
            };
            let blank =
                |invite: &InviteId| RowChange::patch(&TABLE, vec![invite.as_uuid().into()], columns());
            let pending = rows.pending_invites.iter().map(|invite| {
                let mut change = blank(invite);
                change.also("status", "revoked".into());
                change.also("decided_at", rows.at.into());
                change
            });
            return pending.chain(rows.decided_invites.iter().map(blank)).collect();
        }
        _ => return Vec::new(),
    };
    let key = vec![Value::Uuid(stream)];
    let ended = |status: &str, end: &InviteEnd| {
        let columns = [
            ("status", status.into()),
            ("decided_at", end.at.into()),
            ("invitee_user_id", end.user.map(UserId::as_uuid).into()),
        ];
        RowChange::patch(&TABLE, key.clone(), columns)
    };
    vec![match event {
        InviteEvent::Created { account, inviter, bound, mode, at, expires_at, invitee_key, invitee } => {
            RowChange::insert(
                &TABLE,
                vec![
                    stream.into(),
                    account.as_uuid().into(),
                    sealed(invitee, Username::as_str),
                    bound.map(UserId::as_uuid).into(),
                    inviter.as_uuid().into(),
                    mode.as_str().into(),
                    "pending".into(),
                    (*at).into(),
                    Value::Null,
                    (*expires_at).into(),
                    invitee_key.map_or(Value::Null, name_key),
                    Value::Position,
                ],
            )
        }
        InviteEvent::Bound { user, .. } => {
            RowChange::patch(&TABLE, key, [("invitee_user_id", user.as_uuid().into())])
        }
        InviteEvent::InviteeResealed { user, invitee_key, invitee, .. } => {
            let columns = [
                ("invitee_username", sealed(invitee, Username::as_str)),
                ("invitee_user_id", user.map(UserId::as_uuid).into()),
                ("name_key", name_key(*invitee_key)),
            ];
            RowChange::patch(&TABLE, key, columns)
        }
        InviteEvent::Accepted(end) => ended("accepted", end),
        InviteEvent::Declined(end) => ended("declined", end),
        InviteEvent::Revoked(end) => ended("revoked", end),
        InviteEvent::InviteeForgotten(end) => {
            let mut change = if end.was_pending {
                ended("revoked", end)
            } else {
                RowChange::patch(&TABLE, key, [("invitee_username", Value::Null)])
            };
            change.also("invitee_username", Value::Null);
            change
        }
    }]
}

fn read(row: &Row) -> Result<Invite, tokio_postgres::Error> {
    Ok(Invite {
        id: row.try_get(0)?,
        account_id: row.try_get(1)?,
        invitee_username: row.try_get::<_, Option<String>>(2)?.unwrap_or_default(),
        invitee_user_id: row.try_get(3)?,
        inviter_user_id: row.try_get(4)?,
        mode: row.try_get::<_, &str>(5)?.parse().unwrap_or_default(),
        status: match row.try_get::<_, &str>(6)? {
            "accepted" => InviteStatus::Accepted,
            "declined" => InviteStatus::Declined,
            "revoked" => InviteStatus::Revoked,
            _ => InviteStatus::Pending,
        },
        created_at: row.try_get(7)?,
        decided_at: row.try_get(8)?,
        expires_at: row.try_get(9)?,
        position: row.try_get(10)?,
    })
}

fn read_with_account(row: &Row) -> Result<InviteWithAccount, tokio_postgres::Error> {
    let account_name = row.try_get::<_, Option<String>>(11)?.unwrap_or_default();
    Ok(InviteWithAccount { invite: read(row)?, account_name })
}

impl Reader {
    /// The invite with this identifier.
    ///
    /// # Errors
    /// [`QueryError::NotFound`]
    pub async fn invite(&self, id: InviteId) -> Result<Invite, QueryError> {
        self.one(
            &format!("select {COLUMNS} from view.invites i {BESIDE} where i.id = $1 and {OF_OPEN_ACCOUNT}"),
            &[&id],
            read,
        )
        .await
    }

    /// The invites of all accounts with identifiers after this one, by identifier, at most `limit`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn invites_by_id_after(
        &self,
        after: InviteId,
        limit: usize,
    ) -> Result<Vec<InviteId>, QueryError> {
        let sql = "select id from view.invites where id > $1 order by id limit $2";
        self.list(sql, &[&after, &page::limit(limit)], |row| row.try_get(0)).await
    }

    /// All invites of an account, newest first; none for an unknown or closed account.
    ///
    /// # Errors
    /// An item: the database cannot be read.
    pub fn invites_for_account(
        &self,
        account: AccountId,
    ) -> impl Stream<Item = Result<Invite, QueryError>> + use<> {
        let reader = self.clone();
        let read = move |before| {
            let reader = reader.clone();
            async move { reader.invites_before(account, before, page::PAGE).await }
        };
        page::all(TimeKey::NEWEST, read, Invite::key)
    }

    /// The invites of an account that were created before this cursor, newest first, at most `limit`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn invites_before(
        &self,
        account: AccountId,
        before: TimeKey,
        limit: usize,
    ) -> Result<Vec<Invite>, QueryError> {
        let sql = format!(
            "select {COLUMNS} from view.invites i {BESIDE}
             where i.account_id = $1 and (i.created_at, i.position) < ($2, $3)
               and exists (select from view.accounts a where a.id = $1)
             order by i.created_at desc, i.position desc limit $4"
        );
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.list(&sql, &[&account, &before.at, &before.position, &limit], read).await
    }

    /// The pending invites of the user with this name, or to this name if no user has it yet, oldest first.
    ///
    /// # Errors
    /// An item: the database cannot be read.
    pub fn pending_invites_for_username(
        &self,
        username: &str,
        now: Timestamp,
    ) -> impl Stream<Item = Result<InviteWithAccount, QueryError>> + use<> {
        let (reader, username) = (self.clone(), username.to_owned());
        let read = move |after| {
            let (reader, username) = (reader.clone(), username.clone());
            async move { reader.pending_invites_after(&username, now, after, page::PAGE).await }
        };
        page::all(TimeKey::OLDEST, read, |found: &InviteWithAccount| found.invite.key())
    }

    /// The pending invites for a username, as in [`Reader::pending_invites_for_username`], after this cursor, oldest
    /// first, at most `limit`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn pending_invites_after(
        &self,
        username: &str,
        now: Timestamp,
        after: TimeKey,
        limit: usize,
    ) -> Result<Vec<InviteWithAccount>, QueryError> {
        let (user, mode) = match self.user_by_username(username).await {
            Ok(user) => (Some(user.id), Some(user.mode.as_str())),
            Err(QueryError::NotFound) => (None, None),
            Err(error) => return Err(error),
        };
        // A union instead of an `or`: invites bound to the user and unbound invites to the name have an index each. An
        // unbound invite whose name key belongs to an earlier holder of the name is not this user's.
        let sql = format!(
            "select {COLUMNS}, a.name from (
                 select b.* from view.invites b
                 where b.invitee_user_id = $1 and b.status = 'pending' and b.expires_at > $3
                 union all
                 select u.* from view.invites u
                 where u.invitee_user_id is null and lower(u.invitee_username) = $2 and u.status = 'pending'
                   and u.expires_at > $3 and u.mode = coalesce($4::text, u.mode)
             ) i join view.accounts a on a.id = i.account_id {BESIDE}
             where b.forgotten_at is null and t.forgotten_at is null
               and (i.invitee_user_id is not null or i.name_key is null or n.user_id is not distinct from $1)
               and (i.created_at, i.position) > ($5, $6)
             order by i.created_at, i.position limit $7"
        );
        let name = crate::aggregates::field::fold(username);
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 7] =
            [&user, &name, &now, &mode, &after.at, &after.position, &page::limit(limit)];
        self.list(&sql, &parameters, read_with_account).await
    }

    /// The pending invites to a name that are not bound to a user and whose name key no user has taken over, for this
    /// sign-in mode, oldest first, at most `limit`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn unbound_invites(
        &self,
        username: &Username,
        mode: UserMode,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<InviteId>, QueryError> {
        let sql = format!(
            "select i.id from view.invites i left join view.name_keys n on n.id = i.name_key
             where i.invitee_user_id is null and i.status = 'pending' and lower(i.invitee_username) = $1
               and i.mode = $2 and i.expires_at > $3 and n.user_id is null and {OF_OPEN_ACCOUNT}
             order by i.position limit $4"
        );
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.list(&sql, &[&username.fold(), &mode.as_str(), &now, &limit], |row| row.try_get(0)).await
    }

    /// How many invites of an account are pending at this time. Invites of forgotten users do not count.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn count_of_pending_invites(
        &self,
        account: AccountId,
        now: Timestamp,
    ) -> Result<u32, QueryError> {
        let sql = format!(
            "select count(*) from view.invites i {BESIDE}
             where i.account_id = $1 and i.status = 'pending' and i.expires_at > $2
               and b.forgotten_at is null and t.forgotten_at is null"
        );
        self.count(&sql, &[&account, &now]).await
    }
}
