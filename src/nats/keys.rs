//! The operator's keys: which accounts' tokens it signs with, and the system account that servers are managed through.
//!
//! The seeds of signing keys lie in `log.key_ring`, wrapped by the master key. The operator's identity seed is given out once,
//! when the operator is made, and is needed for nothing afterwards.

use nkeys::{KeyPair, KeyPairType};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::claims::{Account, Operator, Registered, Revocations, TokenError, User};
use crate::clock::Timestamp;
use crate::entropy::Entropy;

/// How long a token of the system account is valid. A connection ends with its token and is made anew.
const SYSTEM_USER_SECONDS: i64 = 12 * 3_600;

/// What a node may do in the system account.
const SYSTEM_PUBLISH: [&str; 8] = [
    "$SYS.REQ.CLAIMS.UPDATE",
    "$SYS.REQ.CLAIMS.LIST",
    "$SYS.REQ.CLAIMS.DELETE",
    "$SYS.REQ.ACCOUNT.*.CLAIMS.LOOKUP",
    "$SYS.REQ.ACCOUNT.*.CONNZ",
    "$SYS.REQ.SERVER.PING",
    "$SYS.REQ.SERVER.PING.JSZ",
    "$SYS.REQ.SERVER.PING.VARZ",
];

/// A key pair made of injected randomness.
pub(super) fn new_key(kind: KeyPairType, entropy: &dyn Entropy) -> Result<KeyPair, TokenError> {
    let mut random = Zeroizing::new([0; 32]);
    entropy.fill(&mut *random);
    KeyPair::new_from_raw(kind, *random).map_err(|_| TokenError::Sign)
}

/// The seed of a key pair, as text.
pub(super) fn seed_of(key: &KeyPair) -> Result<Zeroizing<String>, TokenError> {
    key.seed().map(Zeroizing::new).map_err(|_| TokenError::Sign)
}

/// Seconds since the Unix epoch.
pub(super) const fn seconds(at: Timestamp) -> i64 {
    at.as_micros().div_euclid(1_000_000)
}

/// One operator that signs accounts, or has signed them.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct OperatorKey {
    /// Its public identity key.
    pub(super) public_key: String,
    /// Its token, for the configuration of servers.
    pub(super) token: String,
    /// The token of the system account that it has signed, for the same configuration.
    pub(super) system_token: String,
    signing_seed: Zeroizing<String>,
}

impl OperatorKey {
    /// The key that signs accounts.
    pub(super) fn signing_key(&self) -> Result<KeyPair, TokenError> {
        KeyPair::from_seed(&self.signing_seed).map_err(|_| TokenError::Sign)
    }
}

/// The operators of a log, newest first, and its system account.
#[derive(Clone, Serialize, Deserialize)]
pub struct OperatorKeys {
    /// The operator in force, and the one before it as long as servers may still trust that one.
    pub(super) operators: Vec<OperatorKey>,
    /// The public key of the system account.
    pub(super) system_account: String,
    system_signing_seed: Zeroizing<String>,
    /// The keys of the platform's own account; `None` in a log whose operator was made by a release without that account.
    #[serde(default)]
    pub(super) platform: Option<PlatformKeys>,
}

/// The keys of the platform's own account.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct PlatformKeys {
    pub(super) public_key: String,
    pub(super) signing_seed: Zeroizing<String>,
}

impl PlatformKeys {
    /// The key that signs the account's users.
    pub(super) fn signing_key(&self) -> Result<KeyPair, TokenError> {
        KeyPair::from_seed(&self.signing_seed).map_err(|_| TokenError::Sign)
    }
}

/// How many operators are kept: the one in force, and the one that it replaces.
const KEPT_OPERATORS: usize = 2;

impl OperatorKeys {
    /// Makes an operator and a system account. Returns the operator's identity seed too, which is stored nowhere.
    ///
    /// # Errors
    /// [`TokenError`]
    pub fn new(now: Timestamp, entropy: &dyn Entropy) -> Result<(Self, Zeroizing<String>), TokenError> {
        let system_account = new_key(KeyPairType::Account, entropy)?.public_key();
        let system_signing_seed = seed_of(&new_key(KeyPairType::Account, entropy)?)?;
        let mut keys = Self { operators: Vec::new(), system_account, system_signing_seed, platform: None };
        let identity = keys.rotate(now, entropy)?;
        Ok((keys, identity))
    }

    /// Replaces the operator. The system account stays, and so do the accounts, which are signed again. Returns the new
    /// operator's identity seed.
    ///
    /// # Errors
    /// [`TokenError`]
    pub fn rotate(&mut self, now: Timestamp, entropy: &dyn Entropy) -> Result<Zeroizing<String>, TokenError> {
        let identity = new_key(KeyPairType::Operator, entropy)?;
        let signing = new_key(KeyPairType::Operator, entropy)?;
        let (public_key, issued_at) = (identity.public_key(), seconds(now));
        let registered =
            Registered { name: "tenure", subject: &public_key, issued_at, ..Registered::default() };
        let token = Operator { signing_key: &signing.public_key(), system_account: &self.system_account }
            .encode(&registered, &identity)?;
        let registered =
            Registered { name: "system", subject: &self.system_account, issued_at, ..Registered::default() };
        let system_signing = self.system_signing_key()?;
        let account = Account {
            signing_key: &system_signing.public_key(),
            storage: None,
            revocations: &Revocations::new(),
            tags: &[],
        };
        let system_token = account.encode(&registered, &signing)?;
        let operator = OperatorKey { public_key, token, system_token, signing_seed: seed_of(&signing)? };
        self.operators.insert(0, operator);
        self.operators.truncate(KEPT_OPERATORS);
        seed_of(&identity)
    }

    fn system_signing_key(&self) -> Result<KeyPair, TokenError> {
        KeyPair::from_seed(&self.system_signing_seed).map_err(|_| TokenError::Sign)
    }

    /// A new user of the system account: its key and its token, which lets it do what a node does.
    pub(super) fn system_user(
        &self,
        now: Timestamp,
        inbox: &str,
        entropy: &dyn Entropy,
    ) -> Result<(KeyPair, String), TokenError> {
        let user = new_key(KeyPairType::User, entropy)?;
        let publish = SYSTEM_PUBLISH.map(str::to_owned);
        // What other nodes push is watched, so that one which was suspended cannot take back a revocation unnoticed.
        let subscribe = [format!("{inbox}.>"), "$SYS.REQ.CLAIMS.UPDATE".to_owned()];
        let issued_at = seconds(now);
        let registered = Registered {
            name: "tenure",
            subject: &user.public_key(),
            issued_at,
            expires: issued_at + SYSTEM_USER_SECONDS,
            not_before: 0,
        };
        let token = User { account: &self.system_account, publish: &publish, subscribe: &subscribe }
            .encode(&registered, &self.system_signing_key()?)?;
        Ok((user, token))
    }
}

impl std::fmt::Debug for OperatorKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let operators: Vec<&str> = self.operators.iter().map(|operator| &*operator.public_key).collect();
        f.debug_struct("OperatorKeys").field("operators", &operators).finish_non_exhaustive()
    }
}
