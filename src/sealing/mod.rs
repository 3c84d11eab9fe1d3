//! Sealed fields: values that leave the process only as ciphertext, each encrypted under the data key of its subject.
//!
//! A sealed field is absent from every plain serialisation. One visitor moves the fields of an event (or of a
//! snapshot's state) into a block of ciphertexts ([`block`]), and restores them if their keys exist.

pub mod block;
mod data_key;
mod field;
mod visitor;

pub use block::{field_names, open, seal, subjects};
pub use data_key::{DataKey, NONCE_LEN, Subject};
pub use field::{SealError, Sealed, SealedField};
pub use visitor::{FieldVisitor, SealedFields};
