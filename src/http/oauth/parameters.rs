//! The parameters of an OAuth request: form or JSON, each at most once, unknown ones ignored (RFC 6749 §3.2).

use std::collections::HashMap;

use axum::extract::{FromRequest, Request};
use secrecy::SecretString;

use crate::http::body::{MAX_BODY, read};
use crate::http::caller::refuse_credentials_in;
use crate::http::error::ApiError;
use crate::http::extract::media_type;
use crate::http::state::SharedState;

/// The parameters of an OAuth request.
pub struct Parameters(HashMap<String, Value>);

/// The value of a parameter.
enum Value {
    Text(String),
    /// An invalid value, and why. Refused only when a handler reads the parameter: unknown ones are ignored.
    Wrong(&'static str),
}

const REPEATED: Value = Value::Wrong("must not be repeated");

impl Parameters {
    /// A parameter; none if it is absent or empty (RFC 6749 §3.2).
    ///
    /// # Errors
    /// [`ApiError::Malformed`] if it is repeated or not text.
    pub fn get(&self, name: &'static str) -> Result<Option<&str>, ApiError> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::Text(value)) => Ok(Some(value.as_str()).filter(|value| !value.is_empty())),
            Some(Value::Wrong(reason)) => Err(ApiError::field(name, reason)),
        }
    }

    /// A required parameter.
    ///
    /// # Errors
    /// [`ApiError::Malformed`] if it is absent, repeated or not text.
    pub fn required(&self, name: &'static str) -> Result<&str, ApiError> {
        self.get(name)?.ok_or_else(|| ApiError::field(name, "is required"))
    }

    /// A required parameter that is a secret.
    ///
    /// # Errors
    /// Those of [`Parameters::required`].
    pub fn secret(&self, name: &'static str) -> Result<SecretString, ApiError> {
        self.required(name).map(|secret| secret.to_owned().into())
    }
}

impl FromRequest<SharedState> for Parameters {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &SharedState) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        refuse_credentials_in(parts.uri.query(), &state.tenure.rules().sentinel)?;
        let bytes = read(body, &parts.headers, MAX_BODY).await?;
        let kind = media_type(&parts.headers).map(str::to_ascii_lowercase);
        match kind.as_deref() {
            Some("application/json") => from_json(&bytes),
            Some("application/x-www-form-urlencoded") => from_form(&bytes),
            _ if bytes.is_empty() => Ok(Self(HashMap::new())),
            _ => Err(ApiError::malformed(
                "the body must be application/x-www-form-urlencoded or application/json",
            )),
        }
    }
}

fn from_form(bytes: &[u8]) -> Result<Parameters, ApiError> {
    std::str::from_utf8(bytes).map_err(|_| ApiError::malformed("the body must be UTF-8"))?;
    let mut parameters = HashMap::new();
    for (name, value) in form_urlencoded::parse(bytes) {
        // The parser replaces invalid UTF-8 by U+FFFD.
        let value = if value.contains('\u{fffd}') {
            Value::Wrong("must be UTF-8")
        } else {
            Value::Text(value.into_owned())
        };
        let name = name.into_owned();
        let value = if parameters.contains_key(&name) { REPEATED } else { value };
        parameters.insert(name, value);
    }
    Ok(Parameters(parameters))
}

/// Parses a JSON object by hand, because a map would silently keep the last of two equal names.
fn from_json(bytes: &[u8]) -> Result<Parameters, ApiError> {
    struct Flat(HashMap<String, Value>);

    impl<'de> serde::Deserialize<'de> for Flat {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Flat;

                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }

                fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Flat, A::Error> {
                    let mut flat = HashMap::new();
                    while let Some((name, value)) = map.next_entry::<String, serde_json::Value>()? {
                        let value = match value {
                            serde_json::Value::Null => continue,
                            _ if flat.contains_key(&name) => REPEATED,
                            serde_json::Value::String(text) => Value::Text(text),
                            _ => Value::Wrong("must be text"),
                        };
                        flat.insert(name, value);
                    }
                    Ok(Flat(flat))
                }
            }
            deserializer.deserialize_map(Visitor)
        }
    }

    serde_json::from_slice(bytes)
        .map(|Flat(flat)| Parameters(flat))
        .map_err(|_| ApiError::malformed("the body must be a JSON object of parameters"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_that_are_asked_for_come_once_as_text() {
        let form = from_form(b"grant_type=a%20b&client_id=&x=1&twice=1&twice=1&bad=%ff").unwrap();
        let got = |name| form.get(name).unwrap();
        assert_eq!((got("grant_type"), got("client_id"), got("no")), (Some("a b"), None, None));
        assert!(form.get("twice").is_err() && form.get("bad").is_err());
        assert!(from_form(b"a=\xff").is_err());
        let json = from_json(br#"{"a": "1", "b": null, "c": 1, "d": "1", "d": "2"}"#).unwrap();
        assert_eq!((json.get("a").unwrap(), json.get("b").unwrap()), (Some("1"), None));
        assert!(json.get("c").is_err() && json.get("d").is_err());
        for bad in ["[]", "\"a\"", "{", "{} x"] {
            assert!(from_json(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
