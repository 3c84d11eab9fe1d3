//! `view.sessions`: one row per session, including ended and expired ones.

use futures::Stream;
use tokio_postgres::Row;
use uuid::Uuid;

use super::page::{self, TimeKey};
use super::query::{QueryError, Reader};
use super::sealed_value::sealed;
use crate::aggregates::AnyEvent;
use crate::aggregates::ending::EndingEvent;
use crate::aggregates::secret::SecretDigest;
use crate::aggregates::session::SessionEvent;
use crate::clock::Timestamp;
use crate::event_log::rows::ColumnType::{Bytea, Position, Timestamptz, Uuid as UuidType};
use crate::event_log::rows::{Column, RowChange, Table, Value};
use crate::ids::{SessionId, UserId};

/// The table definition. `digest` is null once the session has ended.
pub static TABLE: Table = Table {
    name: "sessions",
    version: 1,
    columns: &[
        Column::required("id", UuidType),
        Column::required("user_id", UuidType),
        Column::optional("digest", Bytea).changing(),
        Column::required("created_at", Timestamptz),
        Column::required("expires_at", Timestamptz),
        Column::optional("ended_at", Timestamptz).changing(),
        Column::required("position", Position),
    ],
    key_columns: 1,
    fillfactor: 80,
    // Look-ups by secret; pages of a user's sessions; a user's active sessions without walking past ended ones.
    indexes: &["(digest)", "(user_id, created_at, position)", "(user_id, expires_at) where ended_at is null"],
};

const COLUMNS: &str =
    "t.id, t.user_id, t.created_at, t.expires_at, coalesce(t.ended_at, o.forgotten_at), t.position";
/// Sessions joined with their users: forgetting a user ends the sessions before their rows say so.
const FROM: &str = "from view.sessions t join view.users o on o.id = t.user_id";

/// A browser session, without its secret, which is not stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The identifier of the session.
    pub id: SessionId,
    /// The user who is signed in.
    pub user_id: UserId,
    /// When the session started.
    pub created_at: Timestamp,
    /// When the session expires.
    pub expires_at: Timestamp,
    /// When the session was ended before it expired; none otherwise.
    pub ended_at: Option<Timestamp>,
    /// The position of the event that started the session.
    pub position: i64,
}

impl Session {
    /// The cursor of this session in the list of its user's sessions.
    #[must_use]
    pub const fn key(&self) -> TimeKey {
        TimeKey { at: self.created_at, position: self.position }
    }
}

/// The row changes that an event causes in the table.
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
                sealed(digest, |digest| Value::Bytes(digest.as_bytes().to_vec())),
                (*at).into(),
                (*expires_at).into(),
                Value::Null,
                Value::Position,
            ],
        ),
        // The digest is removed too: after its user is forgotten, a rebuild cannot restore it from the log either.
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
    /// The active session with this secret.
    ///
    /// # Errors
    /// [`QueryError::NotFound`]: unknown, ended or expired.
    pub async fn session(&self, secret: &str, now: Timestamp) -> Result<Session, QueryError> {
        let digest = SecretDigest::of(secret);
        let sql = format!(
            "select {COLUMNS} {FROM} where t.digest = $1 and t.ended_at is null and t.expires_at > $2
               and o.forgotten_at is null"
        );
        self.one(&sql, &[&digest.as_bytes().as_slice(), &now], read).await
    }

    /// All sessions of a user, oldest first.
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

    /// The sessions of a user that come after this cursor, oldest first, at most `limit`.
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

    /// The active sessions of a user, oldest first, at most `limit`.
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

    /// The session with this identifier, active or not.
    ///
    /// # Errors
    /// [`QueryError::NotFound`]
    pub async fn session_by_id(&self, id: SessionId) -> Result<Session, QueryError> {
        self.one(&format!("select {COLUMNS} {FROM} where t.id = $1"), &[&id], read).await
    }

    /// How many active sessions a user has.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn count_of_sessions(&self, user: UserId, now: Timestamp) -> Result<u32, QueryError> {
        // Checks the user too: a forgotten user has no active sessions, whatever the rows still say.
        let sql =
            "select count(*) from view.sessions where user_id = $1 and ended_at is null and expires_at > $2
                   and exists (select from view.users where id = $1 and forgotten_at is null)";
        self.count(sql, &[&user, &now]).await
    }
}
