//! Data keys: one per subject, which encrypts the subject's sealed fields.

use std::fmt;

use chacha20::{R20, hchacha};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use uuid::Uuid;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::field::SealError;
use crate::entropy::Entropy;

/// The length of an XChaCha20-Poly1305 nonce, in bytes.
pub const NONCE_LEN: usize = 24;

/// How many bytes of the nonce are mixed into the key.
const MIXED: usize = 16;

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
        self.encrypt_with(nonce, plain, associated)
    }

    fn encrypt_with(
        &self,
        nonce: [u8; NONCE_LEN],
        plain: &[u8],
        associated: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let (cipher, short) = self.cipher(&nonce)?;
        let mut out = Vec::with_capacity(NONCE_LEN + plain.len() + CHACHA20_POLY1305.tag_len());
        out.extend_from_slice(&nonce);
        out.extend_from_slice(plain);
        let tag = cipher
            .seal_in_place_separate_tag(short, Aad::from(associated), &mut out[NONCE_LEN..])
            .map_err(|_| SealError::Cipher)?;
        out.extend_from_slice(tag.as_ref());
        Ok(out)
    }

    /// Decrypts `nonce ‖ ciphertext`.
    ///
    /// # Errors
    /// [`SealError::Damaged`] if the input is too short; [`SealError::Cipher`] if the key is wrong, or the ciphertext
    /// or its associated data were changed.
    pub fn decrypt(&self, sealed: &[u8], associated: &[u8]) -> Result<Vec<u8>, SealError> {
        let (nonce, ciphertext) = sealed.split_at_checked(NONCE_LEN).ok_or(SealError::Damaged)?;
        self.decrypt_with(nonce, ciphertext, associated)
    }

    /// As [`DataKey::decrypt`], with the nonce apart.
    pub(super) fn decrypt_with(
        &self,
        nonce: &[u8],
        ciphertext: &[u8],
        associated: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let nonce = nonce.try_into().map_err(|_| SealError::Damaged)?;
        let (cipher, short) = self.cipher(nonce)?;
        let mut plain = ciphertext.to_vec();
        let opened = cipher.open_in_place(short, Aad::from(associated), &mut plain);
        let length = opened.map_err(|_| SealError::Cipher)?.len();
        plain.truncate(length);
        Ok(plain)
    }

    /// XChaCha20-Poly1305 is ChaCha20-Poly1305 with a key made by `HChaCha20` from this one and the first 16 bytes of the nonce, and
    /// the other 8 behind four zeros as its nonce (draft-irtf-cfrg-xchacha-03, section 2.3).
    fn cipher(&self, nonce: &[u8; NONCE_LEN]) -> Result<(LessSafeKey, Nonce), SealError> {
        let (mixed, rest) = nonce.split_first_chunk::<MIXED>().ok_or(SealError::Damaged)?;
        let key = Zeroizing::new(<[u8; 32]>::from(hchacha::<R20>(&self.0.into(), &(*mixed).into())));
        let key = UnboundKey::new(&CHACHA20_POLY1305, &*key).map_err(|_| SealError::Cipher)?;
        let mut short = [0; 12];
        short[4..].copy_from_slice(rest);
        Ok((LessSafeKey::new(key), Nonce::assume_unique_for_key(short)))
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test vector of draft-irtf-cfrg-xchacha-03, appendix A.3.1.
    #[test]
    fn the_vector_of_the_draft_is_sealed_and_opened() {
        let key: [u8; 32] = std::array::from_fn(|place| 0x80 + u8::try_from(place).unwrap());
        let nonce: [u8; NONCE_LEN] = std::array::from_fn(|place| 0x40 + u8::try_from(place).unwrap());
        let associated = [0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7];
        let plain =
            b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, \
                      sunscreen would be it.";
        let expected = "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda7e39\
                        ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9\
                        21f9664c97637da9768812f615c68b13b52ec0875924c1c7987947deafd8780acf49";
        let key = DataKey::from_bytes(key);
        let sealed = key.encrypt_with(nonce, plain, &associated).unwrap();
        assert_eq!(crate::postgres::hex(&sealed[NONCE_LEN..]), expected);
        assert_eq!(key.decrypt(&sealed, &associated).unwrap(), plain);
        assert!(matches!(key.decrypt(&sealed, b"another event"), Err(SealError::Cipher)));
        for place in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert!(matches!(key.decrypt(&changed, &associated), Err(SealError::Cipher)), "{place}");
        }
        assert!(matches!(key.decrypt(&sealed[..NONCE_LEN - 1], &associated), Err(SealError::Damaged)));
        assert!(matches!(key.decrypt(&sealed[..NONCE_LEN + 3], &associated), Err(SealError::Cipher)));
    }
}
