//! `view.api_keys`: one row per API key, including revoked ones; the rows of a closed account are cleared away.

use std::collections::HashMap;

use std::fmt;
use std::str::FromStr;

use futures::{Stream, TryStreamExt as _};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::page::{self, NoTimeKey, TimeKey};
use super::query::{QueryError, Reader};
use super::sealed_value::sealed;
use crate::aggregates::AnyEvent;
use crate::aggregates::account::{AccountEvent, ListedAtClosing};
use crate::aggregates::api_key::{ApiKeyEvent, KeyHash, KeyPrefix, Label};
use crate::aggregates::ending::{AccountRows, EndingEvent, RevokedKeys};
use crate::clock::Timestamp;
use crate::event_log::rows::ColumnType::{BigInt, Position, Text, Timestamptz, Uuid as UuidType};
use crate::event_log::rows::{Column, RowChange, Table, Value};
use crate::ids::{AccountId, ApiKeyId, UserId};

/// The table definition. The `former_…` columns hold the secret before the last rotation. `revoked_position` is the
/// position of the key's own revocation, `ended_position` that of the ending that the key ended with.
pub static TABLE: Table = Table {
    name: "api_keys",
    version: 2,
    columns: &[
        Column::required("id", UuidType),
        Column::required("account_id", UuidType),
        Column::required("created_by_user_id", UuidType),
        Column::optional("key_hash", Text).changing(),
        Column::required("key_prefix", Text).changing(),
        Column::optional("label", Text).without_statistics(),
        Column::required("created_at", Timestamptz),
        Column::optional("expires_at", Timestamptz),
        Column::optional("revoked_at", Timestamptz).changing(),
        Column::optional("former_hash", Text).changing(),
        Column::optional("former_prefix", Text).changing(),
        Column::optional("former_until", Timestamptz).changing(),
        Column::optional("revoked_position", Position).changing().since(2),
        Column::optional("ended_position", BigInt).changing().since(2),
        Column::required("position", Position),
    ],
    key_columns: 1,
    fillfactor: 70,
    indexes: &[
        // Look-ups by secret, current and former.
        "(key_prefix)",
        "(former_prefix) where former_prefix is not null",
        // Pages of an account's keys: in two parts, so that a page of active keys does not walk past revoked ones.
        "(account_id, created_at, position) where revoked_at is null",
        "(account_id, created_at, position) where revoked_at is not null",
        // Keys revoked after a list began.
        "(account_id, (coalesce(ended_position, revoked_position))) where revoked_at is not null",
    ],
};

const COLUMNS: &str = "k.id, k.account_id, k.created_by_user_id, k.key_prefix, k.label, k.created_at, k.expires_at, \
                       e.ended_at, u.at, k.position";

/// An API key, without its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// The identifier of the key.
    pub id: ApiKeyId,
    /// The account that the key acts for.
    pub account_id: AccountId,
    /// The user who minted the key.
    pub created_by_user_id: UserId,
    /// The first eight characters after the sentinel.
    pub key_prefix: String,
    /// The label that the user gave the key; empty if it cannot be decrypted.
    pub label: String,
    /// When the key was minted.
    pub created_at: Timestamp,
    /// When the key expires; none if it never does.
    pub expires_at: Option<Timestamp>,
    /// When the key was revoked or ended with its minter's membership; none while it is active.
    pub revoked_at: Option<Timestamp>,
    /// When the key was last accepted, to the minute; none if never.
    pub last_used_at: Option<Timestamp>,
    /// The position of the event that minted the key.
    pub position: i64,
}

impl ApiKey {
    /// The key that this event mints; none for any other event.
    #[must_use]
    pub fn minted(position: i64, stream: Uuid, event: &AnyEvent) -> Option<Self> {
        let AnyEvent::ApiKey(ApiKeyEvent::Minted { account, minter, prefix, at, expires_at, label, .. }) =
            event
        else {
            return None;
        };
        Some(Self {
            id: ApiKeyId::from_uuid(stream),
            account_id: *account,
            created_by_user_id: *minter,
            key_prefix: prefix.as_str().to_owned(),
            label: label.open().map(|label| label.as_str().to_owned()).unwrap_or_default(),
            created_at: *at,
            expires_at: *expires_at,
            revoked_at: None,
            last_used_at: None,
            position,
        })
    }

