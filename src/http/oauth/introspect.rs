//! `POST /oauth/introspect`: describes a token to callers who may know about it (RFC 7662).

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::parameters::Parameters;
use crate::http::caller::authenticate;
use crate::http::caller::{Caller, Via, bearer};
use crate::http::error::{ApiError, or_not_found};
use crate::http::origin::Origin;
use crate::http::policy::Permission;
use crate::http::policy::{authorize_account, is_operator};
use crate::http::rate_limit::RateLimitStatus;
use crate::http::response::NO_STORE;
use crate::http::state::{AppState, SharedState};
use crate::operations::Resource;

/// The token to introspect.
#[derive(Deserialize, ToSchema)]
#[allow(dead_code)] // describes what `Parameters` reads
pub struct IntrospectionRequest {
    /// A bearer token or an API key.
    #[schema(min_length = 1)]
    pub token: String,
    /// The presumed type of the token; ignored.
    pub token_type_hint: Option<String>,
    /// The caller's credential, if it is not in the Authorization header.
    pub client_secret: Option<String>,
}

/// The description of a token; only `active` if it is not active.
#[derive(Serialize, ToSchema, Default)]
pub struct Introspection {
    /// Whether the token is valid and the caller may know about it.
    pub active: bool,
    /// The type of the token: `bearer` or `api_key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_type: Option<&'static str>,
    /// The identifier of the user that a bearer token acts for, or of the account that an API key acts for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// The username of the user; absent for API keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// When the token was issued, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iat: Option<i64>,
    /// When the token expires, in seconds since 1970; absent for a key that does not expire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exp: Option<i64>,
    /// The issuer: the public URL of this instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// The identifier of the token or key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
}

/// Introspect a token
///
/// A bearer token is shown to its user and to operators, an API key to callers who may verify keys of its account. To
/// all others a token is not active. The caller authenticates with a bearer token or API key, or with one as the secret
/// of HTTP Basic or as `client_secret` in the form.
#[utoipa::path(post, path = "/oauth/introspect", operation_id = "introspect", tag = "oauth",
    request_body(content((IntrospectionRequest = "application/x-www-form-urlencoded"),
        (IntrospectionRequest = "application/json"))),
    responses((status = 200, description = "The description of the token", body = Introspection)))]
pub async fn introspect(
    State(state): State<SharedState>,
    from: Origin,
    Extension(status): Extension<RateLimitStatus>,
    headers: HeaderMap,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let in_form = parameters.get("client_secret")?.map(SecretString::from);
    let credential = credential(&headers)?.or(in_form).ok_or(ApiError::NoCredential)?;
    // The caller's credential may be in the form, so the extractor cannot be used: count and limit here as it does.
    let known = authenticate(&state, &credential, Caller::Anonymous, from).await;
    if matches!(known, Err(ApiError::BadCredential)) {
        state.rate_limits.anonymous(from.0, &status)?;
    }
    let caller = known?;
    state.rate_limits.caller(caller.id(), from.0, false, &status)?;
    let token = parameters.secret("token")?;
    // Ignored, but it must not be repeated (RFC 6749 §3.2).
    parameters.get("token_type_hint")?;
    let introspection = match authenticate(&state, &token, caller, from).await {
        Ok(of) => introspection(&state, caller, of).await?,
        // RFC 7662 §2.2: an unknown token is not an error.
        Err(ApiError::BadCredential) => Introspection::default(),
        Err(error) => return Err(error),
    };
    Ok(([(header::CACHE_CONTROL, NO_STORE)], Json(introspection)).into_response())
}

/// The caller's credential: a bearer credential, or the secret of HTTP Basic (RFC 6749 §2.3.1).
fn credential(headers: &HeaderMap) -> Result<Option<SecretString>, ApiError> {
    let basic = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"));
    let Some((_, encoded)) = basic else { return bearer(headers) };
    // OAuth form-encodes both halves before Basic encodes them.
    let decoded = STANDARD.decode(encoded.trim()).ok().and_then(|octets| String::from_utf8(octets).ok());
    let secret = decoded.as_deref().and_then(|pair| pair.split_once(':')).and_then(|(_, secret)| {
        let secret = secret.replace('+', " ");
        percent_decode_str(&secret).decode_utf8().ok().map(std::borrow::Cow::into_owned)
    });
    secret.map(|secret| Some(secret.into())).ok_or(ApiError::BadCredential)
}

async fn introspection(state: &AppState, caller: Caller, of: Caller) -> Result<Introspection, ApiError> {
    let reader = state.tenure.reader();
    let seconds = |at: crate::clock::Timestamp| at.as_micros().div_euclid(1_000_000);
    let iss = Some(state.settings.public_url.clone());
    match of {
        Caller::Person { user, via: Via::Token(id) } => {
            let own = matches!(caller, Caller::Person { user: asking, .. } if asking == user);
            // Not active instead of forbidden: other callers must not learn that the token exists.
            if !own && !is_operator(state, caller).await? {
                return Ok(Introspection::default());
            }
            let token = or_not_found(reader.bearer_token_by_id(id).await, Resource::BearerToken)?;
            Ok(Introspection {
                active: true,
                token_type: Some("bearer"),
                sub: Some(user.to_string()),
                username: Some(or_not_found(reader.user(user).await, Resource::User)?.username),
                iat: Some(seconds(token.created_at)),
                exp: Some(seconds(token.expires_at)),
                iss,
                jti: Some(id.to_string()),
            })
        }
        Caller::Key { id, account, .. } => {
            let record = or_not_found(reader.account(account).await, Resource::Account)?;
            match authorize_account(state, caller, Permission::VerifyKeys, record).await {
                Ok(_) => {}
                Err(ApiError::Refused(_)) => return Ok(Introspection::default()),
                Err(error) => return Err(error),
            }
            let key = or_not_found(reader.api_key(id).await, Resource::ApiKey)?;
            Ok(Introspection {
                active: true,
                token_type: Some("api_key"),
                sub: Some(account.to_string()),
                username: None,
                iat: Some(seconds(key.created_at)),
                exp: key.expires_at.map(seconds),
                iss,
                jti: Some(id.to_string()),
            })
        }
        Caller::Anonymous | Caller::Person { .. } => Ok(Introspection::default()),
    }
}
