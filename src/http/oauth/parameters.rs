//! The parameters of an OAuth request: form or JSON, each at most once, unknown ones ignored (RFC 6749 §3.2).

use std::collections::HashMap;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use secrecy::SecretString;

use crate::http::body::{MAX_BODY, read};
use crate::http::caller::refuse_credentials_in;
use crate::http::error::ApiError;
use crate::http::extract::media_type;
use crate::http::state::SharedState;

/// The parameters of an OAuth request.
pub struct Parameters(HashMap<String, Value>);

/// The parameters of a request of the device flow, read as the server that existing clients were written for read them: JSON
/// with or without its media type, in which the last of repeated members counts.
pub struct DeviceParameters(pub Parameters);

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
        let (kind, bytes) = kind_and_body(request, state).await?;
        match kind.as_deref() {
            Some(JSON) => from_json(&bytes, Repeated::Refused),
            Some(FORM) => from_form(&bytes),
            _ if bytes.is_empty() => Ok(Self(HashMap::new())),
            _ => Err(ApiError::malformed(
                "the body must be application/x-www-form-urlencoded or application/json",
            )),
        }
    }
}

impl FromRequest<SharedState> for DeviceParameters {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &SharedState) -> Result<Self, ApiError> {
        let (kind, bytes) = kind_and_body(request, state).await?;
        let begins = bytes.iter().find(|octet| !octet.is_ascii_whitespace());
        let parameters = match begins {
            _ if bytes.trim_ascii() == b"null" => Parameters(HashMap::new()),
            None => Parameters(HashMap::new()),
            // curl declares a form unless it is told otherwise.
            Some(b'{') => from_json(&bytes, Repeated::LastCounts)?,
            Some(_) if kind.as_deref() == Some(JSON) => from_json(&bytes, Repeated::LastCounts)?,
            Some(_) => from_form(&bytes)?,
        };
        Ok(Self(parameters))
    }
}

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// The media type of a request in lower case, and its body.
async fn kind_and_body(request: Request, state: &SharedState) -> Result<(Option<String>, Bytes), ApiError> {
    let (parts, body) = request.into_parts();
    refuse_credentials_in(parts.uri.query(), &state.tenure.rules().sentinel)?;
    let bytes = read(body, &parts.headers, MAX_BODY).await?;
    Ok((media_type(&parts.headers).map(str::to_ascii_lowercase), bytes))
}

/// What happens to repeated members of a JSON object.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeated {
    /// They are refused when they are asked for, as RFC 6749 §3.2 wants it of parameters.
    Refused,
    /// The last one counts.
    LastCounts,
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
fn from_json(bytes: &[u8], repeated: Repeated) -> Result<Parameters, ApiError> {
    struct Members(Vec<(String, serde_json::Value)>);

    impl<'de> serde::Deserialize<'de> for Members {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Members;

                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }

                fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                    let mut members = Vec::new();
                    while let Some(member) = map.next_entry()? {
                        members.push(member);
                    }
                    Ok(Members(members))
                }
            }
            deserializer.deserialize_map(Visitor)
        }
    }

    let Members(members) = serde_json::from_slice(bytes)
        .map_err(|_| ApiError::malformed("the body must be a JSON object of parameters"))?;
    let mut parameters = HashMap::new();
    for (name, value) in members {
        let value = match value {
            serde_json::Value::Null => continue,
            _ if repeated == Repeated::Refused && parameters.contains_key(&name) => REPEATED,
            serde_json::Value::String(text) => Value::Text(text),
            _ => Value::Wrong("must be text"),
        };
        parameters.insert(name, value);
    }
    Ok(Parameters(parameters))
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
        let twice = br#"{"a": "1", "b": null, "c": 1, "d": "1", "d": "2"}"#;
        let json = from_json(twice, Repeated::Refused).unwrap();
        assert_eq!((json.get("a").unwrap(), json.get("b").unwrap()), (Some("1"), None));
        assert!(json.get("c").is_err() && json.get("d").is_err());
        assert_eq!(from_json(twice, Repeated::LastCounts).unwrap().get("d").unwrap(), Some("2"));
        for bad in ["[]", "\"a\"", "{", "{} x"] {
            assert!(from_json(bad.as_bytes(), Repeated::LastCounts).is_err(), "{bad}");
        }
    }
}
