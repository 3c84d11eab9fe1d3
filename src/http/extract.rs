//! Extractors: the caller, the body, and the context of the command that a request becomes.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method, header};
use serde::de::DeserializeOwned;

use super::body::{MAX_BODY, read, read_authenticated};
use super::caller::{Caller, Via};
use super::csrf::X_CSRF_TOKEN;
use super::error::{ApiError, place};
use super::request_id::RequestTrace;
use super::state::{AppState, SharedState};
use crate::context::Context;
use crate::http::csrf::check_session_token;

/// The header with the caller's key for a request that may be sent again.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The header with a position: the read must see every write up to it.
pub const MIN_POSITION: HeaderName = HeaderName::from_static("tenure-min-position");

/// A command with a JSON body of at most `MAX` bytes.
pub struct JsonCommand<T, const MAX: usize = MAX_BODY> {
    /// The authenticated caller.
    pub caller: Caller,
    /// The context of the command: actor, request identifier, idempotency key.
    pub context: Context,
    /// The parsed body.
    pub body: T,
}

/// A command without a body. A body that is sent is ignored, but an idempotency key covers it, and a browser can send none
/// but JSON: other sites can make it send the rest.
pub struct EmptyCommand {
    /// The authenticated caller.
    pub caller: Caller,
    /// The context of the command: actor, request identifier, idempotency key.
    pub context: Context,
}

/// A read by an authenticated caller.
pub struct AuthenticatedRead {
    /// The authenticated caller.
    pub caller: Caller,
}

impl<T: DeserializeOwned, const MAX: usize> FromRequest<SharedState> for JsonCommand<T, MAX> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &SharedState) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        // Authenticate before the body is read: anonymous clients get no memory for large bodies.
        let caller = authenticated(&mut parts, state).await?;
        if !is_json(&parts.headers) {
            return Err(ApiError::MediaType);
        }
        let bytes =
            read_authenticated(body, &parts.headers, MAX, caller.id(), &state.large_body_permits).await?;
        let body = from_json(&bytes)?;
        let context = context(state, caller, &parts, &bytes)?;
        Ok(Self { caller, context, body })
    }
}

impl FromRequest<SharedState> for EmptyCommand {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &SharedState) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let caller = authenticated(&mut parts, state).await?;
        let is_declared = parts.headers.contains_key(header::CONTENT_TYPE);
        let bytes = read(body, &parts.headers, MAX_BODY).await?;
        if caller.is_browser() && (is_declared || !bytes.is_empty()) && !is_json(&parts.headers) {
            return Err(ApiError::MediaType);
        }
        let context = context(state, caller, &parts, &bytes)?;
        Ok(Self { caller, context })
    }
}

impl FromRequestParts<SharedState> for AuthenticatedRead {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &SharedState) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, state).await?;
        caller.context()?;
        if let Some(position) = parts.headers.get(MIN_POSITION) {
            // Reads go to the primary, which has every acknowledged write: check the position, but do not wait for it.
            place(state.tenure.log(), position.to_str().unwrap_or_default(), MIN_POSITION.as_str()).await?;
        }
        Ok(Self { caller })
    }
}

/// The caller, who must be authenticated. A request with a session must also pass the CSRF check.
pub(super) async fn authenticated(parts: &mut Parts, state: &SharedState) -> Result<Caller, ApiError> {
    let caller = Caller::from_request_parts(parts, state).await?;
    match caller {
        Caller::Anonymous => return Err(ApiError::NoCredential),
        Caller::Person { via: Via::Session(session), .. } => {
            // Browsers attach cookies to requests that other sites start; tokens and keys are only sent on purpose.
            let token = parts.headers.get(X_CSRF_TOKEN).and_then(|value| value.to_str().ok());
            check_session_token(state, &parts.headers, session, token)?;
        }
        Caller::Person { .. } | Caller::Key { .. } => {}
    }
    Ok(caller)
}

/// The context of a command: the actor, the request identifier, and the idempotency key of a POST.
pub(super) fn context(
    state: &AppState,
    caller: Caller,
    parts: &Parts,
    body: &Bytes,
) -> Result<Context, ApiError> {
    let mut context =
        parts.extensions.get::<RequestTrace>().copied().unwrap_or_default().of(caller.context()?);
    let mut keys = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
    // PUT and DELETE are idempotent already (RFC 9110 §9.2.2).
    if parts.method != Method::POST {
        return Ok(context);
    }
    if let Some(key) = keys.next() {
        let rule = "send one key of 1 to 255 visible ASCII characters";
        let is_key =
            |key: &&str| (1..=255).contains(&key.len()) && key.bytes().all(|octet| octet.is_ascii_graphic());
        let key = key.to_str().ok().filter(is_key);
        let (Some(key), None) = (key, keys.next()) else {
            return Err(ApiError::field("idempotency-key", rule));
        };
        // With the query, because ppz's clients name the account there: another account makes it another request.
        let route = parts.uri.path_and_query().map_or("", |route| route.as_str());
        let route = format!("{} {route}", parts.method);
        context.idempotency = Some(state.tenure.idempotency_key(context.actor, &route, key, body));
    }
    Ok(context)
}

