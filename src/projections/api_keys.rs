//! `view.api_keys`: one row a key, revoked ones too, until its account is closed.

use tokio_postgres::Row;
use uuid::Uuid;

use super::query::{QueryError, Reader};
use crate::aggregates::AnyEvent;
use crate::aggregates::account::AccountEvent;
use crate::aggregates::api_key::{ApiKeyEvent, KeyHash, KeyPrefix, Label};
use crate::clock::Timestamp;
use crate::event_log::rows::ColumnType::{Position, Text, Timestamptz, Uuid as UuidType};
use crate::event_log::rows::{Column, RowChange, Table, Value};
use crate::ids::{AccountId, ApiKeyId, UserId};

/// The table.
pub static TABLE: Table = Table {
    name: "api_keys",
    version: 1,
    columns: &[
        Column::required("id", UuidType),
        Column::required("account_id", UuidType),
        Column::required("created_by_user_id", UuidType),
        Column::optional("key_hash", Text),
        Column::required("key_prefix", Text),
        Column::optional("label", Text),
        Column::required("created_at", Timestamptz),
        Column::optional("expires_at", Timestamptz),
        Column::optional("revoked_at", Timestamptz),
        Column::optional("former_hash", Text),
        Column::optional("former_prefix", Text),
        Column::optional("former_until", Timestamptz),
        Column::required("position", Position),
    ],
    key_columns: 1,
    fill: 70,
    indexes: &["(account_id, revoked_at)", "(key_prefix)", "(former_prefix) where former_prefix is not null"],
};

const COLUMNS: &str = "k.id, k.account_id, k.created_by_user_id, k.key_prefix, k.label, k.created_at, k.expires_at, \
                       k.revoked_at, u.at";

/// A key's record; its hash is not part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// The identifier.
    pub id: ApiKeyId,
    /// The tenant that it acts for.
    pub account_id: AccountId,
    /// Who minted it.
    pub created_by_user_id: UserId,
    /// The first characters behind the sentinel.
    pub key_prefix: String,
    /// What people call it.
    pub label: String,
    /// When it was minted.
    pub created_at: Timestamp,
    /// From when on it is dead, if ever.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was last good for something, to the minute.
    pub last_used_at: Option<Timestamp>,
}

/// What a plaintext key is compared with.
#[derive(Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The key's record.
    pub key: ApiKey,
    /// The PHC string.
    pub hash: String,
}

/// What an event does to the table.
pub(super) fn changes(stream: Uuid, event: &AnyEvent) -> Vec<RowChange> {
    let key = vec![Value::Uuid(stream)];
    match event {
        AnyEvent::ApiKey(ApiKeyEvent::Minted { account, minter, prefix, at, expires_at, hash, label }) => {
            vec![RowChange::insert(
                &TABLE,
                vec![
                    stream.into(),
                    account.as_uuid().into(),
                    minter.as_uuid().into(),
                    hash.open().map(KeyHash::as_str).into(),
                    prefix.as_str().into(),
                    label.open().map(Label::as_str).into(),
                    (*at).into(),
                    (*expires_at).into(),
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
                ("key_hash", hash.open().map(KeyHash::as_str).into()),
                ("key_prefix", prefix.as_str().into()),
                ("former_hash", former_hash.open().map(KeyHash::as_str).into()),
                ("former_prefix", former_prefix.as_str().into()),
                ("former_until", (*former_until).into()),
            ],
        )],
        AnyEvent::ApiKey(ApiKeyEvent::Revoked { at, .. }) => {
            vec![RowChange::patch(&TABLE, key, [("revoked_at", (*at).into())])]
        }
        AnyEvent::Account(AccountEvent::Closed { api_keys, .. }) => {
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
    })
}

const FROM: &str = "from view.api_keys k left join coarse.last_used u on u.id = k.id";

impl Reader {
    /// The key with this identifier.
    ///
    /// # Errors
    /// [`QueryError::NotFound`]
    pub async fn api_key(&self, id: ApiKeyId) -> Result<ApiKey, QueryError> {
        self.one(&format!("select {COLUMNS} {FROM} where k.id = $1"), &[&id], read).await
    }

    /// All keys of an account: those that are good by age, then the others by age.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn api_keys_for_account(
        &self,
        account: AccountId,
        now: Timestamp,
    ) -> Result<Vec<ApiKey>, QueryError> {
        let sql = format!(
            "select {COLUMNS} {FROM} where k.account_id = $1
             order by (k.revoked_at is not null or coalesce(k.expires_at <= $2, false)), k.created_at, k.position"
        );
        self.list(&sql, &[&account, &now], read).await
    }

    /// The keys that are good now and begin like this, their former secrets among them.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn api_key_candidates(
        &self,
        prefix: &KeyPrefix,
        now: Timestamp,
    ) -> Result<Vec<Candidate>, QueryError> {
        let sql = format!(
            "select {COLUMNS}, k.key_hash {FROM}
             where k.key_prefix = $1 and k.revoked_at is null and (k.expires_at is null or k.expires_at > $2)
               and k.key_hash is not null
             union all
             select {COLUMNS}, k.former_hash {FROM}
             where k.former_prefix = $1 and k.revoked_at is null and (k.expires_at is null or k.expires_at > $2)
               and k.former_hash is not null and k.former_until > $2"
        );
        self.list(&sql, &[&prefix.as_str(), &now], |row| {
            Ok(Candidate { key: read(row)?, hash: row.try_get(9)? })
        })
        .await
    }

    /// The keys of an account that a user has minted and that are not revoked.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn api_keys_minted_by(
        &self,
        account: AccountId,
        user: UserId,
    ) -> Result<Vec<ApiKeyId>, QueryError> {
        let sql = "select id from view.api_keys
                   where account_id = $1 and created_by_user_id = $2 and revoked_at is null order by position";
        self.list(sql, &[&account, &user], |row| row.try_get(0)).await
    }

    /// Every key of an account, and whether it is revoked.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn api_keys_ever(&self, account: AccountId) -> Result<Vec<(ApiKeyId, bool)>, QueryError> {
        let sql =
            "select id, revoked_at is not null from view.api_keys where account_id = $1 order by position";
        self.list(sql, &[&account], |row| Ok((row.try_get(0)?, row.try_get(1)?))).await
    }

    /// How many keys of an account are not revoked.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn count_of_api_keys(&self, account: AccountId) -> Result<u32, QueryError> {
        let sql = "select count(*) from view.api_keys where account_id = $1 and revoked_at is null";
        self.count(sql, &[&account]).await
    }
}
