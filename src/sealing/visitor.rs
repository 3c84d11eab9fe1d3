//! How sealed fields are found in a value.

use super::data_key::Subject;
use super::field::{SealError, SealedField};

/// What visits the sealed fields of a value.
pub trait FieldVisitor {
    /// One field, whose name is stored and never changes.
    ///
    /// # Errors
    /// The field could not be sealed or opened.
    fn field(
        &mut self,
        name: &'static str,
        subject: Subject,
        field: &mut dyn SealedField,
    ) -> Result<(), SealError>;
}

/// A value with sealed fields.
pub trait SealedFields {
    /// Shows every sealed field to the visitor; `owner` is the subject of the stream.
    ///
    /// # Errors
    /// The first that the visitor returns.
    fn visit_sealed(&mut self, owner: Subject, visitor: &mut dyn FieldVisitor) -> Result<(), SealError>;
}
