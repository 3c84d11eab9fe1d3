//! The caller of a request: anonymous, a user with a bearer token or a session, or an API key of an account.

use axum::extract::{FromRequestParts, MatchedPath};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use secrecy::{ExposeSecret as _, SecretString};

use super::cookies;
use super::error::ApiError;
use super::origin::Origin;
use super::rate_limit::{RateLimitStatus, is_command};
use super::state::{AppState, SharedState};
use crate::clock::Timestamp;
use crate::context::{Actor, Context};
use crate::credentials::api_key::key_prefix;
use crate::dispatch::DispatchError;
use crate::ids::{AccountId, ApiKeyId, BearerTokenId, SessionId, UserId};
use crate::operations::{Refusal, Resource};
use crate::projections::{QueryError, api_keys};

/// The authenticated caller of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// No credential was sent, or only the cookie of a session that has ended.
    Anonymous,
    /// A user.
    Person {
        /// The user's identifier.
        user: UserId,
        /// The credential that authenticated the user.
        via: Via,
    },
    /// An API key of an account.
    Key {
        /// The identifier of the key.
        id: ApiKeyId,
        /// The account that the key acts for.
        account: AccountId,
        /// The user who minted the key.
        minter: UserId,
    },
}

/// The credential that a user calls with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// A bearer token, from the Authorization header.
    Token(BearerTokenId),
    /// A browser session, from its cookie; commands then need a CSRF token.
    Session(SessionId),
}

impl Caller {
    /// The context of a command by this caller: the actor, and the user it acts for.
    ///
    /// # Errors
    /// [`ApiError::NoCredential`] if the caller is anonymous.
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

    /// The identifier that rate limits count by: the user's, whichever credential they use, or the key's. None for
    /// anonymous callers.
    #[must_use]
    pub const fn id(self) -> Option<uuid::Uuid> {
        match self {
            Self::Anonymous => None,
            Self::Person { user, .. } => Some(user.as_uuid()),
            Self::Key { id, .. } => Some(id.as_uuid()),
        }
    }

    /// Whether the caller is a browser, whose session is sent with requests that other sites make it send.
    #[must_use]
    pub const fn is_browser(self) -> bool {
        matches!(self, Self::Person { via: Via::Session(_), .. })
    }

