//! Cookies: the session cookie, and those that bind a form or a sign-in to the browser that began it.

use axum::http::{HeaderMap, HeaderValue, header};
use cookie::{Cookie, SameSite};

use super::settings::HttpSettings;

/// The base name of the session cookie.
pub const SESSION: &str = "tenure_session";

/// The base name of the cookie that a form must be submitted with.
pub const FORM: &str = "tenure_form";

/// The base name of the cookie of a pending sign-in through GitHub.
pub const GITHUB: &str = "tenure_github";

/// The full name of a cookie. Over https it has the prefix `__Host-`, so that no other host can set it.
fn name(settings: &HttpSettings, base: &'static str) -> String {
    if settings.is_https() { format!("__Host-{base}") } else { base.to_owned() }
}

/// The value of a cookie; none if it is sent more than once, because then another host may have planted one.
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

/// The header that sets a cookie with this lifetime in seconds; 0 removes the cookie.
pub fn set(
    settings: &HttpSettings,
    base: &'static str,
    value: &str,
    seconds: i64,
) -> (header::HeaderName, HeaderValue) {
    // Lax and not Strict: the browser must send the cookies when GitHub, or a link, leads back here.
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
