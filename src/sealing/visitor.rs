//! The visitor that finds the sealed fields of a value.

use super::data_key::Subject;
use super::field::{SealError, SealedField};

/// Visits the sealed fields of a value, to seal, open or inspect them.
pub trait FieldVisitor {
    /// Visits one field. Its name is stored in the block and must never change.
    ///
    /// # Errors
    /// [`SealError`] if the field cannot be sealed or opened.
    fn field(
        &mut self,
        name: &'static str,
        subject: Subject,
        field: &mut dyn SealedField,
    ) -> Result<(), SealError>;
}

/// A value with sealed fields: an event or an aggregate's state.
pub trait SealedFields {
    /// Passes every sealed field to the visitor; `owner` is the subject of the stream.
    ///
    /// # Errors
    /// The first error that the visitor returns.
    fn visit_sealed(&mut self, owner: Subject, visitor: &mut dyn FieldVisitor) -> Result<(), SealError>;
}
