//! `POST /oauth/introspect`: what a token is (RFC 7662).

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
use crate::http::caller::{Caller, Via, bearer};
use crate::http::error::{ApiError, or_not_found};
use crate::http::origin::Origin;
use crate::http::policy::Permission;
use crate::http::rate_limit::RateLimitStatus;
use crate::http::response::NO_STORE;
use crate::http::state::{AppState, SharedState};
use crate::operations::Resource;

/// What to look at.
#[derive(Deserialize, ToSchema)]
#[allow(dead_code)] // describes what `Parameters` reads
pub struct IntrospectionRequest {
    /// A bearer token or an API key.
    #[schema(min_length = 1)]
    pub token: String,
    /// What kind it is thought to be; not needed.
    pub token_type_hint: Option<String>,
    /// A credential of whoever asks, where it is not in the Authorization header.
    pub client_secret: Option<String>,
}

/// What a token is.
#[derive(Serialize, ToSchema, Default)]
pub struct Introspection {
    /// Whether it is good, and the caller may know of it.
    pub active: bool,
    /// `bearer` or `api_key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_type: Option<&'static str>,
    /// Whom it acts for: a person's identifier, an account's for an API key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// The person's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Since when, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iat: Option<i64>,
    /// Until when, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exp: Option<i64>,
    /// Who has issued it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// The token's own identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
}

/// What is this token?
///
/// For operators; for the token's person; for API keys whoever may verify them. What the caller may not know of is not
/// active. The caller's credential is a bearer token, or the secret of HTTP Basic or of the form.
#[utoipa::path(post, path = "/oauth/introspect", operation_id = "introspect", tag = "oauth",
    request_body(content((IntrospectionRequest = "application/x-www-form-urlencoded"),
        (IntrospectionRequest = "application/json"))),
    responses((status = 200, description = "What it is", body = Introspection)))]
pub async fn introspect(
    State(state): State<SharedState>,
    from: Origin,
    Extension(status): Extension<RateLimitStatus>,
    headers: HeaderMap,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let in_form = parameters.get("client_secret")?.map(SecretString::from);
    let credential = credential(&headers)?.or(in_form).ok_or(ApiError::NoCredential)?;
    let known = state.identify(&credential, Caller::Anonymous, from).await;
    if matches!(known, Err(ApiError::BadCredential)) {
        state.rate_limits.anonymous(from.0, &status)?;
    }
    let caller = known?;
    state.rate_limits.caller(caller.id(), from.0, false, &status)?;
    let token = parameters.secret("token")?;
    parameters.get("token_type_hint")?;
    let introspection = match state.identify(&token, caller, from).await {
        Ok(of) => state.introspection(caller, of).await?,
        Err(ApiError::BadCredential) => Introspection::default(),
        Err(error) => return Err(error),
    };
    Ok(([(header::CACHE_CONTROL, NO_STORE)], Json(introspection)).into_response())
}

/// The caller's credential: a bearer's, or the secret of HTTP Basic (RFC 6749 §2.3.1).
fn credential(headers: &HeaderMap) -> Result<Option<SecretString>, ApiError> {
    let basic = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"));
    let Some((_, encoded)) = basic else { return bearer(headers) };
    // Both halves are encoded as in a form, too.
    let decoded = STANDARD.decode(encoded.trim()).ok().and_then(|octets| String::from_utf8(octets).ok());
    let secret = decoded.as_deref().and_then(|pair| pair.split_once(':')).and_then(|(_, secret)| {
        let secret = secret.replace('+', " ");
        percent_decode_str(&secret).decode_utf8().ok().map(std::borrow::Cow::into_owned)
    });
    secret.map(|secret| Some(secret.into())).ok_or(ApiError::BadCredential)
}

impl AppState {
    async fn introspection(&self, caller: Caller, of: Caller) -> Result<Introspection, ApiError> {
        let reader = self.tenure.reader();
        let seconds = |at: crate::clock::Timestamp| at.as_micros().div_euclid(1_000_000);
        let iss = Some(self.settings.public_url.clone());
        match of {
            Caller::Person { user, via: Via::Token(id) } => {
                let own = matches!(caller, Caller::Person { user: asking, .. } if asking == user);
                if !own && !self.is_operator(caller).await? {
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
                match self.authorize_account(caller, Permission::VerifyKeys, record).await {
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
}
