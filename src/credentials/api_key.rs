//! API keys: generation, display prefix, hashing and verification.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

use crate::aggregates::api_key::KeyPrefix;
use crate::entropy::Entropy;

/// The default prefix of a key, before the underscore.
pub const SENTINEL: &str = "ppz";

/// The number of random bytes in a key: 104 bits, 26 hexadecimal digits.
const KEY_OCTETS: usize = 13;

/// The cost of new hashes: 64 MiB, one pass, four lanes.
const MEMORY_KIB: u32 = 65_536;
const PASSES: u32 = 1;
const LANES: u32 = 4;
const SALT_LEN: usize = 16;
const TAG_LEN: usize = 32;

/// The limits on a stored hash's parameters, so that verifying one takes bounded memory and time.
const MAX_MEMORY_KIB: u32 = 256 * 1_024;
const MAX_PASSES: u32 = 16;
const MAX_LANES: u32 = 16;
const MIN_SALT_LEN: usize = 8;
const MIN_TAG_LEN: usize = 16;

/// A new key: the sentinel, `_`, and 26 lowercase hexadecimal digits.
#[must_use]
pub fn generate_plaintext(sentinel: &str, entropy: &dyn Entropy) -> SecretString {
    use std::fmt::Write as _;
    let mut octets = [0; KEY_OCTETS];
    entropy.fill(&mut octets);
    let mut text = String::with_capacity(sentinel.len() + 1 + 2 * KEY_OCTETS);
    text.push_str(sentinel);
    text.push('_');
    for octet in octets {
        let _ = write!(text, "{octet:02x}");
    }
    text.into()
}

/// The first eight characters after the sentinel, or fewer if the key is shorter. Used for display and to look up
/// candidates.
#[must_use]
pub fn key_prefix(plaintext: &str) -> KeyPrefix {
    let behind = plaintext.split_once('_').map_or(plaintext, |(_, behind)| behind);
    KeyPrefix::of(behind)
}

/// The argon2id hash of a secret as a PHC string; `None` if argon2 refuses the parameters or the secret.
///
/// Takes 64 MiB for tens of milliseconds, so run it on the [`super::argon2_pool::Argon2Pool`].
#[must_use]
pub fn hash(plaintext: &SecretString, salt: [u8; SALT_LEN]) -> Option<String> {
    let mut tag = [0; TAG_LEN];
    let params = Params::new(MEMORY_KIB, PASSES, LANES, Some(TAG_LEN)).ok()?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2.hash_password_into(plaintext.expose_secret().as_bytes(), &salt, &mut tag).ok()?;
    Some(format!(
        "$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${}${}",
        STANDARD_NO_PAD.encode(salt),
        STANDARD_NO_PAD.encode(tag)
    ))
}

/// A new random salt for [`hash`].
#[must_use]
pub fn salt(entropy: &dyn Entropy) -> [u8; SALT_LEN] {
    let mut salt = [0; SALT_LEN];
    entropy.fill(&mut salt);
    salt
}

/// A stored hash, parsed and checked against the limits.
pub struct StoredHash {
    params: Params,
    salt: Vec<u8>,
    tag: Vec<u8>,
}

impl StoredHash {
    /// Parses a PHC string (<https://github.com/P-H-C/phc-string-format>). `None` if it is malformed, has another
    /// algorithm or version, or exceeds the limits.
    #[must_use]
    pub fn parse(stored: &str) -> Option<Self> {
        let mut parts = stored.strip_prefix("$argon2id$v=19$")?.split('$');
        let (costs, salt, tag) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let mut costs = costs.split(',');
        let mut cost = |name: &str, most: u32| {
            let digits = costs.next()?.strip_prefix(name)?.strip_prefix('=')?;
            let plain = !digits.is_empty() && digits.bytes().all(|octet| octet.is_ascii_digit());
            // The PHC format allows neither a `+` sign nor leading zeros; `parse` accepts both.
            let value: u32 = if plain && (digits == "0" || !digits.starts_with('0')) {
                digits.parse().ok()?
            } else {
                return None;
            };
            (1..=most).contains(&value).then_some(value)
        };
        let (memory, passes, lanes) =
            (cost("m", MAX_MEMORY_KIB)?, cost("t", MAX_PASSES)?, cost("p", MAX_LANES)?);
        if costs.next().is_some() {
            return None;
        }
        let salt = STANDARD_NO_PAD.decode(salt).ok()?;
        let tag = STANDARD_NO_PAD.decode(tag).ok()?;
        if !(MIN_SALT_LEN..=64).contains(&salt.len()) || !(MIN_TAG_LEN..=128).contains(&tag.len()) {
            return None;
        }
        let params = Params::new(memory, passes, lanes, Some(tag.len())).ok()?;
        Some(Self { params, salt, tag })
    }

