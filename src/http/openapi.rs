//! The API's description (OpenAPI 3.1), made from the code, and the page that shows it.

use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, Info, License, OpenApi, Ref, RefOr, Required, ResponseBuilder, SecurityRequirement,
};
use utoipa::{PartialSchema as _, ToSchema as _};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::error_body::{OauthError, PpzError, PpzErrorBody, Problem};

const ABOUT: &str = "An event-sourced identity and tenancy engine.

Credentials go into `Authorization: Bearer`: a bearer token of a person, or an API key of an account. A browser's session \
works too; what changes something then needs `X-CSRF-Token` (from `GET /api/v1/users/me`).

Every write answers with the header `Tenure-Position`; a read with that as `Tenure-Min-Position` sees the write, on any \
node, and one beyond the log's end is refused (400). A POST with an `Idempotency-Key` (1 to 255 visible ASCII characters) is \
carried out once within a day and answered the same; with another body it is refused (422), and what had answered with a \
secret is answered 409 with the record. Reads have an `ETag`. What is another tenant's is not found.";

/// How the errors of a table of routes look.
enum Errors {
    Problem,
    Ppz,
    Oauth,
}

/// The whole description: our own routes, those of ppz, OAuth's, and the probes.
#[must_use]
pub fn describe([ours, ppz, oauth]: [&OpenApi; 3], health: &OpenApi) -> OpenApi {
    let mut info = Info::new("Tenure", env!("CARGO_PKG_VERSION"));
    info.description = Some(ABOUT.to_owned());
    info.license = Some(License::new("Apache-2.0"));
    let mut all = OpenApi::new(info, utoipa::openapi::Paths::new());
    for (part, errors) in [(ours, Errors::Problem), (ppz, Errors::Ppz), (oauth, Errors::Oauth)] {
        let mut part = part.clone();
        for item in part.paths.paths.values_mut() {
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
    let bearer = bearer.description(Some("A bearer token of a person, or an API key of an account."));
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer.build()));
    let session = ApiKey::Cookie(ApiKeyValue::with_description("tenure_session", "A browser's session."));
    components.add_security_scheme("session", SecurityScheme::ApiKey(session));
    all
}

/// What every operation of a table has beside what its own file says.
fn complete(operation: &mut Operation, errors: &Errors, reads: bool) {
    let open = operation.security.is_some();
    if operation.operation_id.as_deref() == Some("authorizeDevice")
        && let Some(RefOr::T(body)) = &mut operation.request_body
    {
        // A device need not say anything of itself.
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
        (Errors::Oauth, false) => &[
            ("400", "What OAuth's code says"),
            ("401", "A credential is needed, or known to be bad"),
            ("403", "Not the caller's to do"),
            ("429", TOO_MANY),
            ("503", UNAVAILABLE),
        ],
        (_, true) => &[
            ("304", "What the caller has is up to date"),
            ("400", "The request has the wrong form"),
            ("401", "A credential is needed, or known to be bad"),
            ("403", "Not the caller's to do"),
            ("404", "There is no such thing, or none that the caller may know of"),
            (
                "409",
                "`log_replaced`: the position or cursor is from before the log was restored or failed over",
            ),
            ("429", TOO_MANY),
            ("503", UNAVAILABLE),
        ],
        (_, false) => &[
            ("400", "The request has the wrong form"),
            ("401", "A credential is needed, or known to be bad"),
            ("403", "Not the caller's to do, or as many as there may be"),
            ("404", "There is no such thing, or none that the caller may know of"),
            ("408", "The body did not come in time"),
            ("409", "It cannot be, as things are; the code says why"),
            ("413", "The body is too large"),
            ("415", "The body is of another kind"),
            ("422", "The idempotency key was used for another request"),
            ("429", TOO_MANY),
            ("503", UNAVAILABLE),
        ],
    };
    for (status, description) in statuses {
        let mut response = ResponseBuilder::new().description(*description);
        if *status != "304" {
            let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).build();
            response = response.content(media, content);
        }
        operation.responses.responses.insert((*status).to_owned(), RefOr::T(response.build()));
    }
    if !reads && !matches!(errors, Errors::Oauth) {
        for (status, response) in &mut operation.responses.responses {
            if let (true, RefOr::T(response)) = (status.starts_with('2'), response) {
                let position = HeaderBuilder::new()
                    .schema(Some(ObjectBuilder::new().schema_type(Type::String).build()))
                    .description(Some("From here on everybody can read what was written; opaque."));
                response.headers.insert("Tenure-Position".to_owned(), RefOr::T(position.build()));
            }
        }
    }
}

const TOO_MANY: &str = "Too often; `Retry-After` says when to come again";
const UNAVAILABLE: &str = "Something that is needed cannot be reached; come again later";

/// The page at `/docs`, whole: it loads nothing from elsewhere; and the description that it shows.
pub fn page<S: Clone + Send + Sync + 'static>(description: OpenApi) -> axum::Router<S> {
    let config = Config::from("/openapi.json").validator_url("none");
    SwaggerUi::new("/docs").url("/openapi.json", description).config(config).into()
}
