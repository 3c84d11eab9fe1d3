//! Who calls: nobody known, a person by a bearer token or a session, or a key of an account.

use axum::extract::{FromRequestParts, MatchedPath};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use secrecy::{ExposeSecret as _, SecretString};

use super::cookies;
use super::error::ApiError;
use super::origin::Origin;
use super::rate_limit::{RateLimitStatus, is_command};
use super::state::{AppState, SharedState};
use crate::context::{Actor, Context};
use crate::credentials::api_key::key_prefix;
use crate::dispatch::DispatchError;
use crate::ids::{AccountId, ApiKeyId, BearerTokenId, SessionId, UserId};
use crate::operations::{Refusal, Resource};
use crate::projections::{QueryError, api_keys};

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Nobody known.
    Anonymous,
    /// A person.
    Person {
        /// Who.
        user: UserId,
        /// By what.
        via: Via,
    },
    /// A key of an account.
    Key {
        /// The key.
        id: ApiKeyId,
        /// The account that it acts for.
        account: AccountId,
        /// Who minted it.
        minter: UserId,
    },
}

/// By what a person calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// A bearer token.
    Token(BearerTokenId),
    /// A browser's session.
    Session(SessionId),
}

impl Caller {
    /// The circumstances of a command of this caller.
    ///
    /// # Errors
    /// Nobody known commands nothing.
    pub fn context(self) -> Result<Context, ApiError> {
        match self {
            Self::Anonymous => Err(ApiError::NoCredential),
            Self::Person { user, via: Via::Session(_) } => Ok(Context::of(Actor::User(user))),
            Self::Person { user, via: Via::Token(token) } => {
                Ok(Context { on_behalf_of: Some(user), ..Context::of(Actor::Token(token)) })
            }
            Self::Key { id, minter, .. } => {
                Ok(Context { on_behalf_of: Some(minter), ..Context::of(Actor::ApiKey(id)) })
            }
        }
    }

    /// The identifier that limits count by: the person's, whichever credential they use, or the key's. None for anonymous
    /// callers.
    #[must_use]
    pub const fn id(self) -> Option<uuid::Uuid> {
        match self {
            Self::Anonymous => None,
            Self::Person { user, .. } => Some(user.as_uuid()),
            Self::Key { id, .. } => Some(id.as_uuid()),
        }
    }

    /// The person, if one calls: keys act for accounts, not for people.
    ///
    /// # Errors
    /// Nobody known, or a key.
    pub const fn person(self) -> Result<UserId, ApiError> {
        match self {
            Self::Anonymous => Err(ApiError::NoCredential),
            Self::Person { user, .. } => Ok(user),
            Self::Key { .. } => Err(ApiError::FORBIDDEN),
        }
    }
}

impl From<api_keys::ApiKey> for Caller {
    fn from(key: api_keys::ApiKey) -> Self {
        Self::Key { id: key.id, account: key.account_id, minter: key.created_by_user_id }
    }
}

/// The credential of a request, from its one right place.
pub fn bearer(headers: &HeaderMap) -> Result<Option<SecretString>, ApiError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(ApiError::MisplacedCredential);
    }
    let (scheme, credential) =
        value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(ApiError::BadCredential)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(ApiError::BadCredential);
    }
    Ok(Some(credential.trim().to_owned().into()))
}

/// Names of parameters that hold credentials.
const CREDENTIALS: &[&str] = &[
    "access_token",
    "api_key",
    "apikey",
    "token",
    "bearer_token",
    "client_secret",
    "device_code",
    "password",
];

/// Refuses a credential in a URL, where logs and histories keep it.
pub fn refuse_credentials_in(query: Option<&str>, sentinel: &str) -> Result<(), ApiError> {
    let misplaced = query.unwrap_or_default().split('&').any(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        CREDENTIALS.iter().any(|credential| name.eq_ignore_ascii_case(credential))
            || value.strip_prefix(sentinel).is_some_and(|rest| rest.starts_with('_') && rest.len() > 20)
    });
    if misplaced { Err(ApiError::MisplacedCredential) } else { Ok(()) }
}

impl AppState {
    /// Who holds a credential.
    ///
    /// # Errors
    /// It is bad, was bad too often, or cannot be checked.
    pub async fn identify(
        &self,
        credential: &SecretString,
        by: Caller,
        from: Origin,
    ) -> Result<Caller, ApiError> {
        let token = format!("{}_oauth_", self.tenure.rules().sentinel);
        if credential.expose_secret().starts_with(&token) {
            return self.bearer_token(credential, by, from).await;
        }
        self.api_key(credential, by, from).await.map(Caller::from)
    }

