//! `view.accounts`: one row per open account.

use futures::Stream;
use tokio_postgres::Row;
use uuid::Uuid;

use super::page;
use super::query::{QueryError, Reader};
use super::sealed_value::sealed;
use super::unique_claims::HOLDER_FOR_GOOD;
use crate::aggregates::AnyEvent;
use crate::aggregates::account::{AccountEvent, AccountName, account_name_claim};
use crate::clock::Timestamp;
use crate::event_log::rows::ColumnType::{Position, Text, Timestamptz, Uuid as UuidType};
use crate::event_log::rows::{Column, RowChange, Table, Value};
use crate::ids::{AccountId, UserId};

/// The table definition. `owner_position` is the position of the event that made the owner the owner.
pub static TABLE: Table = Table {
    name: "accounts",
    version: 2,
    columns: &[
        Column::required("id", UuidType),
        Column::optional("name", Text).changing().without_statistics(),
        Column::required("owner_user_id", UuidType).changing(),
        Column::required("created_at", Timestamptz),
        Column::optional("nats_account_pub", Text).changing(),
        Column::required("owner_position", Position).changing().since(2),
        Column::required("position", Position),
    ],
    key_columns: 1,
    fillfactor: 90,
    // For the accounts of an owner, and for pages of accounts by name.
    indexes: &["(owner_user_id)", "(name)"],
};

const COLUMNS: &str = "a.id, a.name, a.owner_user_id, a.created_at, a.nats_account_pub, a.position";

/// Whether user $1 exists and has not been forgotten: the memberships of a forgotten user are cleared away later.
const IS_KNOWN: &str = "exists (select from view.users u where u.id = $1 and u.forgotten_at is null)";

/// An open account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The identifier of the account.
    pub id: AccountId,
    /// The unique name, in the case it was given; empty if it cannot be decrypted.
    pub name: String,
    /// The user who owns the account.
    pub owner_user_id: UserId,
    /// When the account was opened.
    pub created_at: Timestamp,
    /// The public key of the account at NATS; none until an operator sets it.
    pub nats_account_pub: Option<String>,
    /// The position of the event that opened the account.
    pub position: i64,
}

impl Account {
    /// The account that this event opens; none for any other event.
    #[must_use]
    pub fn opened(position: i64, stream: Uuid, event: &AnyEvent) -> Option<Self> {
        let AnyEvent::Account(AccountEvent::Opened { owner, at, name }) = event else { return None };
        Some(Self {
            id: AccountId::from_uuid(stream),
            name: name.open().map(|name| name.as_str().to_owned()).unwrap_or_default(),
            owner_user_id: *owner,
            created_at: *at,
            nats_account_pub: None,
            position,
        })
    }
}

/// The row changes that an event causes in the table.
pub(super) fn changes(stream: Uuid, event: &AnyEvent) -> Vec<RowChange> {
    let AnyEvent::Account(event) = event else {
        return Vec::new();
    };
    let key = vec![Value::Uuid(stream)];
    match event {
        AccountEvent::Opened { owner, at, name } => vec![RowChange::insert(
            &TABLE,
            vec![
                stream.into(),
                sealed(name, AccountName::as_str),
                owner.as_uuid().into(),
                (*at).into(),
                Value::Null,
                Value::Position,
                Value::Position,
            ],
        )],
        AccountEvent::OwnershipTransferred { to, .. } => {
            let columns = [("owner_user_id", to.as_uuid().into()), ("owner_position", Value::Position)];
            vec![RowChange::patch(&TABLE, key, columns)]
        }
        AccountEvent::Renamed { name, .. } => {
            vec![RowChange::patch(&TABLE, key, [("name", sealed(name, AccountName::as_str))])]
        }
        AccountEvent::Closed { .. } => vec![RowChange::delete(&TABLE, key)],
        AccountEvent::NatsAccountSet { public_key, .. } => {
            vec![RowChange::patch(&TABLE, key, [("nats_account_pub", public_key.as_str().into())])]
        }
        AccountEvent::MemberAdded { .. }
        | AccountEvent::MemberRemoved { .. }
        | AccountEvent::NatsSigningSeedReissued { .. } => Vec::new(),
    }
}

fn read(row: &Row) -> Result<Account, tokio_postgres::Error> {
    Ok(Account {
        id: row.try_get(0)?,
        name: row.try_get::<_, Option<String>>(1)?.unwrap_or_default(),
        owner_user_id: row.try_get(2)?,
        created_at: row.try_get(3)?,
        nats_account_pub: row.try_get(4)?,
        position: row.try_get(5)?,
    })
}

impl Reader {
    /// The account with this identifier.
    ///
    /// # Errors
    /// [`QueryError::NotFound`]
    pub async fn account(&self, id: AccountId) -> Result<Account, QueryError> {
        self.one(&format!("select {COLUMNS} from view.accounts a where a.id = $1"), &[&id], read).await
    }