    /// The new prefix that this event gives a key; none unless it is a rotation.
    #[must_use]
    pub fn rotated(_: i64, _: Uuid, event: &AnyEvent) -> Option<String> {
        match event {
            AnyEvent::ApiKey(ApiKeyEvent::Rotated { prefix, .. }) => Some(prefix.as_str().to_owned()),
            _ => None,
        }
    }
}

/// A cursor in the list of an account's keys. Keys that were active when the list began come first, so a key that is
/// revoked while the list is read keeps its place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyPlace {
    /// When the list began.
    begun: Timestamp,
    /// The newest position when the list began.
    newest: i64,
    /// Whether the cursor is in the second part of the list: keys that were not active when it began.
    is_ended: bool,
    /// The cursor within that part.
    key: TimeKey,
}

impl fmt::Display for KeyPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { begun, newest, is_ended, key } = self;
        write!(f, "{}.{newest}.{}.{key}", begun.as_micros(), u8::from(*is_ended))
    }
}

impl FromStr for KeyPlace {
    type Err = NoTimeKey;

    fn from_str(text: &str) -> Result<Self, NoTimeKey> {
        let mut parts = text.splitn(4, '.');
        let mut part = || parts.next().ok_or(NoTimeKey);
        let number = |text: &str| text.parse().map_err(|_| NoTimeKey);
        let (begun, newest) = (Timestamp::from_micros(number(part()?)?), number(part()?)?);
        let is_ended = match part()? {
            "0" => false,
            "1" => true,
            _ => return Err(NoTimeKey),
        };
        Ok(Self { begun, newest, is_ended, key: part()?.parse()? })
    }
}

/// An active key whose prefix matches a secret, with the hash to verify the secret against.
#[derive(Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The key that the hash belongs to.
    pub key: ApiKey,
    /// The PHC string of the current or the former secret.
    pub hash: String,
}

/// The row changes that an event causes in the table.
pub(super) fn changes(stream: Uuid, event: &AnyEvent) -> Vec<RowChange> {
    let key = vec![Value::Uuid(stream)];
    match event {
        AnyEvent::ApiKey(ApiKeyEvent::Minted {
            account,
            minter,
            prefix,
            at,
            expires_at,
            hash,
            label,
            ..
        }) => {
            vec![RowChange::insert(
                &TABLE,
                vec![
                    stream.into(),
                    account.as_uuid().into(),
                    minter.as_uuid().into(),
                    sealed(hash, KeyHash::as_str),
                    prefix.as_str().into(),
                    sealed(label, Label::as_str),
                    (*at).into(),
                    (*expires_at).into(),
                    Value::Null,
                    Value::Null,
                    Value::Null,
                    Value::Null,
                    Value::Null,
                    Value::Null,
                    Value::Position,
                ],
            )]
        }
        AnyEvent::ApiKey(ApiKeyEvent::Rotated {
            prefix,
            former_prefix,
            former_until,
            hash,
            former_hash,
            ..
        }) => vec![RowChange::patch(
            &TABLE,
            key,
            [
                ("key_hash", sealed(hash, KeyHash::as_str)),
                ("key_prefix", prefix.as_str().into()),
                ("former_hash", sealed(former_hash, KeyHash::as_str)),
                ("former_prefix", former_prefix.as_str().into()),
                ("former_until", (*former_until).into()),
            ],
        )],
        AnyEvent::ApiKey(ApiKeyEvent::Revoked { at, .. }) => {
            let columns = [("revoked_at", (*at).into()), ("revoked_position", Value::Position)];
            vec![RowChange::patch(&TABLE, key, columns)]
        }
        AnyEvent::Ending(EndingEvent::ApiKeysRevoked(RevokedKeys { at, position, api_keys, .. })) => {
            let columns = || [("revoked_at", (*at).into()), ("ended_position", (*position).into())];
            api_keys.iter().map(|id| RowChange::patch(&TABLE, vec![id.as_uuid().into()], columns())).collect()
        }
        AnyEvent::Account(AccountEvent::Closed {
            listed: Some(ListedAtClosing { api_keys, .. }), ..
        })
        | AnyEvent::Ending(EndingEvent::AccountRowsRemoved(AccountRows { api_keys, .. })) => {
            api_keys.iter().map(|id| RowChange::delete(&TABLE, vec![id.as_uuid().into()])).collect()
        }
        _ => Vec::new(),
    }
}

