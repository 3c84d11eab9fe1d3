//! The HTTP interface: the whole route table.
//!
//! A route's path and method are declared beside its handler; its error format is that of its table. A handler's input
//! has been through [`origin`], [`caller`] and [`extract`]; only [`policy`] decides who may do what.

mod api;
mod as_of;
mod body;
mod caller;
mod connection;
mod cookies;
mod csrf;
mod error;
mod error_body;
mod extract;
mod fair_semaphore;
mod health;
mod host;
mod json_integer;
mod oauth;
mod openapi;
mod origin;
mod pages;
mod pagination;
mod policy;
mod ppz;
mod quoted;
mod rate_limit;
mod readiness;
mod request_id;
mod response;
mod server;
mod settings;
mod state;
mod stream_permits;
pub mod tls_provider;
mod unpaged_list;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use metrics_exporter_prometheus::PrometheusHandle;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use pages::sign_in_link::url as sign_in_link_url;
pub use rate_limit::{Rate, Rates};
pub use server::serve;
pub use settings::{GithubSettings, HttpSettings, loopback_port};
pub use state::{AppState, SharedState};

use error::ApiError;

/// The routes of our own API. Errors are RFC 9457 problems.
fn ours() -> OpenApiRouter<SharedState> {
    use api::{accounts, events, explain, invites, keys, members, pipes, sessions, sources, tokens, users};
    OpenApiRouter::new()
        .routes(routes!(users::list::list, users::insert::insert))
        .routes(routes!(users::show::show, users::forget::forget))
        .routes(routes!(users::grant_operator::grant_operator, users::revoke_operator::revoke_operator))
        .routes(routes!(users::sign_in_link::sign_in_link))
        .routes(routes!(users::usernames::usernames))
        .routes(routes!(users::accounts::accounts))
        .routes(routes!(users::default_account::default_account))
        .routes(routes!(tokens::list::list, tokens::issue::issue))
        .routes(routes!(tokens::revoke::revoke))
        .routes(routes!(sessions::list::list))
        .routes(routes!(sessions::end::end))
        .routes(routes!(accounts::list::list, accounts::open::open))
        .routes(routes!(accounts::show::show, accounts::close::close))
        .routes(routes!(accounts::transfer::transfer))
        .routes(routes!(members::list::list))
        .routes(routes!(members::add::add, members::remove::remove))
        .routes(routes!(invites::list::list, invites::create::create))
        .routes(routes!(invites::show::show, invites::revoke::revoke))
        .routes(routes!(keys::list::list, keys::mint::mint))
        .routes(routes!(keys::show::show, keys::revoke::revoke))
        .routes(routes!(keys::rotate::rotate))
        .routes(routes!(keys::verify::verify))
        .routes(routes!(sources::list::list, sources::create::create))
        .routes(routes!(sources::show::show, sources::delete::delete))
        .routes(routes!(sources::broadcast::broadcast))
        .routes(routes!(pipes::list::list, pipes::create::create))
        .routes(routes!(pipes::show::show, pipes::delete::delete))
        .routes(routes!(pipes::change::change))
        .routes(routes!(events::stream::of_account))
        .routes(routes!(events::stream::of_all))
        .routes(routes!(explain::event::event))
        .routes(routes!(explain::of_account::of_account))
        .routes(routes!(explain::of_user::of_user))
        .routes(routes!(events::of_account::of_account))
        .routes(routes!(events::of_all::of_all))
}

/// The routes for ppz's clients. Errors have the format that those clients expect.
fn ppz() -> OpenApiRouter<SharedState> {
    OpenApiRouter::new()
        .routes(routes!(ppz::account_invites::account_invites, ppz::invite::invite))
        .routes(routes!(ppz::revoke_invite::revoke_invite))
        .routes(routes!(ppz::my_invites::my_invites))
        .routes(routes!(ppz::accept_invite::accept_invite))
        .routes(routes!(ppz::decline_invite::decline_invite))
        .routes(routes!(ppz::list_sources::list_sources, ppz::create_source::create_source))
        .routes(routes!(ppz::show_source::show_source, ppz::delete_source::delete_source))
        .routes(routes!(ppz::create_pipe::create_pipe))
        .routes(routes!(ppz::delete_pipe::delete_pipe))
        .routes(routes!(ppz::revoke_key::revoke_key))
}

/// The route for ppz's clients whose credential is in the body.
fn exchange() -> OpenApiRouter<SharedState> {
    OpenApiRouter::new().routes(routes!(ppz::exchange::exchange))
}

/// The OAuth routes for anonymous clients. Errors are OAuth's flat objects.
fn oauth() -> OpenApiRouter<SharedState> {
    OpenApiRouter::new()
        .routes(routes!(oauth::metadata::metadata))
        .routes(routes!(oauth::device_code::device_code))
        .routes(routes!(oauth::device_token::device_token))
        .routes(routes!(oauth::revoke::revoke))
}

