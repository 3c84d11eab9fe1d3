//! What the NATS users of a tenant may do, and those that Tenure itself takes to manage a tenant's streams.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event};
use nkeys::{KeyPair, KeyPairType};
use tokio::sync::watch;
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
pub(super) const BACKDATED_SECONDS: i64 = 30;

/// How long a connection that manages a tenant's streams may last.
const MANAGER_SECONDS: i64 = 60;

/// How long connecting may take, and an answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a silent connection is tested.
const PING_EVERY: Duration = Duration::from_secs(2);

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

/// As whom to connect: a new user of an account.
pub(super) struct Login<'a> {
    /// A name for people.
    pub(super) name: &'a str,
    /// The public key of the account.
    pub(super) account: &'a str,
    /// The key that signs its users.
    pub(super) signing_key: &'a KeyPair,
    pub(super) publish: &'a [String],
    pub(super) subscribe: &'a [String],
    pub(super) issued_at: i64,
    /// How long the connection may last.
    pub(super) seconds: i64,
}

/// A connection that ends when it is lost.
pub(super) struct Connection {
    pub(super) client: Client,
    is_lost: watch::Receiver<bool>,
}

impl Connection {
    pub(super) async fn open(
        url: &str,
        inbox: &str,
        login: &Login<'_>,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<Self, NatsError> {
        let user = new_key(KeyPairType::User, entropy)?;
        let registered = Registered {
            name: login.name,
            subject: &user.public_key(),
            issued_at: login.issued_at,
            not_before: seconds(now) - BACKDATED_SECONDS,
            expires: seconds(now) + login.seconds,
        };
        let token = User { account: login.account, publish: login.publish, subscribe: login.subscribe }
            .encode(&registered, login.signing_key)?;
        let user = Arc::new(user);
        let (lost, is_lost) = watch::channel(false);
        let lost = Arc::new(lost);
        let options = ConnectOptions::with_auth_callback(move |nonce| {
            let signed = sign_in(&user, token.clone(), &nonce);
            async move { signed }
        });
        let connecting = options
            .name("tenure")
            .custom_inbox_prefix(inbox)
            .connection_timeout(CONNECT_TIMEOUT)
            .request_timeout(Some(ANSWER_TIMEOUT))
            .ping_interval(PING_EVERY)
            .max_reconnects(Some(1))
            .event_callback(move |event| {
                if matches!(event, Event::Disconnected | Event::Closed) {
                    lost.send_replace(true);
                }
                std::future::ready(())
            })
            .connect(addresses(url)?);
        let client =
            timeout(CONNECT_TIMEOUT, connecting).await.map_err(|_| NatsError::Silent("connecting"))?;
        let client =
            client.map_err(|error| NatsError::Unusable(format!("its user cannot connect: {error}")))?;
        Ok(Self { client, is_lost })
    }

    /// Waits until the connection is lost.
    pub(super) async fn lost(&mut self) {
        // Without a sender the client is gone too.
        let _ = self.is_lost.wait_for(|lost| *lost).await;
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
    let login = Login {
        name: &format!("tenure@{account}"),
        account: public_key,
        signing_key,
        publish: &["$JS.API.>".to_owned()],
        subscribe: &[format!("{inbox}.>")],
        issued_at,
        seconds: MANAGER_SECONDS,
    };
    Ok(Connection::open(url, &inbox, &login, now, entropy).await?.client)
}

/// The clock in seconds, as tokens have it.
pub(super) fn now(clock: &dyn Clock) -> i64 {
    seconds(clock.now())
}
