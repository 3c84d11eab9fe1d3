//! The block: all ciphertexts of one event or snapshot in one byte string.
//!
//! Version 1: `01 ‖ count u8 ‖ count × (name ‖ subject kind ‖ subject id ‖ nonce ‖ ciphertext)`. Name and kind are a
//! length byte and ASCII text; the id is 16 bytes, the nonce 24; the ciphertext is a length (u32, big-endian) and the
//! XChaCha20-Poly1305 encryption of the field's JSON. Associated data binds each ciphertext to its event, subject and
//! field, so that it cannot be moved to another.

use bytes::Bytes;
use uuid::Uuid;

use super::data_key::{DataKey, NONCE_LEN, Subject};
use super::field::{SealError, SealedField};
use super::visitor::{FieldVisitor, SealedFields};
use crate::entropy::Entropy;

const BLOCK_VERSION: u8 = 1;

/// Encrypts all sealed fields of a value into a block; `None` if none of them has a value.
///
/// `id` is the identifier of the event or snapshot; `key` returns the data key of a subject.
///
/// # Errors
/// [`SealError::Missing`] if a field is unreadable or `key` has no key for its subject; [`SealError::Damaged`] if the
/// block would exceed its format.
pub fn seal<'k>(
    value: &mut dyn SealedFields,
    owner: Subject,
    id: Uuid,
    key: &mut dyn FnMut(Subject) -> Option<&'k DataKey>,
    entropy: &dyn Entropy,
) -> Result<Option<Bytes>, SealError> {
    struct Sealer<'s, 'k> {
        id: Uuid,
        key: &'s mut dyn FnMut(Subject) -> Option<&'k DataKey>,
        entropy: &'s dyn Entropy,
        block: Vec<u8>,
    }

    impl FieldVisitor for Sealer<'_, '_> {
        fn field(
            &mut self,
            name: &'static str,
            subject: Subject,
            field: &mut dyn SealedField,
        ) -> Result<(), SealError> {
            // An unreadable value must fail here: sealed as empty, it would be lost.
            let json = field.to_json().ok_or(SealError::Missing(name))?;
            // Empty fields are left out; `open` restores them as empty.
            if json == b"null" {
                return Ok(());
            }
            let key = (self.key)(subject).ok_or(SealError::Missing(name))?;
            let sealed =
                key.encrypt(&json, &associated_data(self.id, subject.kind, subject.id, name), self.entropy)?;
            if self.block.is_empty() {
                self.block.extend_from_slice(&[BLOCK_VERSION, 0]);
            }
            // The count is one byte: a 256th field is an error.
            self.block[1] = self.block[1].checked_add(1).ok_or(SealError::Damaged)?;
            put_name(&mut self.block, name)?;
            put_name(&mut self.block, subject.kind)?;
            self.block.extend_from_slice(subject.id.as_bytes());
            let length = u32::try_from(sealed.len() - NONCE_LEN).map_err(|_| SealError::Damaged)?;
            self.block.extend_from_slice(&sealed[..NONCE_LEN]);
            self.block.extend_from_slice(&length.to_be_bytes());
            self.block.extend_from_slice(&sealed[NONCE_LEN..]);
            Ok(())
        }
    }

    let mut sealer = Sealer { id, key, entropy, block: Vec::new() };
    value.visit_sealed(owner, &mut sealer)?;
    Ok((!sealer.block.is_empty()).then(|| Bytes::from(sealer.block)))
}

