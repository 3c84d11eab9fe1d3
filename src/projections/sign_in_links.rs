//! `view.sign_in_links`: one row per sign-in link, including used and expired ones.

use uuid::Uuid;

use super::query::{QueryError, Reader};
use super::sealed_value::sealed;
use crate::aggregates::AnyEvent;
use crate::aggregates::ending::EndingEvent;
use crate::aggregates::secret::SecretDigest;
use crate::aggregates::sign_in_link::SignInLinkEvent;
use crate::clock::Timestamp;
use crate::event_log::rows::ColumnType::{Bytea, Position, Timestamptz, Uuid as UuidType};
use crate::event_log::rows::{Column, RowChange, Table, Value};
use crate::ids::{SignInLinkId, UserId};

/// The table definition. `digest` is null once the link is used.
pub static TABLE: Table = Table {
    name: "sign_in_links",
    version: 1,
    columns: &[
        Column::required("id", UuidType),
        Column::required("user_id", UuidType),
        Column::optional("digest", Bytea).changing(),
        Column::required("created_at", Timestamptz),
        Column::required("expires_at", Timestamptz),
        Column::optional("used_at", Timestamptz).changing(),
        Column::required("position", Position),
    ],
    key_columns: 1,
    fillfactor: 50,
    // Look-ups by secret; the unused links of a forgotten user, to clear them.
    indexes: &["(digest)", "(user_id, used_at)"],
};

/// The row changes that an event causes in the table.
pub(super) fn changes(stream: Uuid, event: &AnyEvent) -> Vec<RowChange> {
    let event = match event {
        AnyEvent::SignInLink(event) => event,
        AnyEvent::Ending(EndingEvent::PersonRowsBlanked(rows)) => {
            let columns = || [("used_at", rows.at.into()), ("digest", Value::Null)];
            let blank = |id: &SignInLinkId| RowChange::patch(&TABLE, vec![id.as_uuid().into()], columns());
            return rows.sign_in_links.iter().map(blank).collect();
        }
        _ => return Vec::new(),
    };
    vec![match event {
        SignInLinkEvent::Issued { user, at, expires_at, digest } => RowChange::insert(
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
        SignInLinkEvent::Used { at, .. } => RowChange::patch(
            &TABLE,
            vec![Value::Uuid(stream)],
            [("used_at", (*at).into()), ("digest", Value::Null)],
        ),
    }]
}

impl Reader {
    /// The active sign-in link with this secret, and its user.
    ///
    /// # Errors
    /// [`QueryError::NotFound`]: unknown, used or expired.
    pub async fn sign_in_link(
        &self,
        secret: &str,
        now: Timestamp,
    ) -> Result<(SignInLinkId, UserId), QueryError> {
        let digest = SecretDigest::of(secret);
        // Joins the user: forgetting a user ends the links before their rows say so.
        let sql = "select l.id, l.user_id from view.sign_in_links l
                   join view.users u on u.id = l.user_id and u.forgotten_at is null
                   where l.digest = $1 and l.used_at is null and l.expires_at > $2";
        self.one(sql, &[&digest.as_bytes().as_slice(), &now], |row| Ok((row.try_get(0)?, row.try_get(1)?)))
            .await
    }
}
