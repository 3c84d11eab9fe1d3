//! Against requests that another site makes a browser send: where it says that it comes from, and a token that the other
//! site does not know.

use axum::http::{HeaderMap, HeaderName, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq as _;

use super::cookies;
use super::error::ApiError;
use super::settings::loopback_port;
use super::state::AppState;
use crate::ids::SessionId;

/// Where programs that act with a session send its token.
pub const X_CSRF_TOKEN: HeaderName = HeaderName::from_static("x-csrf-token");

impl AppState {
    /// The token of a session.
    #[must_use]
    pub fn csrf_token(&self, session: SessionId) -> String {
        URL_SAFE_NO_PAD.encode(self.mac("csrf", &format!("session:{session}")))
    }

    /// A fresh value of the cookie that a form must come back with, for browsers that are not signed in.
    #[must_use]
    pub fn new_form(&self) -> String {
        let mut octets = [0; 24];
        self.tenure.entropy().fill(&mut octets);
        URL_SAFE_NO_PAD.encode(octets)
    }

    /// The token of a form that belongs to such a cookie.
    #[must_use]
    pub fn form_token(&self, form: &str) -> String {
        URL_SAFE_NO_PAD.encode(self.mac("csrf", &format!("form:{form}")))
    }

    /// Refuses what another site has sent: by the origin that the browser names, and by the token of the session.
    ///
    /// # Errors
    /// The request is another site's.
    pub fn check_csrf(
        &self,
        headers: &HeaderMap,
        session: SessionId,
        token: Option<&str>,
    ) -> Result<(), ApiError> {
        self.same_origin(headers)?;
        matches(token, &self.csrf_token(session))
    }

    /// The same for a form of a browser that is not signed in. A program that is no browser (it names no origin and brings
    /// no cookie) sends nothing at another site's wish: it needs no token.
    ///
    /// # Errors
    /// The request is another site's.
    pub fn check_form(&self, headers: &HeaderMap, token: Option<&str>) -> Result<(), ApiError> {
        self.same_origin(headers)?;
        let of_browsers =
            [header::ORIGIN, header::REFERER, header::COOKIE, HeaderName::from_static("sec-fetch-site")];
        if of_browsers.iter().all(|name| !headers.contains_key(name)) {
            return Ok(());
        }
        let form = cookies::read(headers, &self.settings, cookies::FORM);
        matches(token, &form.map(|form| self.form_token(&form)).ok_or(ApiError::FORBIDDEN)?)
    }

    /// Whether an origin is this instance's; on one machine whatever that is called.
    fn is_ours(&self, origin: &str) -> bool {
        let ours = &self.settings.public_url;
        origin == ours || loopback_port(ours).is_some_and(|port| loopback_port(origin) == Some(port))
    }

    /// A browser says where a request comes from; programs that do not are held to the token alone.
    fn same_origin(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let from_elsewhere = match headers.get(header::ORIGIN) {
            Some(origin) => !origin.to_str().is_ok_and(|origin| self.is_ours(origin)),
            None => headers
                .get("sec-fetch-site")
                .is_some_and(|site| !matches!(site.as_bytes(), b"same-origin" | b"none")),
        };
        if from_elsewhere { Err(ApiError::FORBIDDEN) } else { Ok(()) }
    }
}

fn matches(given: Option<&str>, wanted: &str) -> Result<(), ApiError> {
    let same = given.is_some_and(|given| bool::from(given.as_bytes().ct_eq(wanted.as_bytes())));
    if same { Ok(()) } else { Err(ApiError::FORBIDDEN) }
}