/// Restores the sealed fields of a value from a block. Fields for whose subject `key` has no key become unreadable.
///
/// # Errors
/// [`SealError::Damaged`] if the block is malformed; [`SealError::Cipher`] or [`SealError::Type`] if a field does not
/// open.
pub fn open<'k>(
    value: &mut dyn SealedFields,
    owner: Subject,
    id: Uuid,
    block: Option<&[u8]>,
    key: &mut dyn FnMut(&str, Uuid) -> Option<&'k DataKey>,
) -> Result<(), SealError> {
    struct Opener<'s, 'k, 'b> {
        id: Uuid,
        key: &'s mut dyn FnMut(&str, Uuid) -> Option<&'k DataKey>,
        fields: Vec<SealedEntry<'b>>,
    }

    impl FieldVisitor for Opener<'_, '_, '_> {
        fn field(
            &mut self,
            name: &'static str,
            _: Subject,
            field: &mut dyn SealedField,
        ) -> Result<(), SealError> {
            let Some(entry) = self.fields.iter().find(|entry| entry.name == name) else {
                // A field that is not in the block was empty when it was sealed. A field that cannot be empty stays
                // unreadable.
                field.blank();
                return field.open_with(b"null").or(Ok(()));
            };
            let Some(key) = (self.key)(entry.subject_kind, entry.subject_id) else {
                field.blank();
                return Ok(());
            };
            let associated = associated_data(self.id, entry.subject_kind, entry.subject_id, name);
            field.open_with(&key.decrypt_with(entry.nonce, entry.ciphertext, &associated)?)
        }
    }

    let fields = block.map(entries).transpose()?.unwrap_or_default();
    value.visit_sealed(owner, &mut Opener { id, key, fields })
}

/// The subjects whose keys open a block, as kind and id, sorted and without duplicates.
///
/// # Errors
/// [`SealError::Damaged`] if the block is malformed.
pub fn subjects(block: &[u8]) -> Result<Vec<(&str, Uuid)>, SealError> {
    let mut found: Vec<_> =
        entries(block)?.iter().map(|entry| (entry.subject_kind, entry.subject_id)).collect();
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// The names of the fields in a block, in the order in which they were sealed.
///
/// # Errors
/// [`SealError::Damaged`] if the block is malformed.
pub fn field_names(block: &[u8]) -> Result<Vec<&str>, SealError> {
    Ok(entries(block)?.iter().map(|entry| entry.name).collect())
}

struct SealedEntry<'b> {
    name: &'b str,
    subject_kind: &'b str,
    subject_id: Uuid,
    nonce: &'b [u8],
    ciphertext: &'b [u8],
}

fn entries(block: &[u8]) -> Result<Vec<SealedEntry<'_>>, SealError> {
    let [BLOCK_VERSION, count, rest @ ..] = block else {
        return Err(SealError::Damaged);
    };
    let mut rest = rest;
    let mut take = |length: usize| -> Result<&[u8], SealError> {
        let (taken, left) = rest.split_at_checked(length).ok_or(SealError::Damaged)?;
        rest = left;
        Ok(taken)
    };
    let mut entries = Vec::with_capacity(usize::from(*count));
    for _ in 0..*count {
        let name_length = usize::from(take(1)?[0]);
        let name = std::str::from_utf8(take(name_length)?).map_err(|_| SealError::Damaged)?;
        let kind_length = usize::from(take(1)?[0]);
        let subject_kind = std::str::from_utf8(take(kind_length)?).map_err(|_| SealError::Damaged)?;
        let subject_id = Uuid::from_slice(take(16)?).map_err(|_| SealError::Damaged)?;
        let nonce = take(NONCE_LEN)?;
        let length = u32::from_be_bytes(take(4)?.try_into().map_err(|_| SealError::Damaged)?);
        let ciphertext = take(usize::try_from(length).map_err(|_| SealError::Damaged)?)?;
        entries.push(SealedEntry { name, subject_kind, subject_id, nonce, ciphertext });
    }
    // Trailing bytes mean that the block was not written by `seal`.
    if rest.is_empty() { Ok(entries) } else { Err(SealError::Damaged) }
}

fn put_name(block: &mut Vec<u8>, name: &str) -> Result<(), SealError> {
    block.push(u8::try_from(name.len()).map_err(|_| SealError::Damaged)?);
    block.extend_from_slice(name.as_bytes());
    Ok(())
}

