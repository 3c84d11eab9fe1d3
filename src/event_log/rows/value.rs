//! Values of projected columns, and their encoding for PostgreSQL.

use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use uuid::Uuid;

use crate::clock::Timestamp;

/// A value of a projected column.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub enum Value {
    /// The SQL value null.
    #[default]
    Null,
    /// The value of a sealed field whose data key has been destroyed. Stored as null; a replay that meets it cannot tell
    /// what the table held before the key was destroyed.
    Unreadable,
    /// A value of type `boolean`.
    Bool(bool),
    /// A value of type `bigint`.
    Int(i64),
    /// A value of type `text`.
    Text(String),
    /// A value of type `uuid`.
    Uuid(Uuid),
    /// A value of type `bytea`.
    Bytes(Vec<u8>),
    /// A value of type `timestamptz`.
    Time(Timestamp),
    /// The position of the event that makes the change; known only once the event is stored.
    Position,
}

impl std::fmt::Debug for Value {
    /// Shows identifiers and numbers; hides text and octets, which may be personal.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Unreadable => f.write_str("unreadable"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Text(_) => f.write_str("text"),
            Self::Bytes(_) => f.write_str("octets"),
            Self::Uuid(value) => write!(f, "{value}"),
            Self::Time(value) => write!(f, "{value}"),
            Self::Position => f.write_str("position"),
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<Uuid> for Value {
    fn from(value: Uuid) -> Self {
        Self::Uuid(value)
    }
}

impl From<Timestamp> for Value {
    fn from(value: Timestamp) -> Self {
        Self::Time(value)
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl ToSql for Value {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut bytes::BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        // `accepts` cannot see the variant, so the type is checked here: the server would misread the bytes of another
        // type.
        fn typed<T: ToSql>(
            value: &T,
            ty: &Type,
            out: &mut bytes::BytesMut,
        ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
            if T::accepts(ty) { value.to_sql(ty, out) } else { Err(format!("no value of type {ty}").into()) }
        }
        match self {
            Self::Null | Self::Unreadable => Ok(IsNull::Yes),
            Self::Bool(value) => typed(value, ty, out),
            Self::Int(value) => typed(value, ty, out),
            Self::Text(value) => typed(value, ty, out),
            Self::Uuid(value) => typed(value, ty, out),
            Self::Bytes(value) => typed(value, ty, out),
            Self::Time(value) => typed(value, ty, out),
            Self::Position => Err("a position that was not coalesced".into()),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}
