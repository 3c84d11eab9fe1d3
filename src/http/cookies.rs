//! Cookies: the session's, and what binds a form or a sign-in to the browser that began it.

use axum::http::{HeaderMap, HeaderValue, header};
use cookie::{Cookie, SameSite};

use super::settings::HttpSettings;

/// The cookie of a session.
pub const SESSION: &str = "tenure_session";

/// The cookie that a form must come back with.
pub const FORM: &str = "tenure_form";

/// The cookie of a sign-in through GitHub that is under way.
pub const GITHUB: &str = "tenure_github";

/// The name that a cookie has here: behind https one that no other host can set.
fn name(settings: &HttpSettings, base: &'static str) -> String {
    if settings.is_https() { format!("__Host-{base}") } else { base.to_owned() }
}

/// The value of a cookie; none if it comes more than once, because then somebody has planted one.
pub fn read(headers: &HeaderMap, settings: &HttpSettings, base: &'static str) -> Option<String> {
    let wanted = name(settings, base);
    let mut values = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| Cookie::split_parse(value.to_owned()))
        .filter_map(Result::ok)
        .filter(|cookie| cookie.name() == wanted)
        .map(|cookie| cookie.value().to_owned());
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// The header that sets a cookie for so many seconds; 0 removes it.
pub fn set(
    settings: &HttpSettings,
    base: &'static str,
    value: &str,
    seconds: i64,
) -> (header::HeaderName, HeaderValue) {
    let cookie = Cookie::build((name(settings, base), value.to_owned()))
        .path("/")
        .http_only(true)
        .same_site(SameSite::Lax)
        .secure(settings.is_https())
        .max_age(cookie::time::Duration::seconds(seconds))
        .build();
    let value = HeaderValue::from_str(&cookie.to_string()).unwrap_or(HeaderValue::from_static(""));
    (header::SET_COOKIE, value)
}
