//! The JSON Web Tokens of NATS (version 2): of an operator, of accounts and of users, signed with Ed25519 keys.
//!
//! The members of each token and their order are those of the reference library, `nats-io/jwt`; a test compares them.

use std::collections::BTreeMap;

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use nkeys::KeyPair;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha512_256};

/// No limit.
const UNLIMITED: i64 = -1;

/// The name under which an account's token revokes all its users.
pub const ALL_USERS: &str = "*";

/// The text by which the token is known that removes an account.
pub const RETIRED: &str = "tenure:retired";

/// Why a token could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The key cannot sign.
    #[error("a NATS key cannot sign")]
    Sign,
    /// The text is no token of version 2.
    #[error("not a NATS token")]
    Malformed,
}

/// The claims that every token has. Times are seconds since the Unix epoch; 0 means none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registered<'a> {
    /// A name for people; shown by tools.
    pub name: &'a str,
    /// The public key that the token is about.
    pub subject: &'a str,
    /// When the token was issued.
    pub issued_at: i64,
    /// Before when it is not valid.
    pub not_before: i64,
    /// Until when it is valid.
    pub expires: i64,
}

/// The JSON of a token, and of its hash (without `jti` and `nats`).
#[derive(Serialize)]
struct Claims<'a> {
    #[serde(skip_serializing_if = "is_zero")]
    exp: i64,
    #[serde(skip_serializing_if = "str::is_empty")]
    jti: &'a str,
    iat: i64,
    iss: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    nbf: i64,
    sub: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    nats: Option<&'a RawValue>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the shape that serde asks for
fn is_zero(value: &i64) -> bool {
    *value == 0
}

/// Signs a token.
fn sign<T: Serialize>(registered: &Registered<'_>, nats: &T, key: &KeyPair) -> Result<String, TokenError> {
    let nats = serde_json::value::to_raw_value(nats).map_err(|_| TokenError::Sign)?;
    let issuer = key.public_key();
    let Registered { name, subject, issued_at, not_before, expires } = *registered;
    let mut claims = Claims {
        exp: expires,
        jti: "",
        iat: issued_at,
        iss: &issuer,
        name,
        nbf: not_before,
        sub: subject,
        nats: None,
    };
    let hashed = serde_json::to_vec(&claims).map_err(|_| TokenError::Sign)?;
    let identifier = BASE32_NOPAD.encode(&Sha512_256::digest(hashed));
    claims.jti = &identifier;
    claims.nats = Some(&nats);
    let body = serde_json::to_vec(&claims).map_err(|_| TokenError::Sign)?;
    let header = BASE64URL_NOPAD.encode(br#"{"typ":"JWT","alg":"ed25519-nkey"}"#);
    let signed = format!("{header}.{}", BASE64URL_NOPAD.encode(&body));
    let signature = key.sign(signed.as_bytes()).map_err(|_| TokenError::Sign)?;
    Ok(format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature)))
}

/// An operator, whom servers trust.
pub struct Operator<'a> {
    /// The public key that signs accounts.
    pub signing_key: &'a str,
    /// The public key of the account that the servers are managed through.
    pub system_account: &'a str,
}

impl Operator<'_> {
    /// The token, signed with the operator's identity key.
    ///
    /// # Errors
    /// [`TokenError::Sign`]
    pub fn encode(&self, registered: &Registered<'_>, key: &KeyPair) -> Result<String, TokenError> {
        #[derive(Serialize)]
        struct Nats<'a> {
            signing_keys: [&'a str; 1],
            system_account: &'a str,
            strict_signing_key_usage: bool,
            r#type: &'static str,
            version: u8,
        }
        let nats = Nats {
            signing_keys: [self.signing_key],
            system_account: self.system_account,
            strict_signing_key_usage: true,
            r#type: "operator",
            version: 2,
        };
        sign(registered, &nats, key)
    }
}

