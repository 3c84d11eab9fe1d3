//! The platform's own account at NATS, `tenure`: the relay publishes there, and services of the operator read.

use std::time::Duration;

use nkeys::KeyPairType;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::claims::{
    ALL_USERS, Account, JetStreamLimits, ReadAccount, Registered, Revocations, TokenError, User,
};
use super::error::NatsError;
use super::handle::{Nats, Ready};
use super::keys::{PlatformKeys, new_key, seconds, seed_of};
use super::relay::SUBJECTS;
use super::rights::{self, Connection, Login};
use super::store::{MOST_REVOCATIONS, REVOKED_AFTER_SECONDS, Store};
use super::system::private_inbox;
use crate::Tenure;
use crate::clock::Timestamp;

/// The account's name in its token.
const NAME: &str = "tenure";

/// How long a connection of the relay lasts; another one follows.
const RELAY_SECONDS: i64 = 12 * 3_600;

/// How far the clock of another machine may be ahead when all credentials are revoked.
const AHEAD_SECONDS: i64 = 11;

/// How often the token of the account at the servers is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// What a reader may publish to: requests to `JetStream` that change no stream, and acknowledgements.
const READER_PUBLISH: [&str; 14] = [
    "$JS.API.INFO",
    "$JS.API.STREAM.LIST",
    "$JS.API.STREAM.NAMES",
    "$JS.API.STREAM.INFO.*",
    "$JS.API.STREAM.MSG.GET.*",
    "$JS.API.CONSUMER.CREATE.>",
    "$JS.API.CONSUMER.DURABLE.CREATE.>",
    "$JS.API.CONSUMER.DELETE.>",
    "$JS.API.CONSUMER.INFO.>",
    "$JS.API.CONSUMER.LIST.*",
    "$JS.API.CONSUMER.NAMES.*",
    "$JS.API.CONSUMER.MSG.NEXT.>",
    "$JS.ACK.>",
    "$JS.FC.>",
];

/// What the holder of a credential may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PlatformRights {
    /// Read events, with consumers of its own.
    Subscribe,
    /// Everything within the account, streams included.
    Manage,
}

/// A credential that is wanted.
#[derive(Clone, Debug)]
pub struct NewPlatformUser {
    /// Who is to have it; for people.
    pub name: String,
    /// What the holder may do.
    pub rights: PlatformRights,
    /// How long it is valid.
    pub ttl: Duration,
    /// Who issues it.
    pub by: String,
}

/// A credential, as a file that clients of NATS read.
pub struct IssuedPlatformUser {
    /// Its public key, by which it is revoked.
    pub public_key: String,
    /// Until when it is valid.
    pub expires_at: Timestamp,
    /// The contents of the file: token and seed.
    pub credentials: Zeroizing<String>,
}

/// A credential that was issued.
#[derive(Clone, Debug, Serialize)]
pub struct PlatformUser {
    /// Its public key.
    pub public_key: String,
    /// Who has it.
    pub name: String,
    /// What the holder may do.
    pub rights: PlatformRights,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// Until when it is valid.
    pub expires_at: Timestamp,
    /// Who has issued it.
    pub issued_by: String,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// Who has revoked it.
    pub revoked_by: Option<String>,
}

const fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds.saturating_mul(1_000_000))
}

/// Issues a credential for the platform's account.
///
/// # Errors
/// [`NatsError::NoOperator`] before `tenure nats bootstrap`; otherwise the database cannot be used.
pub async fn issue_platform_user(
    tenure: &Tenure,
    wanted: &NewPlatformUser,
) -> Result<IssuedPlatformUser, NatsError> {
    let store = Store::new(tenure.clone());
    let platform = store.platform_keys(&*tenure.entropy()).await?;
    let user = new_key(KeyPairType::User, &*tenure.entropy())?;
    let public_key = user.public_key();
    let now = seconds(tenure.clock().now());
    let issued = now.max(store.revoked_before(now).await? + 1);
    let expires = issued.saturating_add(i64::try_from(wanted.ttl.as_secs()).unwrap_or(i64::MAX));
    let publish: Vec<String> = match wanted.rights {
        PlatformRights::Subscribe => READER_PUBLISH.map(str::to_owned).to_vec(),
        PlatformRights::Manage => vec![">".to_owned()],
    };
    let subscribe: Vec<String> = match wanted.rights {
        PlatformRights::Subscribe => vec![format!("{SUBJECTS}.>"), "_INBOX.>".to_owned()],
        PlatformRights::Manage => vec![">".to_owned()],
    };
    let registered = Registered {
        name: &wanted.name,
        subject: &public_key,
        issued_at: issued,
        not_before: now - rights::BACKDATED_SECONDS,
        expires,
    };
    let token = User { account: &platform.public_key, publish: &publish, subscribe: &subscribe }
        .encode(&registered, &platform.signing_key()?)?;
    // Stored first: no credential is out that nobody knows of.
    store.store_platform_user(&public_key, wanted, issued, expires).await?;
    let credentials = credentials_file(&token, &seed_of(&user)?);
    Ok(IssuedPlatformUser { public_key, expires_at: at(expires), credentials })
}

