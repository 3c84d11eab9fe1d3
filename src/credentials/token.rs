//! Random secrets that are stored as digests: bearer tokens, device codes, sessions and sign-in links.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;

use crate::aggregates::api_key::KeyPrefix;
use crate::entropy::Entropy;

fn random<const OCTETS: usize>(entropy: &dyn Entropy) -> String {
    let mut octets = zeroize::Zeroizing::new([0; OCTETS]);
    entropy.fill(&mut *octets);
    URL_SAFE_NO_PAD.encode(*octets)
}

/// A new bearer token (the sentinel, `_oauth_`, and 36 random bytes in base64url) and its public prefix.
#[must_use]
pub fn bearer_token(sentinel: &str, entropy: &dyn Entropy) -> (SecretString, KeyPrefix) {
    let secret = random::<36>(entropy);
    let prefix = KeyPrefix::of(&secret);
    (format!("{sentinel}_oauth_{secret}").into(), prefix)
}

/// A new device code (RFC 8628 §3.2): 32 random bytes in base64url.
#[must_use]
pub fn device_code(entropy: &dyn Entropy) -> SecretString {
    random::<32>(entropy).into()
}

/// A new session secret: 32 random bytes in base64url.
#[must_use]
pub fn session(entropy: &dyn Entropy) -> SecretString {
    random::<32>(entropy).into()
}

/// A new sign-in link secret: 32 random bytes in base64url.
#[must_use]
pub fn sign_in_link(entropy: &dyn Entropy) -> SecretString {
    random::<32>(entropy).into()
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::entropy::SeededEntropy;

    #[test]
    fn lengths_are_as_documented() {
        let entropy = SeededEntropy::new(1);
        let (token, prefix) = bearer_token("ppz", &entropy);
        assert_eq!(token.expose_secret().len(), 58);
        assert!(token.expose_secret().starts_with(&format!("ppz_oauth_{}", prefix.as_str())));
        assert_eq!(device_code(&entropy).expose_secret().len(), 43);
        assert_eq!(session(&entropy).expose_secret().len(), 43);
        assert_eq!(sign_in_link(&entropy).expose_secret().len(), 43);
    }
}