fn read(row: &Row) -> Result<ApiKey, tokio_postgres::Error> {
    Ok(ApiKey {
        id: row.try_get(0)?,
        account_id: row.try_get(1)?,
        created_by_user_id: row.try_get(2)?,
        key_prefix: row.try_get(3)?,
        label: row.try_get::<_, Option<String>>(4)?.unwrap_or_default(),
        created_at: row.try_get(5)?,
        expires_at: row.try_get(6)?,
        revoked_at: row.try_get(7)?,
        last_used_at: row.try_get(8)?,
        position: row.try_get(9)?,
    })
}

/// Keys of open accounts, with `e.ended_at` and `e.position`: when each was revoked or ended with its minter's
/// membership, also if its row does not say so yet. `m` is the first ending of the minter's membership after the key
/// was minted; `p` is the forgetting of the minter, which counts while the membership has not been cleared away.
///
/// The membership is looked up by a scalar subquery, because for `exists` the planner may read all members into a hash table,
/// and by comparing rows, because by equal columns it may walk all members of the account.
pub(crate) const FROM: &str = "from view.api_keys k join view.accounts a on a.id = k.account_id
    left join coarse.last_used u on u.id = k.id
    cross join lateral (
        select least(p.at, m.at) as at, least(p.position, m.position) as position
        from (select min(x.at) as at, min(x.position) as position from view.endings x
              where x.id = k.account_id and x.user_id = k.created_by_user_id and x.position > k.position) m,
             (select min(x.at) as at, min(x.position) as position from view.endings x
              where x.id = k.created_by_user_id and x.user_id = '00000000-0000-0000-0000-000000000000'
                and (select true from view.members o
                     where (o.user_id, o.account_id) >= (k.created_by_user_id, k.account_id)
                       and (o.user_id, o.account_id) <= (k.created_by_user_id, k.account_id))) p
    ) w
    cross join lateral (
        select coalesce(k.revoked_at, w.at) as ended_at,
               coalesce(k.ended_position, k.revoked_position, w.position) as position
    ) e";

/// Keys that were active when the list began, at time $2 and position $3: those not revoked, and those revoked since.
const GOOD: [&str; 2] = [
    "k.revoked_at is null and (e.position is null or e.position > $3) and (k.expires_at is null or k.expires_at > $2)",
    REVOKED_SINCE,
];
const REVOKED_SINCE: &str = "k.revoked_at is not null and coalesce(k.ended_position, k.revoked_position) > $3
    and (k.expires_at is null or k.expires_at > $2)";

/// Keys that were not active when the list began: those not revoked, and those revoked.
const ENDED: [&str; 2] = [
    "k.revoked_at is null and (e.position <= $3 or k.expires_at <= $2)",
    "k.revoked_at is not null and (coalesce(k.ended_position, k.revoked_position) <= $3 or k.expires_at <= $2)",
];

impl Reader {
    /// The key with this identifier.
    ///
    /// # Errors
    /// [`QueryError::NotFound`]
    pub async fn api_key(&self, id: ApiKeyId) -> Result<ApiKey, QueryError> {
        self.one(&format!("select {COLUMNS} {FROM} where k.id = $1"), &[&id], read).await
    }

