//! A sealed field: open where its key is available, otherwise unreadable.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a field could not be sealed or opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SealError {
    /// The block does not have the format that this release writes.
    #[error("a block of sealed fields is damaged")]
    Damaged,
    /// Decryption failed: the key is wrong, or the ciphertext or its associated data were changed.
    #[error("a sealed field does not open with its key")]
    Cipher,
    /// The opened value is not of the field's type.
    #[error("a sealed field holds a value of another type")]
    Type,
    /// The value to seal is unreadable here, or its subject's key is missing.
    #[error("the field `{0}` cannot be sealed: its value or its key is missing")]
    Missing(&'static str),
}

/// A value that is stored only encrypted: open where its key is available, otherwise unreadable.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum Sealed<T> {
    /// The decrypted value.
    Open(T),
    /// The key has been destroyed or was not loaded.
    #[default]
    Unreadable,
}

impl<T> Sealed<T> {
    /// The value; `None` if it is unreadable.
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

/// A sealed field as the visitor sees it, with its type erased.
pub trait SealedField {
    /// The open value as JSON; `None` if it is unreadable.
    fn to_json(&self) -> Option<Vec<u8>>;
    /// Opens the field with its decrypted JSON.
    ///
    /// # Errors
    /// [`SealError::Type`] if the JSON does not fit the field's type.
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
