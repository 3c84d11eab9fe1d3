//! A sealed field: open to those who hold its key, else unreadable.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a field could not be sealed or opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SealError {
    /// The block is not of the form that this release writes.
    #[error("a block of sealed fields is damaged")]
    Damaged,
    /// Another key, or a changed ciphertext.
    #[error("a sealed field does not open with its key")]
    Cipher,
    /// The opened value is not of the field's type.
    #[error("a sealed field holds a value of another type")]
    Type,
    /// A value to be stored is unreadable here, or the key of its subject is missing.
    #[error("the field `{0}` cannot be sealed: its value or its key is missing")]
    Missing(&'static str),
}

/// A value that is sealed wherever it is stored: open to those who hold its key, else unreadable.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum Sealed<T> {
    /// The value.
    Open(T),
    /// The key is gone or was not asked for.
    #[default]
    Unreadable,
}

impl<T> Sealed<T> {
    /// The value, if it is open.
    pub const fn open(&self) -> Option<&T> {
        match self {
            Self::Open(value) => Some(value),
            Self::Unreadable => None,
        }
    }
}

impl<T> From<T> for Sealed<T> {
    fn from(value: T) -> Self {
        Self::Open(value)
    }
}

impl<T> fmt::Debug for Sealed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open(_) => "Sealed(open)",
            Self::Unreadable => "Sealed(unreadable)",
        })
    }
}

/// A sealed field as the visitor sees it, whatever its type.
pub trait SealedField {
    /// The open value as JSON; `None` when unreadable.
    fn to_json(&self) -> Option<Vec<u8>>;
    /// Opens the field with its JSON.
    ///
    /// # Errors
    /// [`SealError::Type`]
    fn open_with(&mut self, json: &[u8]) -> Result<(), SealError>;
    /// Makes the field unreadable.
    fn blank(&mut self);
}

impl<T: Serialize + DeserializeOwned> SealedField for Sealed<T> {
    fn to_json(&self) -> Option<Vec<u8>> {
        self.open().and_then(|value| serde_json::to_vec(value).ok())
    }

    fn open_with(&mut self, json: &[u8]) -> Result<(), SealError> {
        *self = Self::Open(serde_json::from_slice(json).map_err(|_| SealError::Type)?);
        Ok(())
    }

    fn blank(&mut self) {
        *self = Self::Unreadable;
    }
}
