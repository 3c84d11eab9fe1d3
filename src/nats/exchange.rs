//! The exchange of a credential for one of NATS.

use std::time::Duration;

use tokio::time::timeout;
use zeroize::Zeroizing;

use super::error::NatsError;
use super::handle::Nats;
use super::rights::NewUser;
use super::settings::Pauses;
use super::users::IssuedFor;
use crate::clock::Timestamp;
use crate::ids::AccountId;

/// How long an exchange may take: existing clients wait for five seconds.
const EXCHANGE_TIMEOUT: Duration = Duration::from_millis(4_300);

/// A credential for one NATS user.
pub struct Exchanged {
    /// The user's token.
    pub token: String,
    /// The user's seed.
    pub seed: Zeroizing<String>,
    /// Until when the token is valid, to the second.
    pub expires_at: Timestamp,
}

impl std::fmt::Debug for Exchanged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchanged").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

impl Nats {
    /// A credential for a new NATS user of an account; `None` if the credential that it is issued for has been ended
    /// meanwhile. `credential_ends` is when that one expires.
    ///
    /// The user is stored before the credential is checked, and the token leaves only after both.
    ///
    /// # Errors
    /// [`NatsError`] if the servers or the database cannot be used, or do not answer in time.
    pub async fn exchange(
        &self,
        account: AccountId,
        issued_for: IssuedFor,
        credential_ends: Option<Timestamp>,
    ) -> Result<Option<Exchanged>, NatsError> {
        let exchanging = Box::pin(self.exchange_untimed(account, issued_for, credential_ends));
        timeout(EXCHANGE_TIMEOUT, exchanging).await.unwrap_or(Err(NatsError::Silent("the exchange")))
    }

    async fn exchange_untimed(
        &self,
        account: AccountId,
        issued_for: IssuedFor,
        credential_ends: Option<Timestamp>,
    ) -> Result<Option<Exchanged>, NatsError> {
        let ready = self.ready().await?;
        let publishing = {
            let nats = Self { parts: self.parts.clone(), _running: None };
            // In a task, so that an account that is half made is finished even if the caller goes away.
            tokio::spawn(async move { nats.provisioned(&ready, account).await })
        };
        let keys = publishing.await.map_err(|_| NatsError::Silent("the exchange"))??;
        let tenure = &self.parts.tenure;
        let user = NewUser::new(&*tenure.entropy())?;
        let now = self.now();
        let life = i64::try_from(self.parts.settings.user_ttl.as_secs()).unwrap_or(i64::MAX);
        let mut expires = now.saturating_add(life);
        if let Some(ends) = credential_ends {
            expires = expires.min(super::keys::seconds(ends));
        }
        let store = &self.parts.store;
        store.store_user(account, &user.public_key(), issued_for, (now, expires)).await?;
        Pauses::at(self.parts.settings.pauses.before_check.as_ref()).await;
        let Some(issued_at) = store.check_user(&user.public_key()).await? else { return Ok(None) };
        let of = (account, keys.public_key.as_str(), keys.signing_key()?);
        let credential = user.credential(of, issued_for.user(), (now, issued_at, expires))?;
        let expires_at = Timestamp::from_micros(expires.saturating_mul(1_000_000));
        Ok(Some(Exchanged { token: credential.token, seed: credential.seed, expires_at }))
    }
}
