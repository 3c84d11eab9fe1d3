//! `view.sessions`: one row a session, ended and expired ones too.

use futures::Stream;
use tokio_postgres::Row;
use uuid::Uuid;

use super::page::{self, TimeKey};
use super::query::{QueryError, Reader};
use crate::aggregates::AnyEvent;
use crate::aggregates::ending::EndingEvent;
use crate::aggregates::secret::SecretDigest;
use crate::aggregates::session::SessionEvent;
use crate::clock::Timestamp;
use crate::event_log::rows::ColumnType::{Bytea, Position, Timestamptz, Uuid as UuidType};
use crate::event_log::rows::{Column, RowChange, Table, Value};
use crate::ids::{SessionId, UserId};

/// The table.
pub static TABLE: Table = Table {
    name: "sessions",
    version: 1,
    columns: &[
        Column::required("id", UuidType),
        Column::required("user_id", UuidType),
        Column::optional("digest", Bytea),
        Column::required("created_at", Timestamptz),
        Column::required("expires_at", Timestamptz),
        Column::optional("ended_at", Timestamptz),
        Column::required("position", Position),
    ],
    key_columns: 1,
    fillfactor: 80,
    indexes: &["(digest)", "(user_id, created_at, position)", "(user_id, expires_at) where ended_at is null"],
};

const COLUMNS: &str =
    "t.id, t.user_id, t.created_at, t.expires_at, coalesce(t.ended_at, o.forgotten_at), t.position";
const FROM: &str = "from view.sessions t join view.users o on o.id = t.user_id";

/// The record of a session; the secret itself is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The identifier.
    pub id: SessionId,
    /// Whose it is.
    pub user_id: UserId,
    /// Since when.
    pub created_at: Timestamp,
    /// From when on it is dead.
    pub expires_at: Timestamp,
    /// When it was ended before its time.
    pub ended_at: Option<Timestamp>,
    /// The position of the event that began it.
    pub position: i64,
}

impl Session {
    /// Its key among the sessions of its person.
    #[must_use]
    pub const fn key(&self) -> TimeKey {
        TimeKey { at: self.created_at, position: self.position }
    }
}

/// What an event does to the table.
pub(super) fn changes(stream: Uuid, event: &AnyEvent) -> Vec<RowChange> {
    let event = match event {
        AnyEvent::Session(event) => event,
        AnyEvent::Ending(EndingEvent::PersonRowsBlanked(rows)) => {
            let columns = || [("ended_at", rows.at.into()), ("digest", Value::Null)];
            return rows
                .sessions
                .iter()
                .map(|id| RowChange::patch(&TABLE, vec![id.as_uuid().into()], columns()))
                .collect();
        }
        _ => return Vec::new(),
    };
    vec![match event {
        SessionEvent::Started { user, at, expires_at, digest } => RowChange::insert(
            &TABLE,
            vec![
                stream.into(),
                user.as_uuid().into(),
                digest.open().map_or(Value::Null, |digest| Value::Bytes(digest.as_bytes().to_vec())),
                (*at).into(),
                (*expires_at).into(),
                Value::Null,
                Value::Position,
            ],
        ),
        // The digest goes with it: a forgotten person's cannot be made again from the log either.
        SessionEvent::Ended { at, .. } => RowChange::patch(
            &TABLE,
            vec![Value::Uuid(stream)],
            [("ended_at", (*at).into()), ("digest", Value::Null)],
        ),
    }]
}

fn read(row: &Row) -> Result<Session, tokio_postgres::Error> {
    Ok(Session {
        id: row.try_get(0)?,
        user_id: row.try_get(1)?,
        created_at: row.try_get(2)?,
        expires_at: row.try_get(3)?,
        ended_at: row.try_get(4)?,
        position: row.try_get(5)?,
    })
}

impl Reader {
    /// The living session with this secret.
    ///
    /// # Errors
    /// [`QueryError::NotFound`]: unknown, ended, or dead by the clock.
    pub async fn session(&self, secret: &str, now: Timestamp) -> Result<Session, QueryError> {
        let digest = SecretDigest::of(secret);
        let sql = format!(
            "select {COLUMNS} {FROM} where t.digest = $1 and t.ended_at is null and t.expires_at > $2
               and o.forgotten_at is null"
        );
        self.one(&sql, &[&digest.as_bytes().as_slice(), &now], read).await
    }

    /// All sessions of a person, oldest first.
    ///
    /// # Errors
    /// An item: the database cannot be read.
    pub fn sessions_for_user(&self, user: UserId) -> impl Stream<Item = Result<Session, QueryError>> + use<> {
        let reader = self.clone();
        let read = move |after| {
            let reader = reader.clone();
            async move { reader.sessions_after(user, after, page::PAGE).await }
        };
        page::all(TimeKey::OLDEST, read, Session::key)
    }

    /// The sessions of a person that came behind the one with this key, oldest first, at most `limit`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn sessions_after(
        &self,
        user: UserId,
        after: TimeKey,
        limit: usize,
    ) -> Result<Vec<Session>, QueryError> {
        let sql = format!(
            "select {COLUMNS} {FROM} where t.user_id = $1 and (t.created_at, t.position) > ($2, $3)
             order by t.created_at, t.position limit $4"
        );
        self.list(&sql, &[&user, &after.at, &after.position, &page::limit(limit)], read).await
    }

    /// The living sessions of a person, oldest first, at most `limit`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn living_sessions(
        &self,
        user: UserId,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Session>, QueryError> {
        let sql = format!(
            "select {COLUMNS} {FROM}
             where t.user_id = $1 and t.ended_at is null and t.expires_at > $2 and o.forgotten_at is null
             order by t.created_at, t.position limit $3"
        );
        self.list(&sql, &[&user, &now, &page::limit(limit)], read).await
    }

    /// The session with this identifier, whatever has become of it.
    ///
    /// # Errors
    /// [`QueryError::NotFound`]
    pub async fn session_by_id(&self, id: SessionId) -> Result<Session, QueryError> {
        self.one(&format!("select {COLUMNS} {FROM} where t.id = $1"), &[&id], read).await
    }

    /// How many sessions of a person are living.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn count_of_sessions(&self, user: UserId, now: Timestamp) -> Result<u32, QueryError> {
        let sql =
            "select count(*) from view.sessions where user_id = $1 and ended_at is null and expires_at > $2
                   and exists (select from view.users where id = $1 and forgotten_at is null)";
        self.count(sql, &[&user, &now]).await
    }
}
