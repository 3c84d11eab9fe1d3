//! Encodes rows as one parameter: an array of composite values in PostgreSQL's binary format.
//!
//! One array of rows costs the server a third of what one array per column costs, because the server builds one set
//! instead of one per column (`docs/benchmarks.md`).

use std::fmt;

use bytes::{BufMut as _, BytesMut};
use tokio_postgres::types::{Field, IsNull, Kind, ToSql, Type, to_sql_checked};

/// Why a parameter could not be encoded.
pub type EncodeError = Box<dyn std::error::Error + Sync + Send>;

/// A value that can be written as a row of a composite type.
pub trait Row {
    /// Writes every field, in the order of the composite type.
    ///
    /// # Errors
    /// A value does not have the type of its field.
    fn write(&self, fields: &mut Fields<'_>) -> Result<(), EncodeError>;
}

/// Writes the fields of one row into the message.
pub struct Fields<'a> {
    rest: std::slice::Iter<'a, Field>,
    out: &'a mut BytesMut,
}

impl Fields<'_> {
    /// Writes the next field.
    ///
    /// # Errors
    /// The type has no more fields, or the value does not have the field's type.
    pub fn put(&mut self, value: &impl ToSql) -> Result<(), EncodeError> {
        let field = self.rest.next().ok_or("the type has fewer fields")?;
        self.out.put_u32(field.type_().oid());
        let place = self.out.len();
        // The length of null; overwritten below if there is a value.
        self.out.put_i32(-1);
        if let IsNull::No = value.to_sql_checked(field.type_(), self.out)? {
            let length = i32::try_from(self.out.len() - place - 4)?;
            self.out[place..place + 4].copy_from_slice(&length.to_be_bytes());
        }
        Ok(())
    }

    /// Writes null into all remaining fields.
    pub fn rest_is_null(&mut self) {
        for field in self.rest.by_ref() {
            self.out.put_u32(field.type_().oid());
            self.out.put_i32(-1);
        }
    }
}

/// The rows of an array of a composite type; encoded as null if there are none.
pub struct Rows<R>(Vec<R>);

impl<R> Rows<R> {
    /// Appends a row.
    pub fn push(&mut self, row: R) {
        self.0.push(row);
    }
}

impl<R> Default for Rows<R> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<R> FromIterator<R> for Rows<R> {
    fn from_iter<I: IntoIterator<Item = R>>(rows: I) -> Self {
        Self(rows.into_iter().collect())
    }
}

impl<R> fmt::Debug for Rows<R> {
    /// Shows only the number of rows, because their values may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows", self.0.len())
    }
}

impl<R: Row> ToSql for Rows<R> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, EncodeError> {
        let (Kind::Array(element), false) = (ty.kind(), self.0.is_empty()) else {
            return Ok(IsNull::Yes);
        };
        let Kind::Composite(fields) = element.kind() else {
            return Err(format!("{element} is not a composite type").into());
        };
        let (dimensions, has_nulls, first) = (1, 0, 1);
        out.put_i32(dimensions);
        out.put_i32(has_nulls);
        out.put_u32(element.oid());
        out.put_i32(i32::try_from(self.0.len())?);
        out.put_i32(first);
        for row in &self.0 {
            let place = out.len();
            // The length of the row, overwritten once it is known.
            out.put_i32(0);
            out.put_i32(i32::try_from(fields.len())?);
            let mut fields = Fields { rest: fields.iter(), out };
            row.write(&mut fields)?;
            if fields.rest.next().is_some() {
                return Err("the type has more fields".into());
            }
            let length = i32::try_from(out.len() - place - 4)?;
            out[place..place + 4].copy_from_slice(&length.to_be_bytes());
        }
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        matches!(ty.kind(), Kind::Array(element) if matches!(element.kind(), Kind::Composite(_)))
    }

    to_sql_checked!();
}