/// What an account may store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct JetStreamLimits {
    mem_storage: i64,
    disk_storage: i64,
    streams: i64,
    consumer: i64,
    max_ack_pending: i64,
    mem_max_stream_bytes: i64,
    disk_max_stream_bytes: i64,
    max_bytes_required: bool,
}

impl JetStreamLimits {
    /// At most so many streams, each with a bound of its own of at most so many bytes. The storage of the account as a whole
    /// is not limited, because a single server would reserve the limit.
    #[must_use]
    pub const fn of_streams(streams: i64, max_stream_bytes: i64) -> Self {
        Self {
            mem_storage: UNLIMITED,
            disk_storage: UNLIMITED,
            streams,
            consumer: UNLIMITED,
            max_ack_pending: UNLIMITED,
            mem_max_stream_bytes: UNLIMITED,
            disk_max_stream_bytes: max_stream_bytes,
            max_bytes_required: true,
        }
    }

    /// Everything without limits.
    #[must_use]
    pub const fn unlimited() -> Self {
        Self { max_bytes_required: false, ..Self::of_streams(UNLIMITED, UNLIMITED) }
    }
}

/// Public keys of users, or [`ALL_USERS`], whose tokens are revoked if they were issued at that second or before.
pub type Revocations = BTreeMap<String, i64>;

/// An account.
pub struct Account<'a> {
    /// The public key that signs its users.
    pub signing_key: &'a str,
    /// What it may store; `None` for an account without `JetStream`.
    pub storage: Option<JetStreamLimits>,
    /// The users that are refused.
    pub revocations: &'a Revocations,
    /// Texts of our own, in lower case, which servers keep and ignore.
    pub tags: &'a [String],
}

impl Account<'_> {
    /// The token, signed with a signing key of the operator.
    ///
    /// # Errors
    /// [`TokenError::Sign`]
    pub fn encode(&self, registered: &Registered<'_>, key: &KeyPair) -> Result<String, TokenError> {
        #[derive(Serialize)]
        #[allow(clippy::struct_field_names)]
        struct Limits {
            subs: i64,
            data: i64,
            payload: i64,
            imports: i64,
            exports: i64,
            wildcards: bool,
            conn: i64,
            leaf: i64,
            #[serde(flatten, skip_serializing_if = "Option::is_none")]
            storage: Option<JetStreamLimits>,
        }
        #[derive(Serialize)]
        struct Empty {}
        #[derive(Serialize)]
        struct Permissions {
            r#pub: Empty,
            sub: Empty,
        }
        #[derive(Serialize)]
        struct Nats<'a> {
            limits: Limits,
            signing_keys: [&'a str; 1],
            #[serde(skip_serializing_if = "BTreeMap::is_empty")]
            revocations: &'a Revocations,
            default_permissions: Permissions,
            authorization: Empty,
            #[serde(skip_serializing_if = "<[_]>::is_empty")]
            tags: &'a [String],
            r#type: &'static str,
            version: u8,
        }
        let limits = Limits {
            subs: UNLIMITED,
            data: UNLIMITED,
            payload: UNLIMITED,
            imports: UNLIMITED,
            exports: UNLIMITED,
            wildcards: true,
            conn: UNLIMITED,
            leaf: UNLIMITED,
            storage: self.storage,
        };
        let nats = Nats {
            limits,
            signing_keys: [self.signing_key],
            revocations: self.revocations,
            default_permissions: Permissions { r#pub: Empty {}, sub: Empty {} },
            authorization: Empty {},
            tags: self.tags,
            r#type: "account",
            version: 2,
        };
        sign(registered, &nats, key)
    }
}

/// A user of an account.
pub struct User<'a> {
    /// The public key of the account.
    pub account: &'a str,
    /// The subjects that it may publish to.
    pub publish: &'a [String],
    /// The subjects that it may subscribe to.
    pub subscribe: &'a [String],
}