fn associated_data(id: Uuid, subject_kind: &str, subject_id: Uuid, name: &str) -> Vec<u8> {
    let mut data = Vec::with_capacity(96);
    data.extend_from_slice(b"tenure sealed field 1\0");
    data.extend_from_slice(id.as_bytes());
    data.extend_from_slice(subject_kind.as_bytes());
    data.push(0);
    data.extend_from_slice(subject_id.as_bytes());
    data.extend_from_slice(name.as_bytes());
    data
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;
    use crate::sealing::field::Sealed;

    #[derive(Clone, Debug, PartialEq, Default, serde::Serialize, serde::Deserialize)]
    struct Person {
        public: u8,
        #[serde(skip)]
        name: Sealed<String>,
        #[serde(skip)]
        avatar: Sealed<Option<String>>,
    }

    impl SealedFields for Person {
        fn visit_sealed(&mut self, owner: Subject, visitor: &mut dyn FieldVisitor) -> Result<(), SealError> {
            visitor.field("name", owner, &mut self.name)?;
            visitor.field("avatar", owner, &mut self.avatar)
        }
    }

    const OWNER: Subject = Subject { kind: "user", id: Uuid::from_u128(7) };
    const EVENT: Uuid = Uuid::from_u128(9);

    fn ada() -> Person {
        Person { public: 1, name: "Ada".to_owned().into(), avatar: None.into() }
    }

    fn sealed(person: &mut Person, key: &DataKey) -> Bytes {
        seal(person, OWNER, EVENT, &mut |_| Some(key), &SeededEntropy::new(1)).unwrap().unwrap()
    }

    #[test]
    fn what_is_sealed_opens_with_its_key_alone() {
        let key = DataKey::from_bytes([1; 32]);
        let block = sealed(&mut ada(), &key);
        let mut read = Person { public: 1, ..Person::default() };
        open(&mut read, OWNER, EVENT, Some(&block), &mut |_, _| Some(&key)).unwrap();
        assert_eq!(read, ada());

        let other = DataKey::from_bytes([2; 32]);
        let wrong = open(&mut read.clone(), OWNER, EVENT, Some(&block), &mut |_, _| Some(&other));
        assert_eq!(wrong, Err(SealError::Cipher));

        open(&mut read, OWNER, EVENT, Some(&block), &mut |_, _| None).unwrap();
        assert_eq!(read.name, Sealed::Unreadable);
    }

    #[test]
    fn a_block_cannot_be_moved_to_another_event() {
        let key = DataKey::from_bytes([1; 32]);
        let block = sealed(&mut ada(), &key);
        let moved = open(&mut ada(), OWNER, Uuid::from_u128(10), Some(&block), &mut |_, _| Some(&key));
        assert_eq!(moved, Err(SealError::Cipher));
    }

    #[test]
    fn neither_json_nor_debug_shows_a_sealed_field() {
        let shown = format!("{:?} {}", ada(), serde_json::to_string(&ada()).unwrap());
        assert!(!shown.contains("Ada"), "{shown}");
    }

    #[test]
    fn a_damaged_block_is_an_error_at_every_length_and_every_byte() {
        let key = DataKey::from_bytes([1; 32]);
        let block = sealed(&mut ada(), &key);
        for length in 0..block.len() {
            let cut = open(&mut ada(), OWNER, EVENT, Some(&block[..length]), &mut |_, _| Some(&key));
            assert!(cut.is_err(), "cut to {length}");
        }
        for at in 0..block.len() {
            let mut changed = block.to_vec();
            changed[at] ^= 1;
            let mut read = Person::default();
            let opened = open(&mut read, OWNER, EVENT, Some(&changed), &mut |_, _| Some(&key));
            assert!(opened.is_err() || read.name == Sealed::Unreadable, "changed at {at}");
        }
    }

    #[test]
    fn a_value_that_is_unreadable_here_is_never_sealed_again_as_empty() {
        let key = DataKey::from_bytes([1; 32]);
        let mut person = Person::default();
        let sealed = seal(&mut person, OWNER, EVENT, &mut |_| Some(&key), &SeededEntropy::new(1));
        assert_eq!(sealed, Err(SealError::Missing("name")));
    }
}
