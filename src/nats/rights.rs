//! What the NATS users of a tenant may do, and those that Tenure itself takes to manage a tenant's streams.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectOptions};
use nkeys::{KeyPair, KeyPairType};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::claims::{Registered, TokenError, User};
use super::error::NatsError;
use super::keys::{new_key, seconds, seed_of};
use super::system::{addresses, private_inbox, sign_in};
use crate::clock::{Clock, Timestamp};
use crate::entropy::Entropy;
use crate::ids::{AccountId, UserId};

/// How far before its issuance a token is valid, for servers whose clocks are behind.
const BACKDATED_SECONDS: i64 = 30;

/// How long a connection that manages a tenant's streams may last.
const MANAGER_SECONDS: i64 = 60;

/// How long connecting may take, and an answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// A credential for one user of an account.
pub(super) struct UserCredential {
    pub(super) token: String,
    pub(super) seed: Zeroizing<String>,
}

/// A new user of a tenant, who has not got a token yet.
pub(super) struct NewUser(KeyPair);

impl NewUser {
    pub(super) fn new(entropy: &dyn Entropy) -> Result<Self, TokenError> {
        new_key(KeyPairType::User, entropy).map(Self)
    }

    pub(super) fn public_key(&self) -> String {
        self.0.public_key()
    }

    /// The credential of this user: what belongs to the account, reading of streams, and no change of them.
    pub(super) fn credential(
        &self,
        (account, public_key, signing_key): (AccountId, &str, &KeyPair),
        user: UserId,
        (now, issued_at, expires): (i64, i64, i64),
    ) -> Result<UserCredential, TokenError> {
        let own = format!("{account}.>");
        let publish = [
            own.as_str(),
            "$JS.API.INFO",
            "$JS.API.STREAM.LIST",
            "$JS.API.STREAM.NAMES",
            "$JS.API.STREAM.INFO.*",
            "$JS.API.STREAM.MSG.GET.*",
            "$JS.API.CONSUMER.>",
            "$JS.ACK.>",
            "$JS.FC.>",
            "_INBOX.>",
        ]
        .map(str::to_owned);
        let subscribe = [own, "_INBOX.>".to_owned()];
        let name = format!("{user}@{account}");
        let registered = Registered {
            name: &name,
            subject: &self.public_key(),
            issued_at,
            // Not of the issuance, which may be in the future: after a moment at which all users were revoked.
            not_before: now - BACKDATED_SECONDS,
            expires,
        };
        let user = User { account: public_key, publish: &publish, subscribe: &subscribe };
        Ok(UserCredential { token: user.encode(&registered, signing_key)?, seed: seed_of(&self.0)? })
    }
}

/// A short connection to a tenant's account that may change its streams.
pub(super) async fn manager(
    url: &str,
    (account, public_key, signing_key): (AccountId, &str, &KeyPair),
    issued_at: i64,
    now: Timestamp,
    entropy: &dyn Entropy,
) -> Result<Client, NatsError> {
    let inbox = private_inbox(entropy);
    let user = new_key(KeyPairType::User, entropy)?;
    let registered = Registered {
        name: &format!("tenure@{account}"),
        subject: &user.public_key(),
        issued_at,
        not_before: seconds(now) - BACKDATED_SECONDS,
        expires: seconds(now) + MANAGER_SECONDS,
    };
    let (publish, subscribe) = (["$JS.API.>".to_owned()], [format!("{inbox}.>")]);
    let token = User { account: public_key, publish: &publish, subscribe: &subscribe }
        .encode(&registered, signing_key)?;
    let user = Arc::new(user);
    let options = ConnectOptions::with_auth_callback(move |nonce| {
        let signed = sign_in(&user, token.clone(), &nonce);
        async move { signed }
    });
    let connecting = options
        .name("tenure")
        .custom_inbox_prefix(inbox)
        .connection_timeout(CONNECT_TIMEOUT)
        .request_timeout(Some(ANSWER_TIMEOUT))
        .max_reconnects(Some(1))
        .connect(addresses(url)?);
    let client = timeout(CONNECT_TIMEOUT, connecting).await.map_err(|_| NatsError::Silent("connecting"))?;
    client.map_err(|error| NatsError::Unusable(format!("its user cannot connect: {error}")))
}

/// The clock in seconds, as tokens have it.
pub(super) fn now(clock: &dyn Clock) -> i64 {
    seconds(clock.now())
}
