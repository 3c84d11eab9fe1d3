//! The OpenAPI 3.1 document, generated from the code, and the page that shows it.

use serde_json::{Value, json};
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, Info, LicenseBuilder, OpenApi, Ref, RefOr, Required, ResponseBuilder, SecurityRequirement,
};
use utoipa::{PartialSchema as _, ToSchema as _};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::error_body::{OauthError, PpzError, PpzErrorBody, Problem};

const ABOUT: &str = "An event-sourced identity and tenancy engine.

Send credentials in `Authorization: Bearer`: a bearer token of a user, or an API key of an account. A browser session works \
too; a request that changes something then needs `X-CSRF-Token` (from `GET /api/v1/users/me`).

Every response to a write has the header `Tenure-Position`. A read that sends it as `Tenure-Min-Position` sees the write, on \
any node; a position beyond the end of the log is refused (400). A POST with an `Idempotency-Key` (1 to 255 visible ASCII \
characters) is carried out once within a day; a repeat is answered with what the first request made, as it is now, or 404 if \
that is gone. With another body it is refused (422); if the response held a secret, the repeat is answered 409 with the record. Reads have an `ETag`. Resources of other \
tenants are not found.";

/// The error format of a table of routes.
enum Errors {
    Problem,
    Ppz,
    Oauth,
}

/// The whole document: our own routes, those for ppz's clients, OAuth, and the probes.
#[must_use]
pub fn describe([ours, ppz, oauth]: [&OpenApi; 3], health: &OpenApi) -> Value {
    let mut info = Info::new("Tenure", env!("CARGO_PKG_VERSION"));
    info.description = Some(ABOUT.to_owned());
    let license = LicenseBuilder::new().name("Apache License 2.0").identifier(Some("Apache-2.0"));
    info.license = Some(license.build());
    let mut all = OpenApi::new(info, utoipa::openapi::Paths::new());
    for (part, errors) in [(ours, Errors::Problem), (ppz, Errors::Ppz), (oauth, Errors::Oauth)] {
        let mut part = part.clone();
        for item in part.paths.paths.values_mut() {
            if let (Some(post), Errors::Problem | Errors::Ppz) = (&mut item.post, &errors)
                && !only_asks(post)
            {
                post.parameters.get_or_insert_default().push(RefOr::T(idempotency_key()));
            }
            for (reads, operation) in [
                (true, &mut item.get),
                (false, &mut item.post),
                (false, &mut item.put),
                (false, &mut item.delete),
            ] {
                if let Some(operation) = operation {
                    complete(operation, &errors, reads);
                }
            }
        }
        all.merge(part);
    }
    all.merge(health.clone());
    let components = all.components.get_or_insert_default();
    for (name, schema) in [
        (Problem::name(), Problem::schema()),
        (PpzError::name(), PpzError::schema()),
        (PpzErrorBody::name(), PpzErrorBody::schema()),
        (OauthError::name(), OauthError::schema()),
    ] {
        components.schemas.insert(name.into_owned(), schema);
    }
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
    let bearer = bearer.description(Some("A bearer token of a user, or an API key of an account."));
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer.build()));
    let session = ApiKey::Cookie(ApiKeyValue::with_description("tenure_session", "A browser session."));
    components.add_security_scheme("session", SecurityScheme::ApiKey(session));
    for path in ["/healthz", "/readyz"] {
        if let Some(probe) = all.paths.paths.get_mut(path).and_then(|item| item.get.as_mut()) {
            refuses(probe, ("400", "The request is malformed"), ("Problem", "application/problem+json"));
        }
    }
    served_at(with_named_pages(&all), "http://127.0.0.1:8080")
}

/// The same document for an instance at this URL.
#[must_use]
pub fn served_at(mut document: Value, public_url: &str) -> Value {
    document["servers"] = json!([{"url": public_url}]);
    document
}

/// The document as JSON, with each page named after what is on it and referring to that instead of repeating it:
/// `Page_UserRecord` becomes `UserPage`, a list of `UserRecord`.
fn with_named_pages(document: &OpenApi) -> Value {
    let reference = |name: &str| format!("#/components/schemas/{name}");
    // Strings, numbers, lists and maps with string keys: they always have a form in JSON.
    let mut json = serde_json::to_value(document).unwrap_or_default();
    let Some(schemas) = json["components"]["schemas"].as_object_mut() else { return json };
    let generated: Vec<String> = schemas.keys().filter(|name| name.starts_with("Page_")).cloned().collect();
    let mut renamed = Vec::new();
    for name in generated {
        let record = name.trim_start_matches("Page_").to_owned();
        let page = format!("{}Page", record.trim_end_matches("Record"));
        if let Some(mut schema) = schemas.remove(&name) {
            schema["properties"]["items"]["items"] = json!({"$ref": reference(&record)});
            schemas.insert(page.clone(), schema);
            renamed.push((reference(&name), reference(&page)));
        }
    }
    refer(&mut json, &renamed);
    json
}

/// Renames references.
fn refer(json: &mut Value, renamed: &[(String, String)]) {
    match json {
        Value::Array(items) => items.iter_mut().for_each(|item| refer(item, renamed)),
        Value::Object(members) => members.values_mut().for_each(|member| refer(member, renamed)),
        Value::String(text) => {
            if let Some((_, new)) = renamed.iter().find(|(old, _)| old == text) {
                text.clone_from(new);
            }
        }
        _ => {}
    }
}

