//! Data keys: one per subject, which encrypts the subject's sealed fields.

use std::fmt;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use uuid::Uuid;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::field::SealError;
use crate::entropy::Entropy;

/// The length of an XChaCha20-Poly1305 nonce, in bytes.
pub const NONCE_LEN: usize = 24;

/// Whose data key seals a field: a user, an account and so on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Subject {
    /// The kind of subject: `user`, `account`, …
    pub kind: &'static str,
    /// The identifier of the subject within its kind.
    pub id: Uuid,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.id)
    }
}

/// A subject's data key, 256 bits. Destroying it makes everything sealed under it unreadable, everywhere and for ever.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct DataKey([u8; 32]);

impl DataKey {
    /// A new random key.
    #[must_use]
    pub fn new(entropy: &dyn Entropy) -> Self {
        let mut key = [0; 32];
        entropy.fill(&mut key);
        Self(key)
    }

    /// Wraps the bytes of an existing key.
    #[must_use]
    pub const fn from_bytes(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// The bytes of the key, for encrypting them under the master key.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Encrypts the plaintext and binds it to the associated data. Returns `nonce ‖ ciphertext`.
    ///
    /// # Errors
    /// [`SealError::Cipher`] if the plaintext is longer than the cipher allows (256 GiB).
    pub fn encrypt(
        &self,
        plain: &[u8],
        associated: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, SealError> {
        // XChaCha20's 192-bit nonces are long enough to be chosen at random.
        let mut nonce = [0; NONCE_LEN];
        entropy.fill(&mut nonce);
        let sealed = XChaCha20Poly1305::new(&self.0.into())
            .encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: associated })
            .map_err(|_| SealError::Cipher)?;
        let mut out = Vec::with_capacity(NONCE_LEN + sealed.len());
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&sealed);
        Ok(out)
    }

    /// Decrypts `nonce ‖ ciphertext`.
    ///
    /// # Errors
    /// [`SealError::Damaged`] if the input is too short; [`SealError::Cipher`] if the key is wrong, or the ciphertext
    /// or its associated data were changed.
    pub fn decrypt(&self, sealed: &[u8], associated: &[u8]) -> Result<Vec<u8>, SealError> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN).ok_or(SealError::Damaged)?;
        let nonce: [u8; NONCE_LEN] = nonce.try_into().map_err(|_| SealError::Damaged)?;
        XChaCha20Poly1305::new(&self.0.into())
            .decrypt(&XNonce::from(nonce), Payload { msg: sealed, aad: associated })
            .map_err(|_| SealError::Cipher)
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(hidden)")
    }
}