    /// Whether verifying this hash takes more memory than a new hash does.
    #[must_use]
    pub fn is_large(&self) -> bool {
        self.params.m_cost() > MEMORY_KIB
    }

    /// Whether the secret has this hash. Compared in constant time.
    #[must_use]
    pub fn matches(&self, plaintext: &SecretString) -> bool {
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, self.params.clone());
        let mut tag = vec![0; self.tag.len()];
        argon2.hash_password_into(plaintext.expose_secret().as_bytes(), &self.salt, &mut tag).is_ok()
            && bool::from(tag.ct_eq(&self.tag))
    }
}

/// Whether a secret matches a stored PHC string. `false` if the string is malformed; never panics.
#[must_use]
pub fn verify(plaintext: &SecretString, stored: &str) -> bool {
    StoredHash::parse(stored).is_some_and(|stored| stored.matches(plaintext))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;

    #[test]
    fn a_key_has_thirty_characters_and_no_two_are_alike() {
        let entropy = SeededEntropy::new(1);
        let one = generate_plaintext(SENTINEL, &entropy);
        let text = one.expose_secret();
        assert_eq!(text.len(), 30);
        let digits = text.strip_prefix("ppz_").unwrap();
        assert!(digits.bytes().all(|octet| matches!(octet, b'0'..=b'9' | b'a'..=b'f')));
        assert_ne!(text, generate_plaintext(SENTINEL, &entropy).expose_secret());
        assert_eq!(key_prefix(text).as_str(), &digits[..8]);
    }

    #[test]
    fn the_prefix_of_what_is_short_is_what_there_is() {
        assert_eq!(key_prefix("ppz_abc").as_str(), "abc");
        assert_eq!(key_prefix("").as_str(), "");
        assert_eq!(key_prefix("ppz_äöüäöüäöü").as_str(), "äöüäöüäö");
    }

    #[test]
    fn a_hash_verifies_its_own_secret_alone() {
        let secret: SecretString = "ppz_0123456789abcdef0123456789".to_owned().into();
        let stored = hash(&secret, [7; SALT_LEN]).unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=65536,t=1,p=4$BwcHBwcHBwcHBwcHBwcHBw$"), "{stored}");
        assert_eq!(stored.rsplit('$').next().unwrap().len(), 43);
        assert!(verify(&secret, &stored));
        assert!(!verify(&"ppz_0123456789abcdef012345678a".to_owned().into(), &stored));
    }

    #[test]
    fn what_is_malformed_or_asks_for_too_much_is_false() {
        let secret: SecretString = "x".to_owned().into();
        let (salt, tag) = ("c29tZXNhbHQ", "AAAAAAAAAAAAAAAAAAAAAA");
        for costs in [
            "m=262145,t=1,p=1",
            "m=64,t=17,p=1",
            "m=64,t=1,p=17",
            "m=0,t=1,p=1",
            "t=1,m=64,p=1",
            "m=64,t=1",
            "m=064,t=1,p=1",
            "m=+64,t=1,p=1",
            "m=64,t=1,p=1,x=1",
            "",
        ] {
            assert!(StoredHash::parse(&format!("$argon2id$v=19${costs}${salt}${tag}")).is_none(), "{costs}");
        }
        let good = format!("$argon2id$v=19$m=64,t=1,p=1${salt}${tag}");
        assert!(StoredHash::parse(&good).is_some());
        for bad in [
            good.replace("v=19", "v=16"),
            good.replace("argon2id", "argon2i"),
            good.replace(salt, "c29tZQ"),
            good.replace(tag, "AAAA"),
            good.replace(tag, &format!("{tag}==")),
            format!("{good}$"),
            format!(" {good}"),
            String::new(),
        ] {
            assert!(!verify(&secret, &bad), "{bad}");
        }
    }

    #[test]
    fn a_thousand_mangled_strings_are_false_and_never_a_panic() {
        let secret: SecretString = "x".to_owned().into();
        let good = "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA";
        let entropy = SeededEntropy::new(3);
        for _ in 0..1_000 {
            let mut random = [0; 4];
            entropy.fill(&mut random);
            let mut text = good.as_bytes().to_vec();
            let at = usize::from(random[0]) % text.len();
            match random[1] % 3 {
                0 => drop(text.remove(at)),
                1 => text.insert(at, random[2]),
                _ => text[at] = random[2],
            }
            assert!(!verify(&secret, &String::from_utf8_lossy(&text)));
        }
    }
}
