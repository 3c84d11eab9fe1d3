//! `view.device_codes`: one row per device code, including denied, consumed and expired ones.

use tokio_postgres::Row;
use uuid::Uuid;

use super::query::{QueryError, Reader};
use super::sealed_value::sealed;
use crate::aggregates::AnyEvent;
use crate::aggregates::device_code::{ClientName, DeviceCodeEvent, UserCode, user_code_claim};
use crate::aggregates::secret::SecretDigest;
use crate::clock::Timestamp;
use crate::event_log::rows::ColumnType::{Bytea, Position, Text, Timestamptz, Uuid as UuidType};
use crate::event_log::rows::{Column, RowChange, Table, Value};
use crate::ids::{DeviceCodeId, UserId};

/// The table definition.
pub static TABLE: Table = Table {
    name: "device_codes",
    version: 1,
    columns: &[
        Column::required("id", UuidType),
        Column::optional("digest", Bytea),
        Column::optional("user_code", Text).without_statistics(),
        Column::optional("client_name", Text).without_statistics(),
        Column::optional("user_id", UuidType).changing(),
        Column::required("created_at", Timestamptz),
        Column::required("expires_at", Timestamptz),
        Column::optional("verified_at", Timestamptz).changing(),
        Column::optional("denied_at", Timestamptz).changing(),
        Column::optional("consumed_at", Timestamptz).changing(),
        Column::required("position", Position),
    ],
    key_columns: 1,
    // Most rows are updated once or twice soon after they are inserted: leave room for that on the page.
    fillfactor: 50,
    // Look-ups by device code; user codes are found through their claim.
    indexes: &["(digest)"],
};

const COLUMNS: &str =
    "id, user_code, client_name, user_id, created_at, expires_at, verified_at, denied_at, consumed_at";

/// A device code, without its secret, which is not stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceCode {
    /// The identifier of the device code.
    pub id: DeviceCodeId,
    /// The user code to type, as `XXXX-XXXX`; empty if it cannot be decrypted.
    pub user_code: String,
    /// The name that the device gave itself, unverified; empty if it cannot be decrypted.
    pub client_name: String,
    /// The user who approved the code; none until then.
    pub user_id: Option<UserId>,
    /// When the code was created.
    pub created_at: Timestamp,
    /// When the code expires.
    pub expires_at: Timestamp,
    /// When the code was approved; none if it was not.
    pub verified_at: Option<Timestamp>,
    /// When the code was denied; none if it was not.
    pub denied_at: Option<Timestamp>,
    /// When the device consumed the code; none if it has not.
    pub consumed_at: Option<Timestamp>,
}

impl DeviceCode {
    /// Whether a user can still approve the code or a device still consume it.
    #[must_use]
    pub fn is_living(&self, now: Timestamp) -> bool {
        self.denied_at.is_none() && self.consumed_at.is_none() && now < self.expires_at
    }
}

/// The row changes that an event causes in the table.
pub(super) fn changes(stream: Uuid, event: &AnyEvent) -> Vec<RowChange> {
    let AnyEvent::DeviceCode(event) = event else {
        return Vec::new();
    };
    let key = vec![Value::Uuid(stream)];
    vec![match event {
        DeviceCodeEvent::Created { at, expires_at, digest, user_code, client_name } => RowChange::insert(
            &TABLE,
            vec![
                stream.into(),
                sealed(digest, |digest| Value::Bytes(digest.as_bytes().to_vec())),
                sealed(user_code, UserCode::shown),
                sealed(client_name, ClientName::as_str),
                Value::Null,
                (*at).into(),
                (*expires_at).into(),
                Value::Null,
                Value::Null,
                Value::Null,
                Value::Position,
            ],
        ),
        DeviceCodeEvent::Approved { user, at } => {
            RowChange::patch(&TABLE, key, [("user_id", user.as_uuid().into()), ("verified_at", (*at).into())])
        }
        DeviceCodeEvent::Denied { at, .. } => RowChange::patch(&TABLE, key, [("denied_at", (*at).into())]),
        DeviceCodeEvent::Consumed { at, .. } => {
            RowChange::patch(&TABLE, key, [("consumed_at", (*at).into())])
        }
    }]
}

fn read(row: &Row) -> Result<DeviceCode, tokio_postgres::Error> {
    Ok(DeviceCode {
        id: row.try_get(0)?,
        user_code: row.try_get::<_, Option<String>>(1)?.unwrap_or_default(),
        client_name: row.try_get::<_, Option<String>>(2)?.unwrap_or_default(),
        user_id: row.try_get(3)?,
        created_at: row.try_get(4)?,
        expires_at: row.try_get(5)?,
        verified_at: row.try_get(6)?,
        denied_at: row.try_get(7)?,
        consumed_at: row.try_get(8)?,
    })
}

impl Reader {
    /// The device code with this secret, in any state.
    ///
    /// # Errors
    /// [`QueryError::NotFound`]
    pub async fn device_code(&self, code: &str) -> Result<DeviceCode, QueryError> {
        let digest = SecretDigest::of(code);
        let sql = format!("select {COLUMNS} from view.device_codes where digest = $1");
        self.one(&sql, &[&digest.as_bytes().as_slice()], read).await
    }

    /// The active device code with this user code, typed in any case, with or without the hyphen.
    ///
    /// # Errors
    /// [`QueryError::NotFound`]
    pub async fn device_code_by_user_code(
        &self,
        typed: &str,
        now: Timestamp,
    ) -> Result<DeviceCode, QueryError> {
        let code = UserCode::parse(typed).map_err(|_| QueryError::NotFound)?;
        // Found through the claim, which says which of several codes with this user code is the latest.
        let claim = user_code_claim(&code, self.hasher());
        let sql =
            format!("select {COLUMNS} from view.device_codes where id = {}", super::unique_claims::HOLDER);
        let found = self.one(&sql, &[&claim.kind, &claim.key.as_slice()], read).await?;
        if found.is_living(now) { Ok(found) } else { Err(QueryError::NotFound) }
    }
}