    /// The user who calls. API keys act for accounts, not for users.
    ///
    /// # Errors
    /// [`ApiError::NoCredential`] if the caller is anonymous, [`ApiError::FORBIDDEN`] if it is an API key.
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

/// The credential in the Authorization header; none without one.
///
/// # Errors
/// [`ApiError::MisplacedCredential`] if the header is repeated; [`ApiError::BadCredential`] for other schemes.
pub fn bearer(headers: &HeaderMap) -> Result<Option<SecretString>, ApiError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    // Of two credentials, a proxy in front could have checked the other one.
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

/// The credential that a request is made with: that of the Authorization header, or the secret of a session.
///
/// # Errors
/// Those of [`bearer`].
pub fn presented_credential(state: &AppState, headers: &HeaderMap) -> Result<Option<SecretString>, ApiError> {
    Ok(bearer(headers)?.or_else(|| session_secret(state, headers)))
}

/// Until when a credential that was good stays good, unless it is ended; none if it is no longer good, or not this caller's.
/// Counts against no limit.
///
/// # Errors
/// [`ApiError::Unavailable`] if it cannot be checked.
pub async fn good_until(
    state: &AppState,
    caller: Caller,
    credential: &SecretString,
) -> Result<Option<Timestamp>, ApiError> {
    let Caller::Person { user, via } = caller else { return Ok(None) };
    let found = match via {
        Via::Session(_) => {
            state.tenure.lookup_session(credential).await.map(|found| (found.user_id, found.expires_at))
        }
        Via::Token(_) => {
            state.tenure.lookup_bearer_token(credential).await.map(|found| (found.user_id, found.expires_at))
        }
    };
    match found {
        Ok((of, until)) => Ok((of == user).then_some(until)),
        Err(QueryError::NotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Names of query parameters that hold credentials.
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

/// Refuses a credential in a URL, because access logs and browser histories keep URLs.
pub fn refuse_credentials_in(query: Option<&str>, sentinel: &str) -> Result<(), ApiError> {
    // Decoded, because access logs are read by people who can decode them too.
    let misplaced = form_urlencoded::parse(query.unwrap_or_default().as_bytes()).any(|(name, value)| {
        // The name decides for known parameters; the shape of the value catches a key under any other name.
        CREDENTIALS.iter().any(|credential| name.eq_ignore_ascii_case(credential))
            || value.strip_prefix(sentinel).is_some_and(|rest| rest.starts_with('_') && rest.len() > 20)
    });
    if misplaced { Err(ApiError::MisplacedCredential) } else { Ok(()) }
}

/// The caller whose credential this is. `by` is who presents it: another caller who introspects it, or anonymous.
///
/// # Errors
/// [`ApiError::BadCredential`]; [`ApiError::TooMany`] after too many bad ones; [`ApiError::Unavailable`] if it
/// cannot be checked.
pub async fn authenticate(
    state: &AppState,
    credential: &SecretString,
    by: Caller,
    from: Origin,
) -> Result<Caller, ApiError> {
    let token = format!("{}_oauth_", state.tenure.rules().sentinel);
    if credential.expose_secret().starts_with(&token) {
        return authenticate_bearer_token(state, credential, by, from).await;
    }
    authenticate_api_key(state, credential, by, from).await.map(Caller::from)
}

async fn authenticate_bearer_token(
    state: &AppState,
    credential: &SecretString,
    by: Caller,
    from: Origin,
) -> Result<Caller, ApiError> {
    // Charged before the database is asked, so that made-up tokens cannot flood it.
    let look_up = state.rate_limits.look_up(credential, (by == Caller::Anonymous).then_some(from.0))?;
    match state.tenure.lookup_bearer_token(credential).await {
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

/// Looks up the API key of a plaintext, for a caller who verifies it or for an anonymous caller who calls with it.
/// After too many bad keys with its prefix from one address it is not checked, unless it was good before.
///
/// # Errors
/// [`ApiError::BadCredential`]; [`ApiError::TooMany`] after too many bad ones; [`ApiError::Unavailable`] or `Busy`
/// if it cannot be checked.
pub async fn authenticate_api_key(
    state: &AppState,
    plaintext: &SecretString,
    by: Caller,
    from: Origin,
) -> Result<api_keys::ApiKey, ApiError> {
    let text = plaintext.expose_secret();
    // Text that cannot be a key is refused without a query. A key that was good before is no guess: guesses by
    // others behind the same address must not lock it out.
    let guesses = text.starts_with(&format!("{}_", state.tenure.rules().sentinel))
        && !state.tenure.argon2().remembers(plaintext);
    let now = state.tenure.clock().now();
    let tried = if guesses {
        let look_up = state.rate_limits.look_up(plaintext, (by == Caller::Anonymous).then_some(from.0))?;
        Some((look_up, state.rate_limits.attempt_key(by.id(), from.0, key_prefix(text).as_str(), now)?))
    } else {
        None
    };
    match state.tenure.lookup_api_key(plaintext).await {
        // Dropping both attempts counts them as failures.
        Err(DispatchError::Refused(Refusal::NotFound(Resource::ApiKey))) => Err(ApiError::BadCredential),
        other => {
            // The key is good, or the database or the hashing queue failed: neither counts against the address.
            if let Some((look_up, tried)) = tried {
                look_up.was_inconclusive();
                tried.cancel();
            }
            Ok(other?)
        }
    }
}

/// The user who is signed in with this browser, and the session; none if there is no session or it has ended.
///
/// # Errors
/// [`ApiError::Unavailable`] if the session cannot be looked up.
pub async fn signed_in_user(
    state: &AppState,
    headers: &HeaderMap,
) -> Result<Option<(UserId, SessionId)>, ApiError> {
    match session_secret(state, headers) {
        Some(secret) => user_of_session(state, &secret).await,
        None => Ok(None),
    }
}

/// The caller behind a browser's session, or anonymous. A session that was not recently good on this node is looked
/// up only while its address has lookups left.
async fn authenticate_browser(
    state: &AppState,
    headers: &HeaderMap,
    from: Origin,
) -> Result<Caller, ApiError> {
    let Some(secret) = session_secret(state, headers) else { return Ok(Caller::Anonymous) };
    let look_up = state.rate_limits.look_up(&secret, Some(from.0))?;
    match user_of_session(state, &secret).await {
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

fn session_secret(state: &AppState, headers: &HeaderMap) -> Option<SecretString> {
    cookies::read(headers, &state.settings, cookies::SESSION).map(SecretString::from)
}

async fn user_of_session(
    state: &AppState,
    secret: &SecretString,
) -> Result<Option<(UserId, SessionId)>, ApiError> {
    match state.tenure.lookup_session(secret).await {
        Ok(session) => Ok(Some((session.user_id, session.id))),
        Err(QueryError::NotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl FromRequestParts<SharedState> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &SharedState) -> Result<Self, ApiError> {
        // Several extractors of one handler ask for the caller: authenticate, and count the request, once.
        if let Some(caller) = parts.extensions.get::<Self>() {
            return Ok(*caller);
        }
        refuse_credentials_in(parts.uri.query(), &state.tenure.rules().sentinel)?;
        let from = Origin::from_request_parts(parts, state).await?;
        let status = parts.extensions.get::<RateLimitStatus>().cloned().unwrap_or_default();
        let caller = if let Some(credential) = bearer(&parts.headers)? {
            let known = authenticate(state, &credential, Self::Anonymous, from).await;
            // A bad credential counts against its address; once the bucket is empty, this is 429 instead of 401.
            if matches!(known, Err(ApiError::BadCredential)) {
                state.rate_limits.anonymous(from.0, &status)?;
            }
            known?
        } else {
            authenticate_browser(state, &parts.headers, from).await?
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
    fn credentials_in_urls_are_refused() {
        for bad in [
            "access_token=x",
            "a=b&API_KEY=y",
            "q=ppz_0123456789abcdef0123456789",
            "token",
            "%74oken=x",
            "q=%70pz_0123456789abcdef0123456789",
        ] {
            assert!(refuse_credentials_in(Some(bad), "ppz").is_err(), "{bad}");
        }
        for good in ["org=0190", "limit=5&cursor=abc", "name=ppz_x"] {
            assert!(refuse_credentials_in(Some(good), "ppz").is_ok(), "{good}");
        }
    }
}