/// The file that `nsc` writes and clients read.
fn credentials_file(token: &str, seed: &str) -> Zeroizing<String> {
    Zeroizing::new(format!(
        "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
         ************************* IMPORTANT *************************\n\
         The seed below is a secret: whoever has it can read all events.\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n\n\
         *************************************************************\n"
    ))
}

/// Revokes a credential. Nodes that use NATS give the servers the new token of the account within seconds. False if there is no
/// such credential, or it was revoked before.
///
/// # Errors
/// [`NatsError::Store`]
pub async fn revoke_platform_user(tenure: &Tenure, public_key: &str, by: &str) -> Result<bool, NatsError> {
    Ok(Store::new(tenure.clone()).revoke_platform_user(public_key, by).await?)
}

/// The credentials that were issued, the oldest first, after one of them; at most so many.
///
/// # Errors
/// [`NatsError::Store`]
pub async fn platform_users(
    tenure: &Tenure,
    after: Option<&PlatformUser>,
    limit: i64,
) -> Result<Vec<PlatformUser>, NatsError> {
    let after = after.map_or((i64::MIN, ""), |user| (seconds(user.issued_at), user.public_key.as_str()));
    Ok(Store::new(tenure.clone()).platform_users(after, limit).await?)
}

impl Nats {
    /// Keeps the token of the platform's account at the servers what it should be, for ever.
    pub(super) async fn keep_platform(&self) {
        loop {
            if let Ok(ready) = self.ready_now()
                && let Err(error) = self.ensure_platform(&ready).await
            {
                tracing::warn!(%error, "the platform's account at NATS cannot be kept up to date; trying again");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Gives the token of the platform's account to the servers, if one of them has another or none.
    pub(super) async fn ensure_platform(&self, ready: &Ready) -> Result<PlatformKeys, NatsError> {
        let (store, entropy) = (&self.parts.store, self.parts.tenure.entropy());
        let platform = store.platform_keys(&*entropy).await?;
        let servers = ready.servers.len();
        let tokens = ready.system.tokens(&platform.public_key, servers).await?;
        let revoked_before = store.revoked_before(self.now()).await?;
        let mut revocations = store.revoked_platform_users(self.now() - REVOKED_AFTER_SECONDS).await?;
        let all = revocations.entry(ALL_USERS.to_owned()).or_default();
        *all = revoked_before.max(*all);
        let tag = tag(&revocations);
        let signer = ready.operator.signing_key()?;
        let signer_key = signer.public_key();
        let is_current = |token: &String| {
            ReadAccount::decode(token).is_ok_and(|read| read.iss == signer_key && read.tags().contains(&tag))
        };
        if tokens.len() >= servers && tokens.iter().all(is_current) {
            return Ok(platform);
        }
        let registered = Registered {
            name: NAME,
            subject: &platform.public_key,
            issued_at: self.now(),
            ..Registered::default()
        };
        let tags = [tag];
        let account = Account {
            signing_key: &platform.signing_key()?.public_key(),
            storage: Some(JetStreamLimits::unlimited()),
            revocations: &revocations,
            tags: &tags,
        };
        ready.system.push(&account.encode(&registered, &signer)?, &ready.servers).await?;
        tracing::info!("the platform's account was given to the NATS servers");
        Ok(platform)
    }

    /// A connection of the relay.
    pub(super) async fn connect_to_platform(&self, platform: &PlatformKeys) -> Result<Connection, NatsError> {
        let tenure = &self.parts.tenure;
        let (now, entropy) = (tenure.clock().now(), tenure.entropy());
        let inbox = private_inbox(&*entropy);
        let revoked_before = self.parts.store.revoked_before(seconds(now)).await?;
        let login = Login {
            name: "tenure relay",
            account: &platform.public_key,
            signing_key: &platform.signing_key()?,
            publish: &[format!("{SUBJECTS}.>"), "$JS.API.>".to_owned()],
            subscribe: &[format!("{inbox}.>")],
            issued_at: seconds(now).max(revoked_before + 1),
            seconds: RELAY_SECONDS,
        };
        Connection::open(&self.parts.settings.url, &inbox, &login, now, &*entropy).await
    }
}

/// The text by which a token is told to have these revocations.
fn tag(revocations: &Revocations) -> String {
    let mut hash = Sha256::new();
    for (key, at) in revocations {
        hash.update(format!("{key} {at}\n"));
    }
    format!("tenure:platform-{}", data_encoding::HEXLOWER.encode(&hash.finalize()[..8]))
}

impl Store {
    /// The keys of the platform's account; made if the operator was made by a release that had none.
    pub(super) async fn platform_keys(
        &self,
        entropy: &dyn crate::entropy::Entropy,
    ) -> Result<PlatformKeys, NatsError> {
        loop {
            let former = self.keys().await?.ok_or(NatsError::NoOperator)?;
            if let Some(platform) = former.platform.clone() {
                return Ok(platform);
            }
            let mut keys = former.clone();
            keys.platform = Some(PlatformKeys::new(entropy)?);
            // Another node may have been faster: then its keys are there at the next look.
            self.replace_keys(Some(&former), &keys).await?;
        }
    }

    /// Up to which second all credentials are revoked. In a new epoch of the log revocations may have been lost: all are revoked
    /// once. So are they if nothing is stored: the servers may know the account all the same. Right after such a moment credentials
    /// are issued as of the second that follows it, so the next one lies beyond.
    async fn revoked_before(&self, now: i64) -> Result<i64, crate::event_log::ReadError> {
        let with = "noted as (
            insert into coarse.nats_relay as r (users_epoch, revoked_before)
            select h.epoch, $1::bigint + $2 from log.head h
            on conflict (only_row) do update
            set users_epoch = excluded.users_epoch, revoked_before = greatest(r.revoked_before + 1, excluded.revoked_before)
            where r.users_epoch is distinct from excluded.users_epoch
            returning revoked_before)";
        let select = "select revoked_before from noted
                      union all
                      select revoked_before from coarse.nats_relay where not exists (select from noted)";
        for _ in 0..2 {
            let answer = self.primary().ask(with, select, &[&now, &AHEAD_SECONDS]).await?;
            if let Some(row) = answer.rows.first() {
                return Ok(row.try_get(0)?);
            }
            // Another node stored it while this statement looked: the next one sees it.
        }
        Err(crate::event_log::ReadError::Unavailable(
            "the state of the platform's account cannot be stored".into(),
        ))
    }

    async fn store_platform_user(
        &self,
        public_key: &str,
        wanted: &NewPlatformUser,
        issued: i64,
        expires: i64,
    ) -> Result<(), NatsError> {
        let may_manage = wanted.rights == PlatformRights::Manage;
        let sql =
            "insert into coarse.nats_relay_user (public_key, name, may_manage, issued, expires, issued_by)
                   values ($1, $2, $3, $4, $5, $6)";
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
            [&public_key, &wanted.name, &may_manage, &issued, &expires, &wanted.by];
        self.primary().execute(sql, &values).await?;
        Ok(())
    }

    async fn revoke_platform_user(
        &self,
        public_key: &str,
        by: &str,
    ) -> Result<bool, crate::event_log::ReadError> {
        let sql = "update coarse.nats_relay_user set revoked_at = clock_timestamp(), revoked_by = $2
                   where public_key = $1 and revoked_at is null";
        Ok(self.primary().execute(sql, &[&public_key, &by]).await? == 1)
    }

    /// The revoked credentials that have not been expired for long. If there are too many to name, all that were issued up to the
    /// newest of them are revoked.
    async fn revoked_platform_users(&self, since: i64) -> Result<Revocations, crate::event_log::ReadError> {
        let sql = "select public_key, issued from coarse.nats_relay_user
                   where revoked_at is not null and expires > $1 order by expires desc limit $2";
        let limit = i64::try_from(MOST_REVOCATIONS + 1).unwrap_or(i64::MAX);
        let rows = self.primary().rows(sql, &[&since, &limit]).await?;
        let mut revoked = Revocations::new();
        for row in &rows {
            revoked.insert(row.try_get(0)?, row.try_get(1)?);
        }
        if revoked.len() > MOST_REVOCATIONS {
            let newest = revoked.values().copied().max().unwrap_or_default();
            revoked = Revocations::from([(ALL_USERS.to_owned(), newest)]);
        }
        Ok(revoked)
    }

    async fn platform_users(
        &self,
        (issued, public_key): (i64, &str),
        limit: i64,
    ) -> Result<Vec<PlatformUser>, crate::event_log::ReadError> {
        let sql = "select public_key, name, may_manage, issued, expires, issued_by, revoked_at, revoked_by
                   from coarse.nats_relay_user where (issued, public_key) > ($1, $2)
                   order by issued, public_key limit $3";
        let rows = self.primary().rows(sql, &[&issued, &public_key, &limit]).await?;
        let user = |row: &tokio_postgres::Row| {
            let may_manage: bool = row.try_get(2)?;
            Ok::<_, tokio_postgres::Error>(PlatformUser {
                public_key: row.try_get(0)?,
                name: row.try_get(1)?,
                rights: if may_manage { PlatformRights::Manage } else { PlatformRights::Subscribe },
                issued_at: at(row.try_get(3)?),
                expires_at: at(row.try_get(4)?),
                issued_by: row.try_get(5)?,
                revoked_at: row.try_get(6)?,
                revoked_by: row.try_get(7)?,
            })
        };
        Ok(rows.iter().map(user).collect::<Result<_, _>>()?)
    }
}

impl PlatformKeys {
    fn new(entropy: &dyn crate::entropy::Entropy) -> Result<Self, TokenError> {
        // The identity seed of the account is needed for nothing: it is forgotten here.
        let public_key = new_key(KeyPairType::Account, entropy)?.public_key();
        Ok(Self { public_key, signing_seed: seed_of(&new_key(KeyPairType::Account, entropy)?)? })
    }
}
