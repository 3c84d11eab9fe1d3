//! `view.bearer_tokens`: one row per bearer token, including revoked and expired ones.

use std::collections::HashMap;

use futures::Stream;
use tokio_postgres::Row;
use uuid::Uuid;

use super::page::{self, TimeKey};
use super::query::{QueryError, Reader};
use super::sealed_value::sealed;
use crate::aggregates::AnyEvent;
use crate::aggregates::bearer_token::BearerTokenEvent;
use crate::aggregates::ending::EndingEvent;
use crate::aggregates::secret::SecretDigest;
use crate::clock::Timestamp;
use crate::event_log::rows::ColumnType::{Bytea, Position, Text, Timestamptz, Uuid as UuidType};
use crate::event_log::rows::{Column, RowChange, Table, Value};
use crate::ids::{BearerTokenId, UserId};

/// The table definition. `digest` is null once the token is revoked.
pub static TABLE: Table = Table {
    name: "bearer_tokens",
    version: 1,
    columns: &[
        Column::required("id", UuidType),
        Column::required("user_id", UuidType),
        Column::optional("digest", Bytea).changing(),
        Column::required("prefix", Text),
        Column::required("created_at", Timestamptz),
        Column::required("expires_at", Timestamptz),
        Column::optional("revoked_at", Timestamptz).changing(),
        Column::required("position", Position),
    ],
    key_columns: 1,
    fillfactor: 80,
    indexes: &[
        // Look-ups by secret.
        "(digest)",
        // Pages of a user's tokens.
        "(user_id, created_at, position)",
        // The count of a user's active tokens, without walking past revoked ones.
        "(user_id, expires_at) where revoked_at is null",
    ],
};

const COLUMNS: &str = "t.id, t.user_id, t.prefix, t.created_at, t.expires_at, coalesce(t.revoked_at, o.forgotten_at), u.at, t.position";
/// Tokens joined with their users: forgetting a user ends the tokens before their rows say so.
const FROM: &str = "from view.bearer_tokens t join view.users o on o.id = t.user_id
                    left join coarse.last_used u on u.id = t.id";

/// A bearer token, without its secret, which is not stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BearerToken {
    /// The identifier of the token.
    pub id: BearerTokenId,
    /// The user that the token acts for.
    pub user_id: UserId,
    /// The first characters of the secret, for display.
    pub prefix: String,
    /// When the token was issued.
    pub created_at: Timestamp,
    /// When the token expires.
    pub expires_at: Timestamp,
    /// When the token was revoked or ended with its user; none while it is active.
    pub revoked_at: Option<Timestamp>,
    /// When the token was last accepted, to the minute; none if never.
    pub last_used_at: Option<Timestamp>,
    /// The position of the event that issued the token.
    pub position: i64,
}

impl BearerToken {
    /// The token that this event issues; none for any other event.
    #[must_use]
    pub fn issued(position: i64, stream: Uuid, event: &AnyEvent) -> Option<Self> {
        let AnyEvent::BearerToken(BearerTokenEvent::Issued { user, prefix, at, expires_at, .. }) = event
        else {
            return None;
        };
        Some(Self {
            id: BearerTokenId::from_uuid(stream),
            user_id: *user,
            prefix: prefix.as_str().to_owned(),
            created_at: *at,
            expires_at: *expires_at,
            revoked_at: None,
            last_used_at: None,
            position,
        })
    }

    /// The cursor of this token in the list of its user's tokens.
    #[must_use]
    pub const fn key(&self) -> TimeKey {
        TimeKey { at: self.created_at, position: self.position }
    }
}

