//! Sealed fields: values that leave the process only as ciphertext, each under the key of the subject it belongs to.
//!
//! A sealed field is absent from every plain serialisation. One visitor takes the fields of an event (or of a
//! snapshot's state) out into a block of ciphertexts ([`block`]), and puts them back when the keys are there.

pub mod block;
mod data_key;
mod field;
mod visitor;

pub use block::{field_names, open, seal, subjects};
pub use data_key::{DataKey, NONCE_LEN, Subject};
pub use field::{SealError, Sealed, SealedField};
pub use visitor::{FieldVisitor, SealedFields};