    async fn bearer_token(
        &self,
        credential: &SecretString,
        by: Caller,
        from: Origin,
    ) -> Result<Caller, ApiError> {
        let look_up = self.rate_limits.look_up(credential, (by == Caller::Anonymous).then_some(from.0))?;
        match self.tenure.lookup_bearer_token(credential).await {
            Ok(token) => {
                look_up.succeeded();
                Ok(Caller::Person { user: token.user_id, via: Via::Token(token.id) })
            }
            Err(QueryError::NotFound) => {
                look_up.failed();
                Err(ApiError::BadCredential)
            }
            Err(error) => {
                look_up.was_inconclusive();
                Err(error.into())
            }
        }
    }

    /// The key behind a plaintext, for somebody who verifies it, or for nobody known who calls by it. After many bad ones
    /// with its prefix from one address it is not looked at; one that was right before is.
    ///
    /// # Errors
    /// It is bad, was bad too often, or cannot be checked.
    pub async fn api_key(
        &self,
        plaintext: &SecretString,
        by: Caller,
        from: Origin,
    ) -> Result<api_keys::ApiKey, ApiError> {
        let text = plaintext.expose_secret();
        // What does not look like a key costs nothing and guesses nothing.
        let guesses = text.starts_with(&format!("{}_", self.tenure.rules().sentinel))
            && !self.tenure.argon2().remembers(plaintext);
        let now = self.tenure.clock().now();
        let tried = if guesses {
            let look_up = self.rate_limits.look_up(plaintext, (by == Caller::Anonymous).then_some(from.0))?;
            Some((look_up, self.rate_limits.attempt_key(by.id(), from.0, key_prefix(text).as_str(), now)?))
        } else {
            None
        };
        match self.tenure.lookup_api_key(plaintext).await {
            Err(DispatchError::Refused(Refusal::NotFound(Resource::ApiKey))) => Err(ApiError::BadCredential),
            other => {
                if let Some((look_up, tried)) = tried {
                    look_up.was_inconclusive();
                    tried.cancel();
                }
                Ok(other?)
            }
        }
    }

    /// Who is signed in with this browser; nobody if the session is over.
    ///
    /// # Errors
    /// The session cannot be looked up.
    pub async fn session(&self, headers: &HeaderMap) -> Result<Option<(UserId, SessionId)>, ApiError> {
        match self.session_secret(headers) {
            Some(secret) => self.session_of(&secret).await,
            None => Ok(None),
        }
    }

    /// The person who is signed in with this browser, if anybody is; a session that was not good here lately is looked up
    /// only while its address may try.
    async fn browser(&self, headers: &HeaderMap, from: Origin) -> Result<Caller, ApiError> {
        let Some(secret) = self.session_secret(headers) else { return Ok(Caller::Anonymous) };
        let look_up = self.rate_limits.look_up(&secret, Some(from.0))?;
        match self.session_of(&secret).await {
            Ok(Some((user, session))) => {
                look_up.succeeded();
                Ok(Caller::Person { user, via: Via::Session(session) })
            }
            Ok(None) => {
                look_up.failed();
                Ok(Caller::Anonymous)
            }
            Err(error) => {
                look_up.was_inconclusive();
                Err(error)
            }
        }
    }

    fn session_secret(&self, headers: &HeaderMap) -> Option<SecretString> {
        cookies::read(headers, &self.settings, cookies::SESSION).map(SecretString::from)
    }

    async fn session_of(&self, secret: &SecretString) -> Result<Option<(UserId, SessionId)>, ApiError> {
        match self.tenure.lookup_session(secret).await {
            Ok(session) => Ok(Some((session.user_id, session.id))),
            Err(QueryError::NotFound) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl FromRequestParts<SharedState> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &SharedState) -> Result<Self, ApiError> {
        if let Some(caller) = parts.extensions.get::<Self>() {
            return Ok(*caller);
        }
        refuse_credentials_in(parts.uri.query(), &state.tenure.rules().sentinel)?;
        let from = Origin::from_request_parts(parts, state).await?;
        let status = parts.extensions.get::<RateLimitStatus>().cloned().unwrap_or_default();
        let caller = if let Some(credential) = bearer(&parts.headers)? {
            let known = state.identify(&credential, Self::Anonymous, from).await;
            if matches!(known, Err(ApiError::BadCredential)) {
                state.rate_limits.anonymous(from.0, &status)?;
            }
            known?
        } else {
            state.browser(&parts.headers, from).await?
        };
        let route = parts.extensions.get::<MatchedPath>().map(MatchedPath::as_str);
        state.rate_limits.caller(caller.id(), from.0, is_command(&parts.method, route), &status)?;
        parts.extensions.insert(caller);
        Ok(caller)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_do_not_belong_into_urls() {
        for bad in ["access_token=x", "a=b&API_KEY=y", "q=ppz_0123456789abcdef0123456789", "token"] {
            assert!(refuse_credentials_in(Some(bad), "ppz").is_err(), "{bad}");
        }
        for good in ["org=0190", "limit=5&cursor=abc", "name=ppz_x"] {
            assert!(refuse_credentials_in(Some(good), "ppz").is_ok(), "{good}");
        }
    }
}