/// The row changes that an event causes in the table.
pub(super) fn changes(stream: Uuid, event: &AnyEvent) -> Vec<RowChange> {
    let event = match event {
        AnyEvent::BearerToken(event) => event,
        AnyEvent::Ending(EndingEvent::PersonRowsBlanked(rows)) => {
            let columns = || [("revoked_at", rows.at.into()), ("digest", Value::Null)];
            return rows
                .bearer_tokens
                .iter()
                .map(|id| RowChange::patch(&TABLE, vec![id.as_uuid().into()], columns()))
                .collect();
        }
        _ => return Vec::new(),
    };
    vec![match event {
        BearerTokenEvent::Issued { user, prefix, at, expires_at, digest } => RowChange::insert(
            &TABLE,
            vec![
                stream.into(),
                user.as_uuid().into(),
                sealed(digest, |digest| Value::Bytes(digest.as_bytes().to_vec())),
                prefix.as_str().into(),
                (*at).into(),
                (*expires_at).into(),
                Value::Null,
                Value::Position,
            ],
        ),
        // The digest is removed too: after its user is forgotten, a rebuild cannot restore it from the log either.
        BearerTokenEvent::Revoked { at, .. } => RowChange::patch(
            &TABLE,
            vec![Value::Uuid(stream)],
            [("revoked_at", (*at).into()), ("digest", Value::Null)],
        ),
    }]
}

fn read(row: &Row) -> Result<BearerToken, tokio_postgres::Error> {
    Ok(BearerToken {
        id: row.try_get(0)?,
        user_id: row.try_get(1)?,
        prefix: row.try_get(2)?,
        created_at: row.try_get(3)?,
        expires_at: row.try_get(4)?,
        revoked_at: row.try_get(5)?,
        last_used_at: row.try_get(6)?,
        position: row.try_get(7)?,
    })
}

impl Reader {
    /// The beginnings of these tokens, ended ones included; unknown tokens are absent.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn prefixes_of_bearer_tokens(
        &self,
        ids: &[BearerTokenId],
    ) -> Result<HashMap<Uuid, String>, QueryError> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let rows =
            self.rows("select id, prefix from view.bearer_tokens where id = any ($1)", &[&ids]).await?;
        Ok(rows
            .iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
            .collect::<Result<_, tokio_postgres::Error>>()?)
    }

    /// The active bearer token with this secret.
    ///
    /// # Errors
    /// [`QueryError::NotFound`]: unknown, revoked or expired.
    pub async fn bearer_token(&self, secret: &str, now: Timestamp) -> Result<BearerToken, QueryError> {
        let digest = SecretDigest::of(secret);
        let sql = format!(
            "select {COLUMNS} {FROM} where t.digest = $1 and t.revoked_at is null and t.expires_at > $2
               and o.forgotten_at is null"
        );
        self.one(&sql, &[&digest.as_bytes().as_slice(), &now], read).await
    }

    /// All bearer tokens of a user, oldest first.
    ///
    /// # Errors
    /// An item: the database cannot be read.
    pub fn bearer_tokens_for_user(
        &self,
        user: UserId,
    ) -> impl Stream<Item = Result<BearerToken, QueryError>> + use<> {
        let reader = self.clone();
        let read = move |after| {
            let reader = reader.clone();
            async move { reader.bearer_tokens_after(user, after, page::PAGE).await }
        };
        page::all(TimeKey::OLDEST, read, BearerToken::key)
    }

    /// The bearer tokens of a user that come after this cursor, oldest first, at most `limit`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn bearer_tokens_after(
        &self,
        user: UserId,
        after: TimeKey,
        limit: usize,
    ) -> Result<Vec<BearerToken>, QueryError> {
        let sql = format!(
            "select {COLUMNS} {FROM} where t.user_id = $1 and (t.created_at, t.position) > ($2, $3)
             order by t.created_at, t.position limit $4"
        );
        self.list(&sql, &[&user, &after.at, &after.position, &page::limit(limit)], read).await
    }

    /// The bearer token with this identifier, active or not.
    ///
    /// # Errors
    /// [`QueryError::NotFound`]
    pub async fn bearer_token_by_id(&self, id: BearerTokenId) -> Result<BearerToken, QueryError> {
        self.one(&format!("select {COLUMNS} {FROM} where t.id = $1"), &[&id], read).await
    }

    /// How many active bearer tokens a user has.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn count_of_bearer_tokens(&self, user: UserId, now: Timestamp) -> Result<u32, QueryError> {
        // Checks the user too: a forgotten user has no active tokens, whatever the rows still say.
        let sql = "select count(*) from view.bearer_tokens
                   where user_id = $1 and revoked_at is null and expires_at > $2
                     and exists (select from view.users where id = $1 and forgotten_at is null)";
        self.count(sql, &[&user, &now]).await
    }
}