pub(super) fn is_json(headers: &HeaderMap) -> bool {
    media_type(headers).is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"))
}

/// The media type of a body, without its parameters; none if the header is missing or repeated.
pub fn media_type(headers: &HeaderMap) -> Option<&str> {
    let mut kinds = headers.get_all(header::CONTENT_TYPE).iter();
    let kind = kinds.next()?.to_str().ok()?;
    kinds.next().is_none().then(|| kind.split(';').next().unwrap_or_default().trim())
}

/// Parses a JSON object.
///
/// # Errors
/// [`ApiError::Malformed`]: names the field or the position, and never quotes the input.
pub fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    // Serde would accept an array with the fields in order as an object.
    if bytes.iter().find(|octet| !octet.is_ascii_whitespace()).is_some_and(|octet| *octet == b'[') {
        return Err(ApiError::malformed("expected a JSON object"));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let detail = reason(error.inner());
        // Serde blames the object for a member that is missing, repeated or unknown.
        let named =
            detail.contains(" field `").then(|| detail.split('`').nth(1).unwrap_or_default().to_owned());
        let field = (path != ".").then_some(path).or(named);
        ApiError::Malformed { field, detail: detail.into() }
    })?;
    json.end().map_err(|_| ApiError::malformed("unexpected data after the JSON document"))?;
    Ok(value)
}

/// What is wrong, without the value, which may be a secret in the wrong place.
fn reason(error: &serde_json::Error) -> String {
    if error.is_syntax() || error.is_eof() {
        return format!("invalid JSON at line {}, column {}", error.line(), error.column());
    }
    // Serde's text is "<what came>, expected <what would be right> at line …": only the second part is safe to show.
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    if let Some(name) = text.strip_prefix("unknown field `") {
        // The client chose the name of the field: it may be long, or not a name at all.
        let name: String = name.chars().take_while(|character| *character != '`').take(64).collect();
        let expected = text.rsplit_once("expected").map_or("", |(_, expected)| expected.trim());
        return format!("unknown field `{name}`; expected: {expected}");
    }
    if text.starts_with("missing field") || text.starts_with("duplicate field") {
        return text.to_owned();
    }
    match text.rsplit_once("expected ") {
        Some((_, expected)) if expected.starts_with("struct ") => "expected a JSON object".to_owned(),
        Some((_, expected)) => format!("expected {expected}"),
        None => "unexpected value; see /docs".to_owned(),
    }
}

/// The query parameters. An unknown parameter is refused.
pub struct Parameters<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<SharedState> for Parameters<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &SharedState) -> Result<Self, ApiError> {
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(parameters)) => Ok(Self(parameters)),
            Err(_) => {
                Err(ApiError::malformed("a query parameter is unknown, repeated or malformed; see /docs"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Example {
        name: String,
        count: Option<u32>,
    }

    fn wrong(json: &str) -> (Option<String>, String) {
        match from_json::<Example>(json.as_bytes()) {
            Err(ApiError::Malformed { field, detail }) => (field, detail.into_owned()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn wrong_json_is_told_where_and_never_quoted() {
        assert_eq!(wrong(r#"{"name": 5}"#), (Some("name".into()), "expected a string".into()));
        let (field, detail) = wrong(r#"{"name": "a", "count": "ppz_secret"}"#);
        assert_eq!((field.as_deref(), detail.as_str()), (Some("count"), "expected u32"));
        assert!(wrong(r#"{"name": "a", "colour": 1}"#).1.contains("unknown field `colour`"));
        assert_eq!(wrong("{}").1, "missing field `name`");
        assert!(wrong("{").1.starts_with("invalid JSON at line 1"));
        assert_eq!(wrong(r#"{"name": "a"} x"#).1, "unexpected data after the JSON document");
        assert_eq!(wrong(r#" ["name", 1]"#).1, "expected a JSON object");
        assert!(from_json::<Example>(b"{\"name\": \"\xff\"}").is_err());
    }
}