    /// The position of the event that ended a key, such as the removal of its minter; `None` within if it has not ended. `None` if there
    /// is no such key, or its account was closed.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn end_of_api_key(&self, id: ApiKeyId) -> Result<Option<Option<i64>>, QueryError> {
        match self
            .one(&format!("select e.position {FROM} where k.id = $1"), &[&id], |row| row.try_get(0))
            .await
        {
            Ok(end) => Ok(Some(end)),
            Err(QueryError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The labels of these keys, ended ones included, or the beginnings of those without a label; unknown keys are absent.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn labels_of_api_keys(&self, ids: &[ApiKeyId]) -> Result<HashMap<Uuid, String>, QueryError> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let sql = "select id, coalesce(nullif(label, ''), key_prefix) from view.api_keys where id = any ($1)";
        let rows = self.rows(sql, &[&ids]).await?;
        Ok(rows
            .iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
            .collect::<Result<_, tokio_postgres::Error>>()?)
    }

    /// All keys of an account: first the active ones, oldest first, then the others, oldest first.
    ///
    /// # Errors
    /// An item: the database cannot be read.
    pub fn api_keys_for_account(
        &self,
        account: AccountId,
        now: Timestamp,
    ) -> impl Stream<Item = Result<ApiKey, QueryError>> + use<> {
        let reader = self.clone();
        let read = move |after: Option<KeyPlace>| {
            let reader = reader.clone();
            async move {
                let after = match after {
                    Some(after) => after,
                    None => reader.api_keys_begin(now).await?,
                };
                reader.api_keys_after(account, after, page::PAGE).await
            }
        };
        page::all(None, read, |(_, place)| Some(*place)).map_ok(|(key, _)| key)
    }

    /// The cursor at the start of a list of keys that begins at this time.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn api_keys_begin(&self, now: Timestamp) -> Result<KeyPlace, QueryError> {
        Ok(KeyPlace { begun: now, newest: self.newest().await?, is_ended: false, key: TimeKey::OLDEST })
    }