impl User<'_> {
    /// The token, signed with a signing key of the account.
    ///
    /// # Errors
    /// [`TokenError::Sign`]
    pub fn encode(&self, registered: &Registered<'_>, key: &KeyPair) -> Result<String, TokenError> {
        #[derive(Serialize)]
        struct Allowed<'a> {
            allow: &'a [String],
        }
        #[derive(Serialize)]
        struct Nats<'a> {
            r#pub: Allowed<'a>,
            sub: Allowed<'a>,
            subs: i64,
            data: i64,
            payload: i64,
            issuer_account: &'a str,
            r#type: &'static str,
            version: u8,
        }
        let nats = Nats {
            r#pub: Allowed { allow: self.publish },
            sub: Allowed { allow: self.subscribe },
            subs: UNLIMITED,
            data: UNLIMITED,
            payload: UNLIMITED,
            issuer_account: self.account,
            r#type: "user",
            version: 2,
        };
        sign(registered, &nats, key)
    }
}

/// Asks servers to give up accounts. The token of this request is signed with a signing key of the operator.
///
/// # Errors
/// [`TokenError::Sign`]
pub fn deletion(accounts: &[&str], issued_at: i64, key: &KeyPair) -> Result<String, TokenError> {
    #[derive(Serialize)]
    struct Nats<'a> {
        accounts: &'a [&'a str],
        r#type: &'static str,
        version: u8,
    }
    let subject = &key.public_key();
    let registered = Registered { name: "deletion", subject, issued_at, ..Registered::default() };
    sign(&registered, &Nats { accounts, r#type: "generic", version: 2 }, key)
}

/// What is read of an account's token that a server has. Its signature is not checked.
#[derive(Debug, Deserialize)]
pub struct ReadAccount {
    /// The account's public key.
    pub sub: String,
    /// The public key that has signed it.
    pub iss: String,
    nats: ReadNats,
}

#[derive(Debug, Deserialize)]
struct ReadNats {
    #[serde(default)]
    tags: Vec<String>,
}

impl ReadAccount {
    /// Reads a token.
    ///
    /// # Errors
    /// [`TokenError::Malformed`]
    pub fn decode(token: &str) -> Result<Self, TokenError> {
        let body = token.split('.').nth(1).ok_or(TokenError::Malformed)?;
        let body = BASE64URL_NOPAD.decode(body.as_bytes()).map_err(|_| TokenError::Malformed)?;
        serde_json::from_slice(&body).map_err(|_| TokenError::Malformed)
    }

    /// Whether it refuses all its users, whenever they were issued, as the token by which an account is removed does.
    #[must_use]
    pub fn is_without_users(&self) -> bool {
        self.tags().iter().any(|tag| tag == RETIRED)
    }

    /// The texts of our own.
    #[must_use]
    pub fn tags(&self) -> &[String] {
        &self.nats.tags
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the reference library makes of the same keys; see `golden.go` beside it.
    fn golden() -> serde_json::Value {
        serde_json::from_str(include_str!("../../tests/nats/golden/tokens.json")).unwrap()
    }

    fn key(golden: &serde_json::Value, name: &str) -> KeyPair {
        KeyPair::from_seed(golden["seeds"][name].as_str().unwrap()).unwrap()
    }

    fn body(token: &str) -> String {
        let body = BASE64URL_NOPAD.decode(token.split('.').nth(1).unwrap().as_bytes()).unwrap();
        String::from_utf8(body).unwrap()
    }

    /// Go writes `>` in another way than serde does; otherwise the tokens are the same, octet by octet.
    fn assert_same(golden: &serde_json::Value, name: &str, made: impl Fn(i64) -> String) {
        let expected = golden[name].as_str().unwrap();
        let read: serde_json::Value = serde_json::from_str(&body(expected)).unwrap();
        let made = made(read["iat"].as_i64().unwrap());
        assert_eq!(body(&made), body(expected).replace("\\u003e", ">"), "{name}");
        if !body(&made).contains('>') {
            assert_eq!(made, expected, "{name}");
        }
    }

    #[test]
    fn tokens_are_those_of_the_reference_library() {
        let golden = golden();
        let public = |name: &str| golden["public"][name].as_str().unwrap().to_owned();
        let (operator, signing) = (key(&golden, "operator"), key(&golden, "operator_signing"));
        let (system_signing, account_signing) =
            (key(&golden, "system_signing"), key(&golden, "account_signing"));
        assert_eq!(operator.public_key(), public("operator"));
        assert_eq!(account_signing.public_key(), public("account_signing"));

        assert_same(&golden, "operator_jwt", |issued_at| {
            let subject = &public("operator");
            let registered = Registered { name: "tenure", subject, issued_at, ..Registered::default() };
            let (signing_key, system_account) = (&public("operator_signing"), &public("system"));
            Operator { signing_key, system_account }.encode(&registered, &operator).unwrap()
        });
        let none = Revocations::new();
        assert_same(&golden, "system_account_jwt", |issued_at| {
            let subject = &public("system");
            let registered = Registered { name: "system", subject, issued_at, ..Registered::default() };
            let signing_key = &public("system_signing");
            let account = Account { signing_key, storage: None, revocations: &none, tags: &[] };
            account.encode(&registered, &signing).unwrap()
        });
        let revoked: Revocations = [
            (public("user"), 1_700_000_000),
            (public("other_user"), 1_700_000_001),
            (ALL_USERS.to_owned(), 1_690_000_000),
        ]
        .into();
        for (name, revocations) in [("account_jwt", &none), ("account_with_revocations_jwt", &revoked)] {
            assert_same(&golden, name, |issued_at| {
                let subject = &public("account");
                let name = "0190f5a2-0000-7000-8000-000000000001";
                let registered = Registered { name, subject, issued_at, ..Registered::default() };
                let signing_key = &public("account_signing");
                let storage = Some(JetStreamLimits::of_streams(500, 8 << 30));
                Account { signing_key, storage, revocations, tags: &[] }
                    .encode(&registered, &signing)
                    .unwrap()
            });
        }
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        assert_same(&golden, "user_jwt", |issued_at| {
            let name = "0190f5a2-0000-7000-8000-000000000002@0190f5a2-0000-7000-8000-000000000001";
            let subject = &public("user");
            let registered =
                Registered { name, subject, issued_at, not_before: 1_700_000_000, expires: 4_000_000_000 };
            let (publish, subscribe) = (texts(&["a.>", "$JS.API.INFO"]), texts(&["a.>", "_INBOX.>"]));
            let user = User { account: &public("account"), publish: &publish, subscribe: &subscribe };
            user.encode(&registered, &account_signing).unwrap()
        });
        assert_same(&golden, "system_user_jwt", |issued_at| {
            let subject = &public("user");
            let expires = 4_000_000_000;
            let registered = Registered { name: "tenure", subject, issued_at, expires, not_before: 0 };
            let (publish, subscribe) = (texts(&["$SYS.REQ.CLAIMS.UPDATE"]), texts(&["_INBOX.>"]));
            let user = User { account: &public("system"), publish: &publish, subscribe: &subscribe };
            user.encode(&registered, &system_signing).unwrap()
        });
    }

    #[test]
    fn a_token_of_a_server_is_read_and_what_is_none_is_refused() {
        let golden = golden();
        let read = ReadAccount::decode(golden["account_jwt"].as_str().unwrap()).unwrap();
        assert_eq!(read.sub, golden["public"]["account"].as_str().unwrap());
        assert!(read.tags().is_empty());
        for text in ["", "a", "a.b.c", "a.e30.c", "..", "\u{1F600}.\u{1F600}"] {
            assert!(ReadAccount::decode(text).is_err(), "{text}");
        }
    }
}