/// The OAuth route for authenticated callers: rate-limited by caller, not by address.
fn introspection() -> OpenApiRouter<SharedState> {
    OpenApiRouter::new().routes(routes!(oauth::introspect::introspect))
}

/// The liveness and readiness probes.
fn health() -> OpenApiRouter<SharedState> {
    OpenApiRouter::new().routes(routes!(health::healthz)).routes(routes!(health::readyz))
}

/// The HTML pages.
fn pages() -> Router<SharedState> {
    Router::new()
        .route("/", get(pages::home::home))
        .route("/sign-in", get(pages::sign_in::sign_in))
        .route("/sign-in/dev", post(pages::sign_in_dev::sign_in_dev))
        .route("/sign-in/github", get(pages::sign_in_github::begin))
        .route(oauth::github::CALLBACK, get(pages::sign_in_github::callback))
        .route("/sign-in/link/{secret}", get(pages::sign_in_link::show).post(pages::sign_in_link::consume))
        .route("/sign-out", post(pages::sign_out::sign_out))
        .route(pages::device_verify::PATH, get(pages::device_verify::show).post(pages::device_verify::decide))
        .route("/assets/style.css", get(pages::style::style))
}

/// The OpenAPI 3.1 document, as it is served and as it is committed in `docs/openapi.json`.
#[must_use]
pub fn description() -> serde_json::Value {
    let (ours, ppz) = (ours(), ppz().merge(exchange()));
    let (oauth, health) = (oauth().merge(introspection()), health());
    openapi::describe([ours.get_openapi(), ppz.get_openapi(), oauth.get_openapi()], health.get_openapi())
}

/// The routes on the public address.
pub fn public(state: SharedState) -> Router {
    let no_route = || async { ApiError::NoRoute };
    let by_address = || from_fn_with_state(state.clone(), rate_limit::by_address);
    let by_caller = || from_fn(rate_limit::by_caller);
    // Inside the error layer, so that a panic is rendered in the format of its table too.
    let caught = || CatchPanicLayer::custom(panicked);
    let (problem, ppz_error, oauth_error) = (
        || from_fn(error_body::problem),
        || from_fn(error_body::ppz),
        || from_fn_with_state(oauth::device_token::PATH, error_body::oauth),
    );
    // Later layers wrap earlier ones: the error layer is outermost in each table, so that it renders refusals of the
    // rate limit and caught panics as well.
    Router::new()
        .merge(Router::from(ours()).layer(caught()).layer(by_caller()).layer(problem()))
        .merge(Router::from(ppz()).layer(caught()).layer(by_caller()).layer(ppz_error()))
        .merge(Router::from(exchange()).layer(caught()).layer(by_caller()).layer(ppz_error()))
        .merge(Router::from(oauth()).layer(caught()).layer(by_address()).layer(oauth_error()))
        .merge(Router::from(introspection()).layer(caught()).layer(by_caller()).layer(oauth_error()))
        // Without a rate limit: probes must not fail because of other traffic.
        .merge(Router::from(health()))
        .merge(pages().layer(caught()).layer(by_address()).layer(from_fn(pages::shape)))
        .merge(
            openapi::page(openapi::served_at(description(), &state.settings.public_url))
                .layer(by_address())
                .layer(problem()),
        )
        .fallback_service(Router::new().fallback(no_route).layer(by_address()))
        .layer(from_fn(host::require_one))
        .layer(from_fn(error_body::by_path))
        .layer(from_fn(response::etag))
        .layer(from_fn(security_headers))
        // Outermost, so that every response has a request identifier and is measured.
        .layer(from_fn_with_state(state.clone(), request_id::identify))
        .with_state(state)
}

/// The routes on the loopback address, for operators.
pub fn internal(metrics: PrometheusHandle) -> Router {
    Router::new()
        .route("/metrics", get(health::render_metrics))
        .layer(from_fn(host::require_one))
        .layer(from_fn(error_body::by_path))
        .with_state(metrics)
}

/// Security headers on every response: no sniffing, no caching unless a route allows it, no framing.
async fn security_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // `entry`, because some routes and all pages have set their own values.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache, private"));
    headers.entry(HeaderName::from_static("content-security-policy")).or_insert(HeaderValue::from_static(
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'",
    ));
    response
}

/// Logs a panic of a handler. The caller learns only that the server failed.
fn panicked(_: Box<dyn std::any::Any + Send + 'static>) -> Response {
    use axum::response::IntoResponse as _;
    tracing::error!("a handler panicked");
    ApiError::Internal.into_response()
}
