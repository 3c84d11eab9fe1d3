//! Bodies of existing clients, read as the server that they were written for read them.

use std::fmt;

use axum::extract::{FromRequest, Request};
use serde::Deserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

use crate::context::Context;
use crate::http::body::{MAX_BODY, read};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::extract::{authenticated, context, is_json};
use crate::http::state::SharedState;

/// The members of a body. All of them are optional here: the engine says what is missing or malformed.
pub trait ClientBody: DeserializeOwned {
    /// The members that are read. Whatever others hold is skipped.
    const MEMBERS: &'static [&'static str];

    /// The member that is blamed for a body that is no JSON object, or has a member of a wrong type: its code is what
    /// clients know on this route.
    const BLAMED: &'static str;
}

/// A command with the body of an existing client.
///
/// With a key or a bearer token the media type does not matter. An empty body is an empty object; `null` is as good as
/// absent; of repeated members the last counts; unknown ones are ignored.
pub struct ClientCommand<T> {
    /// The authenticated caller.
    pub caller: Caller,
    /// The context of the command: actor, request identifier, idempotency key.
    pub context: Context,
    /// The parsed body.
    pub body: T,
}

impl<T: ClientBody> FromRequest<SharedState> for ClientCommand<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &SharedState) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let caller = authenticated(&mut parts, state).await?;
        if caller.is_browser() && !is_json(&parts.headers) {
            return Err(ApiError::MediaType);
        }
        let bytes = read(body, &parts.headers, MAX_BODY).await?;
        let body = parse(&bytes)?;
        let context = context(state, caller, &parts, &bytes)?;
        Ok(Self { caller, context, body })
    }
}

/// Reads a body as the server that existing clients were written for reads it.
///
/// # Errors
/// [`ApiError::Unreadable`]
pub fn parse<T: ClientBody>(bytes: &[u8]) -> Result<T, ApiError> {
    let unreadable = |detail: String| ApiError::Unreadable { blamed: T::BLAMED, detail };
    let mut members = if bytes.iter().all(u8::is_ascii_whitespace) {
        Map::new()
    } else {
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let read =
            Members(T::MEMBERS).deserialize(&mut json).and_then(|members| json.end().map(|()| members));
        read.map_err(|error| {
            let place = format!("line {}, column {}", error.line(), error.column());
            unreadable(format!("the body must be one JSON object: it cannot be read at {place}"))
        })?
    };
    members.retain(|_, value| !value.is_null());
    serde_path_to_error::deserialize(Value::Object(members)).map_err(|error| {
        unreadable(format!("{}: a value of another type is expected; see /docs", error.path()))
    })
}

/// Reads these members of an object, the last of those that are repeated.
struct Members(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Members {
    type Value = Map<String, Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Members {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Map::new())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            if self.0.contains(&name.as_str()) {
                members.insert(name, map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize, Debug, PartialEq)]
    #[serde(default)]
    struct Example {
        handle: String,
        count: Option<i64>,
    }

    impl Default for Example {
        fn default() -> Self {
            Self { handle: String::new(), count: Some(7) }
        }
    }

    impl ClientBody for Example {
        const MEMBERS: &'static [&'static str] = &["handle", "count"];
        const BLAMED: &'static str = "handle";
    }

    #[test]
    fn bodies_are_read_leniently_but_whole() {
        let read = |body: &str| parse::<Example>(body.as_bytes()).map(|read| (read.handle, read.count));
        for (body, handle, count) in [
            ("", "", Some(7)),
            (" \n", "", Some(7)),
            ("null", "", Some(7)),
            ("{}", "", Some(7)),
            (r#"{"handle": null, "count": null, "other": [1]}"#, "", Some(7)),
            (r#"{"handle": "a", "handle": "b", "count": 1}"#, "b", Some(1)),
            (r#"{"handle": 5, "handle": "b"}"#, "b", Some(7)),
        ] {
            assert_eq!(read(body).unwrap(), (handle.to_owned(), count), "{body}");
        }
        for body in [
            "[]",
            "5",
            "\"a\"",
            "{",
            "{} x",
            "{}{}",
            r#"{"handle": 5}"#,
            r#"{"handle": "a", "count": "1"}"#,
            "a=b",
        ] {
            let refused = read(body).unwrap_err();
            assert_eq!(refused.blamed(), Some("handle"), "{body}");
        }
        assert!(parse::<Example>(b"{\"handle\": \"\xff\"}").is_err());
        // What nobody reads may be anything.
        for other in [
            b"\"\\ud800\"".to_vec(),
            b"1e400".to_vec(),
            b"\"\xff\"".to_vec(),
            [vec![b'['; 500], vec![b']'; 500]].concat(),
        ] {
            let body = [b"{\"other\": ".to_vec(), other, b", \"handle\": \"a\"}".to_vec()].concat();
            assert_eq!(parse::<Example>(&body).unwrap().handle, "a");
        }
        let wrong = parse::<Example>(br#"{"handle": "a", "count": "1"}"#).unwrap_err();
        assert!(wrong.sentence().starts_with("count: "), "{}", wrong.sentence());
    }
}
