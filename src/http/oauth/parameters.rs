//! The parameters of an OAuth request: form or JSON, each at most once, unknown ones ignored (RFC 6749 §3.2).

use std::collections::HashMap;

use axum::extract::{FromRequest, Request};
use secrecy::SecretString;

use crate::http::ask::{media_type, read};
use crate::http::caller::refuse_credentials_in;
use crate::http::door::Shared;
use crate::http::error::DoorError;

/// The parameters of an OAuth request.
pub struct Parameters(HashMap<String, String>);

impl Parameters {
    /// A parameter; one without a value counts as absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A parameter that must be there.
    pub fn required(&self, name: &'static str) -> Result<&str, DoorError> {
        self.get(name).ok_or_else(|| DoorError::field(name, "is missing"))
    }

    /// A parameter that is a secret and must be there.
    pub fn secret(&self, name: &'static str) -> Result<SecretString, DoorError> {
        self.required(name).map(|secret| secret.to_owned().into())
    }
}

impl FromRequest<Shared> for Parameters {
    type Rejection = DoorError;

    async fn from_request(request: Request, door: &Shared) -> Result<Self, DoorError> {
        let (parts, body) = request.into_parts();
        refuse_credentials_in(parts.uri.query(), &door.tenure.rules().sentinel)?;
        let bytes = read(body).await?;
        let kind = media_type(&parts.headers).map(str::to_ascii_lowercase);
        match kind.as_deref() {
            Some("application/json") => from_json(&bytes),
            Some("application/x-www-form-urlencoded") => from_form(&bytes),
            _ if bytes.is_empty() => Ok(Self(HashMap::new())),
            _ => Err(DoorError::malformed("application/x-www-form-urlencoded or application/json")),
        }
    }
}

fn from_form(bytes: &[u8]) -> Result<Parameters, DoorError> {
    std::str::from_utf8(bytes).map_err(|_| DoorError::malformed("not UTF-8"))?;
    let mut parameters = HashMap::new();
    for (name, value) in form_urlencoded::parse(bytes) {
        if value.contains('\u{fffd}') {
            return Err(DoorError::malformed("not UTF-8"));
        }
        if parameters.insert(name.into_owned(), value.into_owned()).is_some() {
            return Err(DoorError::malformed("a parameter comes more than once"));
        }
    }
    Ok(Parameters(parameters))
}

/// A flat object; values that are no text are as unknown as names that are.
fn from_json(bytes: &[u8]) -> Result<Parameters, DoorError> {
    struct Flat(HashMap<String, serde_json::Value>);

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
                    while let Some((name, value)) = map.next_entry()? {
                        if flat.insert(name, value).is_some() {
                            return Err(serde::de::Error::custom("a parameter comes more than once"));
                        }
                    }
                    Ok(Flat(flat))
                }
            }
            deserializer.deserialize_map(Visitor)
        }
    }

    let Flat(flat) = serde_json::from_slice(bytes)
        .map_err(|_| DoorError::malformed("a JSON object in which each parameter comes once"))?;
    let mut parameters = HashMap::new();
    for (name, value) in flat {
        match value {
            serde_json::Value::String(text) => parameters.insert(name, text),
            serde_json::Value::Null => None,
            _ => return Err(DoorError::Malformed { field: None, detail: "parameters are text".into() }),
        };
    }
    Ok(Parameters(parameters))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_come_once_as_text() {
        let form = from_form(b"grant_type=a%20b&client_id=&x=1").unwrap();
        assert_eq!(
            (form.get("grant_type"), form.get("client_id"), form.get("no")),
            (Some("a b"), None, None)
        );
        assert!(from_form(b"a=1&a=2").is_err());
        assert!(from_form(b"a=\xff").is_err() && from_form(b"a=%ff").is_err());
        assert_eq!(from_json(br#"{"a": "1", "b": null}"#).unwrap().get("a"), Some("1"));
        for bad in [r#"{"a": "1", "a": "2"}"#, r#"{"a": 1}"#, "[]", "\"a\"", "{"] {
            assert!(from_json(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