/// Adds a response with an error to an operation.
fn refuses(operation: &mut Operation, (status, description): (&str, &str), (schema, media): (&str, &str)) {
    let mut response = ResponseBuilder::new().description(description);
    // A 304 has no body (RFC 9110 §15.4.5).
    if status != "304" {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).build();
        response = response.content(media, content);
    }
    operation.responses.responses.insert(status.to_owned(), RefOr::T(response.build()));
}

/// The header that lets a POST be sent again.
fn idempotency_key() -> Parameter {
    let key = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[!-~]{1,255}$")).build();
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "A key of the caller's choice for this request. Within a day, the same request with the same key is carried out \
             once; a repeat is answered with what the first one made, as it is now (404 if it is gone).",
        ))
        .schema(Some(key))
        .build()
}

/// Whether a POST writes nothing: it asks with a body.
fn only_asks(operation: &Operation) -> bool {
    matches!(operation.operation_id.as_deref(), Some("verifyKey" | "getUsernames"))
}

/// Adds what all operations of a table have in common: security, error responses, and the position header of writes.
fn complete(operation: &mut Operation, errors: &Errors, reads: bool) {
    // Operations that declare their own security are open to anonymous callers.
    let open = operation.security.is_some();
    if operation.operation_id.as_deref() == Some("authorizeDevice")
        && let Some(RefOr::T(body)) = &mut operation.request_body
    {
        // All parameters are optional, so a device may send no body.
        body.required = Some(Required::False);
    }
    if !open {
        let of = |name: &str| SecurityRequirement::new::<_, [&str; 0], &str>(name, []);
        operation.security = Some(vec![of("bearer"), of("session")]);
        if matches!(errors, Errors::Oauth) {
            operation.security = Some(vec![of("bearer")]);
        }
    }
    let (schema, media) = match errors {
        Errors::Problem => ("Problem", "application/problem+json"),
        Errors::Ppz => ("PpzError", "application/json"),
        Errors::Oauth => ("OauthError", "application/json"),
    };
    let statuses: &[(&str, &str)] = match (errors, reads) {
        (Errors::Oauth, true) => &[("429", TOO_MANY)],
        (Errors::Oauth, false) if operation.operation_id.as_deref() == Some("pollForToken") => &[
            ("400", "The request failed, or has to wait; `error` holds the OAuth code"),
            ("503", UNAVAILABLE),
        ],
        (Errors::Oauth, false) if open => &[
            ("400", "The request failed; `error` holds the OAuth code"),
            ("429", TOO_MANY),
            ("503", UNAVAILABLE),
        ],
        (Errors::Oauth, false) => &[
            ("400", "The request failed; `error` holds the OAuth code"),
            ("401", "The credential is missing, unknown, expired or revoked"),
            ("403", "The caller does not have permission"),
            ("429", TOO_MANY),
            ("503", UNAVAILABLE),
        ],
        (_, true) => &[
            ("304", "The client's copy is up to date"),
            ("400", "The request is malformed"),
            ("401", "The credential is missing, unknown, expired or revoked"),
            ("403", "The caller does not have permission"),
            ("404", "The resource does not exist, or the caller may not know of it"),
            (
                "409",
                "`log_replaced`: the position or cursor is from before the log was restored or failed over",
            ),
            ("429", TOO_MANY),
            ("503", UNAVAILABLE),
        ],
        (_, false) => &[
            ("400", "The request is malformed"),
            ("401", "The credential is missing, unknown, expired or revoked"),
            ("403", "The caller does not have permission, or a limit is reached"),
            ("404", "The resource does not exist, or the caller may not know of it"),
            ("408", "The body did not arrive in time"),
            ("409", "The operation conflicts with the current state; `code` says why"),
            ("413", "The body is too large"),
            ("415", "The media type of the body is not supported"),
            ("422", "The idempotency key was used for a request with another body"),
            ("429", TOO_MANY),
            ("503", UNAVAILABLE),
        ],
    };
    // Lists that are sent while they are read have no `ETag`.
    let is_unpaged = matches!(
        operation.operation_id.as_deref(),
        Some("ppzListInvites" | "ppzMyInvites" | "ppzListSources" | "followEvents" | "followAccountEvents")
    );
    for response in statuses.iter().filter(|(status, _)| !(is_unpaged && *status == "304")) {
        refuses(operation, *response, (schema, media));
    }
    if operation
        .parameters
        .iter()
        .flatten()
        .any(|parameter| matches!(parameter, RefOr::T(parameter) if parameter.name == "as_of"))
    {
        refuses(operation, PAST, (schema, media));
    }
    if !reads && !only_asks(operation) && !matches!(errors, Errors::Oauth) {
        for (status, response) in &mut operation.responses.responses {
            if let (true, RefOr::T(response)) = (status.starts_with('2'), response) {
                let position = HeaderBuilder::new()
                    .schema(Some(ObjectBuilder::new().schema_type(Type::String).build()))
                    .description(Some("The position of the write. Opaque; send it as `Tenure-Min-Position` to read the write."));
                response.headers.insert("Tenure-Position".to_owned(), RefOr::T(position.build()));
            }
        }
    }
}

const PAST: (&str, &str) = (
    "422",
    "`as_of_too_large`: the account had too many events by then; `as_of_busy`: another request looks at its past",
);
const TOO_MANY: &str = "Too many requests; retry after the seconds in `Retry-After`";
const UNAVAILABLE: &str = "The service is unavailable; try again later";

/// The page at `/docs`, which loads nothing from other hosts, and the document at `/openapi.json` that it shows.
pub fn page<S: Clone + Send + Sync + 'static>(description: Value) -> axum::Router<S> {
    let config = Config::from("/openapi.json").validator_url("none");
    SwaggerUi::new("/docs").external_url_unchecked("/openapi.json", description).config(config).into()
}