    /// The account with this name, regardless of case.
    ///
    /// # Errors
    /// [`QueryError::NotFound`]
    pub async fn account_by_name(&self, name: &str) -> Result<Account, QueryError> {
        let Ok(name) = AccountName::parse(name) else {
            return Err(QueryError::NotFound);
        };
        // Found through the claim, which is unique and ignores case.
        let claim = account_name_claim(&name, self.hasher());
        let sql = format!("select {COLUMNS} from view.accounts a where a.id = {HOLDER_FOR_GOOD}");
        self.one(&sql, &[&claim.kind, &claim.key.as_slice()], read).await
    }

    /// The account with this slug, which is an identifier if it parses as a UUID, and a name otherwise.
    ///
    /// # Errors
    /// [`QueryError::NotFound`]
    pub async fn account_by_slug(&self, slug: &str) -> Result<Account, QueryError> {
        match slug.parse() {
            Ok(id) => self.account(id).await,
            Err(_) => self.account_by_name(slug).await,
        }
    }

    /// All accounts, by name.
    ///
    /// # Errors
    /// An item: the database cannot be read.
    pub fn accounts(&self) -> impl Stream<Item = Result<Account, QueryError>> + use<> {
        let reader = self.clone();
        let read = move |after: String| {
            let reader = reader.clone();
            async move { reader.accounts_after(&after, page::PAGE).await }
        };
        page::all(String::new(), read, |account| account.name.clone())
    }

    /// The accounts that a user owns or is a member of, each once, by name; none for a forgotten user.
    ///
    /// # Errors
    /// An item: the database cannot be read.
    pub fn accounts_for_user(&self, user: UserId) -> impl Stream<Item = Result<Account, QueryError>> + use<> {
        let reader = self.clone();
        let read = move |after: String| {
            let reader = reader.clone();
            async move { reader.accounts_for_user_after(user, &after, page::PAGE).await }
        };
        page::all(String::new(), read, |account| account.name.clone())
    }

    /// The accounts that a user owns or is a member of whose names come after this one, by name, at most `limit`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn accounts_for_user_after(
        &self,
        user: UserId,
        name: &str,
        limit: usize,
    ) -> Result<Vec<Account>, QueryError> {
        // A union instead of an `or`, so that each branch uses its own index.
        let sql = format!(
            "select {COLUMNS} from (
                 select o.id from view.accounts o where o.owner_user_id = $1
                 union select m.account_id from view.members m where m.user_id = $1
             ) theirs join view.accounts a on a.id = theirs.id
             where a.name > $2 and {IS_KNOWN} order by a.name limit $3"
        );
        self.list(&sql, &[&user, &name, &page::limit(limit)], read).await
    }

    /// The oldest account that a user owns.
    ///
    /// # Errors
    /// [`QueryError::NotFound`]
    pub async fn first_owned_account_for(&self, user: UserId) -> Result<Account, QueryError> {
        let sql = format!(
            "select {COLUMNS} from view.accounts a where a.owner_user_id = $1
             order by a.created_at, a.position limit 1"
        );
        self.one(&sql, &[&user], read).await
    }

    /// The account that a user has owned longest, counted from when the user became its owner; if there is none, the
    /// account of the user's oldest membership. A user who is given an older account keeps their default account.
    ///
    /// # Errors
    /// [`QueryError::NotFound`]
    pub async fn default_account_for(&self, user: UserId) -> Result<Account, QueryError> {
        let sql = format!(
            "select {COLUMNS} from (
                 select a.id, 0 as kind, a.owner_position as place from view.accounts a where a.owner_user_id = $1
                 union all
                 select m.account_id, 1, m.position from view.members m where m.user_id = $1
             ) candidate join view.accounts a on a.id = candidate.id
             where {IS_KNOWN} order by candidate.kind, candidate.place limit 1"
        );
        self.one(&sql, &[&user], read).await
    }

    /// Whether a user owns an account or is a member of it; logs an error and returns `false` if that cannot be read.
    pub async fn is_member_or_owner(&self, account: AccountId, user: UserId) -> bool {
        self.membership(account, user).await.unwrap_or_else(|error| {
            tracing::error!(%account, %user, %error, "could not check a membership");
            false
        })
    }

    /// Whether a user owns an account or is a member of it.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn membership(&self, account: AccountId, user: UserId) -> Result<bool, QueryError> {
        // Joins the account and the user: a closed account or a forgotten user ends a membership before its row is
        // cleared.
        let sql = "select exists (select from view.accounts a join view.users u on u.id = $2 and u.forgotten_at is null
                                  where a.id = $1 and (a.owner_user_id = $2 or exists (
                                      select from view.members m where m.account_id = $1 and m.user_id = $2)))";
        self.one(sql, &[&account, &user], |row| row.try_get(0)).await
    }

    /// How many accounts a user owns.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn count_of_accounts(&self, owner: UserId) -> Result<u32, QueryError> {
        let sql = "select count(*) from view.accounts where owner_user_id = $1";
        self.count(sql, &[&owner]).await
    }

    /// The accounts whose names come after this one, by name, at most `limit`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn accounts_after(&self, name: &str, limit: usize) -> Result<Vec<Account>, QueryError> {
        let sql = format!("select {COLUMNS} from view.accounts a where a.name > $1 order by a.name limit $2");
        self.list(&sql, &[&name, &i64::try_from(limit).unwrap_or(i64::MAX)], read).await
    }
}
