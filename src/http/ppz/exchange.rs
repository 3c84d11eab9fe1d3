//! `POST /api/v1/auth/exchange`: exchanges a credential for one of NATS.

use axum::Json;
use axum::extract::{FromRequestParts as _, Request, State};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::client_command::{ClientBody, parse};
use crate::clock::Timestamp;
use crate::http::body::{MAX_BODY, read};
use crate::http::caller::{Caller, Via, authenticate, refuse_credentials_in};
use crate::http::error::ApiError;
use crate::http::origin::Origin;
use crate::http::policy::{Permission, acting_account};
use crate::http::rate_limit::RateLimitStatus;
use crate::http::state::{AppState, SharedState};
use crate::ids::AccountId;
use crate::nats::{IssuedFor, NatsError};
use crate::projections::QueryError;

/// A credential of Tenure.
#[derive(Deserialize, ToSchema)]
pub struct PpzExchange {
    /// An API key, or a bearer token of a user.
    #[schema(value_type = String, format = Password, required = true)]
    #[serde(default)]
    api_key: Option<SecretString>,
    /// The account's identifier [default: the API key's account, or the user's default account]
    #[serde(default)]
    account_id: Option<String>,
}

impl ClientBody for PpzExchange {
    const MEMBERS: &'static [&'static str] = &["api_key", "account_id"];
    const BLAMED: &'static str = "api_key";
}

/// A credential of NATS.
#[derive(Serialize, ToSchema)]
pub struct PpzExchanged {
    /// The same as `nats_user_jwt`.
    jwt: String,
    /// The servers, separated by commas.
    nats_url: String,
    /// The account that the user acts in.
    account_id: AccountId,
    /// The account's name.
    account_name: String,
    /// Until when the token is valid, to the second.
    expires_at: Timestamp,
    /// The token of a new NATS user.
    nats_user_jwt: String,
    /// The seed of that user's key.
    nats_user_seed: String,
}

/// Exchange a credential for one of NATS
///
/// The credential of a new NATS user, who may publish and subscribe to the subjects of the account and read its streams. It is
/// valid for some minutes, and is cut off at once when the API key, the token or the membership ends. Another status than 401 and
/// 403 may change: ask again.
#[utoipa::path(post, path = "/api/v1/auth/exchange", operation_id = "ppzExchange", tag = "ppz",
    request_body = PpzExchange, security(()),
    responses((status = 200, description = "A credential of NATS", body = PpzExchanged)))]
pub async fn exchange(State(state): State<SharedState>, request: Request) -> Result<Response, ApiError> {
    // Before the credential is looked at: clients give up for good on a 401, and ask again after any other status.
    let Some(nats) = &state.nats else { return Err(ApiError::Unavailable) };
    let (mut parts, body) = request.into_parts();
    refuse_credentials_in(parts.uri.query(), &state.tenure.rules().sentinel)?;
    let from = Origin::from_request_parts(&mut parts, &state).await?;
    let status = parts.extensions.get::<RateLimitStatus>().cloned().unwrap_or_default();
    let wanted = async {
        let bytes = read(body, &parts.headers, MAX_BODY).await?;
        parse::<PpzExchange>(&bytes)
    };
    let known = async {
        let PpzExchange { api_key, account_id } = wanted.await?;
        let credential = api_key.ok_or(ApiError::BadCredential)?;
        Ok::<_, ApiError>((
            authenticate(&state, &credential, Caller::Anonymous, from).await?,
            credential,
            account_id,
        ))
    };
    let (caller, credential, named) = match known.await {
        Ok(known) => known,
        Err(error) => {
            // Who knows no good credential counts against the address.
            if error.status().is_client_error() {
                state.rate_limits.anonymous(from.0, &status)?;
            }
            return Err(error);
        }
    };
    state.rate_limits.caller(caller.id(), from.0, false, &status)?;
    let named = named.as_deref().filter(|named| !named.is_empty());
    let account = acting_account(&state, caller, Permission::Exchange, named).await?;
    let (issued_for, ends) = issued_for(&state, caller).await?;
    let exchanged = nats.exchange(account.id, issued_for, ends).await.map_err(unavailable)?;
    let Some(exchanged) = exchanged else {
        // It has ended since: why, is found out as for any other request.
        let caller = authenticate(&state, &credential, Caller::Anonymous, from).await?;
        acting_account(&state, caller, Permission::Exchange, named).await?;
        return Err(ApiError::Unavailable);
    };
    let answer = PpzExchanged {
        jwt: exchanged.token.clone(),
        nats_url: nats.settings().public_url.clone(),
        account_id: account.id,
        account_name: account.name,
        expires_at: exchanged.expires_at,
        nats_user_jwt: exchanged.token,
        nats_user_seed: exchanged.seed.to_string(),
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response())
}

/// What the user is issued for, and when that expires.
async fn issued_for(state: &AppState, caller: Caller) -> Result<(IssuedFor, Option<Timestamp>), ApiError> {
    let reader = state.tenure.reader();
    let gone = |error| match error {
        QueryError::NotFound => ApiError::BadCredential,
        error @ QueryError::Unavailable(_) => error.into(),
    };
    match caller {
        Caller::Key { id, minter, .. } => {
            let key = reader.api_key(id).await.map_err(gone)?;
            Ok((IssuedFor::ApiKey(id, minter), key.expires_at))
        }
        Caller::Person { user, via: Via::Token(id) } => {
            let token = reader.bearer_token_by_id(id).await.map_err(gone)?;
            Ok((IssuedFor::BearerToken(id, user), Some(token.expires_at)))
        }
        Caller::Person { via: Via::Session(_), .. } | Caller::Anonymous => Err(ApiError::BadCredential),
    }
}

/// Whatever fails at NATS passes, as far as a client is concerned.
fn unavailable(error: NatsError) -> ApiError {
    match error {
        NatsError::Store(error) => QueryError::from(error).into(),
        error => {
            tracing::debug!(%error, "a credential could not be exchanged");
            ApiError::Unavailable
        }
    }
}