    /// The keys of an account that come after this cursor, each with its own cursor, at most `limit`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn api_keys_after(
        &self,
        account: AccountId,
        after: KeyPlace,
        limit: usize,
    ) -> Result<Vec<(ApiKey, KeyPlace)>, QueryError> {
        let mut keys = Vec::new();
        if !after.is_ended {
            keys = self.keys_of_kind(GOOD, account, after, limit).await?;
        }
        if keys.len() < limit {
            let key = if after.is_ended { after.key } else { TimeKey::OLDEST };
            let ended = KeyPlace { is_ended: true, key, ..after };
            keys.extend(self.keys_of_kind(ENDED, account, ended, limit - keys.len()).await?);
        }
        Ok(keys)
    }

    async fn keys_of_kind(
        &self,
        [not_revoked, revoked]: [&str; 2],
        account: AccountId,
        after: KeyPlace,
        limit: usize,
    ) -> Result<Vec<(ApiKey, KeyPlace)>, QueryError> {
        // Each branch walks its own index. Few keys are revoked after a list began, so that branch finds them by
        // position first; `offset 0` keeps the planner from flattening the subquery and walking all keys by age.
        let branch = |condition: &str| {
            let from = if condition == REVOKED_SINCE {
                let since = format!(
                    "(select * from (
                          select * from view.api_keys k
                          where k.account_id = $1 and {condition} and (k.created_at, k.position) > ($4, $5) offset 0
                      ) s order by s.created_at, s.position limit $6) k"
                );
                FROM.replacen("view.api_keys k", &since, 1)
            } else {
                FROM.to_owned()
            };
            format!(
                "(select {COLUMNS} {from}
                  where k.account_id = $1 and {condition} and (k.created_at, k.position) > ($4, $5)
                  order by k.created_at, k.position limit $6)"
            )
        };
        let sql = format!(
            "select * from ({} union all {}) q (id, account_id, created_by_user_id, key_prefix, label, created_at,
                                                expires_at, ended_at, at, position)
             order by created_at, position limit $6",
            branch(not_revoked),
            branch(revoked)
        );
        let KeyPlace { begun, newest, key, .. } = after;
        let parameters: [&(dyn ToSql + Sync); 6] =
            [&account, &begun, &newest, &key.at, &key.position, &page::limit(limit)];
        let keys = self.list(&sql, &parameters, read).await?;
        let place =
            |key: &ApiKey| KeyPlace { key: TimeKey { at: key.created_at, position: key.position }, ..after };
        Ok(keys.into_iter().map(|key| (place(&key), key)).map(|(place, key)| (key, place)).collect())
    }

    /// The active keys with this prefix, by their current secret and by their former one while its grace lasts.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn api_key_candidates(
        &self,
        prefix: &KeyPrefix,
        now: Timestamp,
    ) -> Result<Vec<Candidate>, QueryError> {
        // Two branches, because the current and the former prefix have an index each.
        let sql = format!(
            "select {COLUMNS}, k.key_hash {FROM}
             where k.key_prefix = $1 and e.ended_at is null and (k.expires_at is null or k.expires_at > $2)
               and k.key_hash is not null
             union all
             select {COLUMNS}, k.former_hash {FROM}
             where k.former_prefix = $1 and e.ended_at is null and (k.expires_at is null or k.expires_at > $2)
               and k.former_hash is not null and k.former_until > $2"
        );
        self.list(&sql, &[&prefix.as_str(), &now], |row| {
            Ok(Candidate { key: read(row)?, hash: row.try_get(10)? })
        })
        .await
    }

    /// The keys of an open account that a user who is not forgotten has minted and that have not ended, expired ones
    /// included: their number, and the oldest of them, at most `limit`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn api_keys_minted_by(
        &self,
        account: AccountId,
        user: UserId,
        limit: usize,
    ) -> Result<(u64, Vec<ApiKeyId>), QueryError> {
        // Asked whenever a member leaves: of what ends a key in `FROM`, only the last end of the membership can matter here.
        // The window count ignores the limit, so it is the number of all keys.
        let sql = "select k.id, count(*) over () from view.api_keys k
                   where k.account_id = $1 and k.created_by_user_id = $2 and k.revoked_at is null
                     and k.position > coalesce((select max(x.position) from view.endings x
                                                where x.id = $1 and x.user_id = $2), 0)
                   order by k.position limit $3";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.rows(sql, &[&account, &user, &limit]).await?;
        let count: i64 = rows.first().map_or(Ok(0), |row| row.try_get(1))?;
        let keys = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        Ok((count.unsigned_abs(), keys))
    }

    /// As [`Reader::api_keys_minted_by`], in all accounts that the user is a member of.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn api_keys_of_member(
        &self,
        user: UserId,
        limit: usize,
    ) -> Result<(u64, Vec<ApiKeyId>), QueryError> {
        // Joins the membership: keys that were kept when a membership ended do not count.
        let sql = format!(
            "select k.id, count(*) over () {FROM} join view.members o on o.account_id = k.account_id and o.user_id = $1
             where k.created_by_user_id = $1 and k.revoked_at is null and e.ended_at is null
             order by k.position limit $2"
        );
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.rows(&sql, &[&user, &limit]).await?;
        let count: i64 = rows.first().map_or(Ok(0), |row| row.try_get(1))?;
        let keys = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        Ok((count.unsigned_abs(), keys))
    }

    /// Keys of an account that ended with this user's membership at this position and whose rows do not say so yet, at
    /// most `limit`, in no order.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn api_keys_ended_with(
        &self,
        account: AccountId,
        user: UserId,
        position: i64,
        limit: i64,
    ) -> Result<Vec<ApiKeyId>, QueryError> {
        // Keys minted after this position belong to a later membership.
        let sql = "select k.id from view.api_keys k
                   where k.account_id = $1 and k.revoked_at is null and k.created_by_user_id = $2 and k.position < $3
                   limit $4";
        self.list(sql, &[&account, &user, &position, &limit], |row| row.try_get(0)).await
    }

    /// How many keys of an account have not ended, expired ones included.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn count_of_api_keys(&self, account: AccountId) -> Result<u32, QueryError> {
        let sql = format!(
            "select count(*) {FROM} where k.account_id = $1 and k.revoked_at is null and e.ended_at is null"
        );
        self.count(&sql, &[&account]).await
    }
}
