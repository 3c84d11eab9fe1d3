//! Talking to a running Tenure over HTTP, as whoever is logged in.

pub(super) mod login;
pub(super) mod stored;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use reqwest::{Method, RequestBuilder, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::output;
use crate::config::Config;

/// What a segment of a path must not hold as it is.
const SEGMENT: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'/').add(b'<').add(b'>').add(b'?').add(b'\\');

/// How many things of a list are asked for at once.
const PAGE: usize = 200;

/// A running Tenure.
pub(super) struct Remote {
    server: String,
    token: Option<SecretString>,
    http: reqwest::Client,
}

/// What a write has done.
pub(super) struct Written {
    /// The answer; `null` if there is none.
    pub(super) body: Value,
    /// From where on it can be read.
    pub(super) position: Option<String>,
}

/// Why a server has not done as asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum RemoteError {
    /// It says why.
    #[error("{detail}")]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// In words.
        detail: String,
    },
    /// It cannot be reached.
    #[error("the server cannot be reached: {0}")]
    Unreachable(String),
    /// What people typed is a step in a path, which would lead to something else.
    #[error("`.` and `..` are nobody's names")]
    NoName,
    /// There is no credential.
    #[error("not logged in: `tenure login --server URL`, or --token")]
    NotLoggedIn,
}

impl RemoteError {
    /// The exit code that says the same.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Refused { status, .. } => match *status {
                StatusCode::NOT_FOUND => 4,
                StatusCode::TOO_MANY_REQUESTS => 5,
                status if status.is_client_error() => 3,
                _ => 5,
            },
            Self::Unreachable(_) => 5,
            Self::NoName => 4,
            Self::NotLoggedIn => 3,
        }
    }
}

/// A path with what people typed in it.
pub(super) fn path(template: &str, typed: &[&str]) -> String {
    let mut parts = template.split("{}");
    let mut path = parts.next().unwrap_or_default().to_owned();
    for (part, typed) in parts.zip(typed) {
        path.extend(utf8_percent_encode(typed, SEGMENT));
        path.push_str(part);
    }
    path
}

impl Remote {
    /// The server that a command is meant for, if it is not meant for a database: the one that is named, or the one that
    /// somebody has logged in to.
    pub(super) fn of(config: &Config) -> anyhow::Result<Option<Self>> {
        let (server, token) = match &config.server {
            Some(server) => {
                let token = match &config.token {
                    Some(token) => Some(token.clone()),
                    None => stored::read()?
                        .filter(|login| login.server == server.trim_end_matches('/'))
                        .map(|login| login.token),
                };
                (server.clone(), token)
            }
            None if config.names_a_database => return Ok(None),
            None => match stored::read()? {
                Some(login) => (login.server, config.token.clone().or(Some(login.token))),
                None => return Ok(None),
            },
        };
        Self::new(&server, token).map(Some)
    }

    pub(super) fn new(server: &str, token: Option<SecretString>) -> anyhow::Result<Self> {
        let server = server.trim_end_matches('/').to_owned();
        anyhow::ensure!(
            server.starts_with("http://") || server.starts_with("https://"),
            "--server: a URL, for example https://tenure.example.org"
        );
        crate::http::tls_provider::install_crypto_provider();
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(std::time::Duration::from_mins(1))
            .user_agent(concat!("tenure/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { server, token, http })
    }

    fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, RemoteError> {
        let token = self.token.as_ref().ok_or(RemoteError::NotLoggedIn)?;
        // URLs resolve them, encoded or not (WHATWG URL, "double-dot path segment").
        let (path_alone, _) = path.split_once('?').unwrap_or((path, ""));
        if path_alone.split('/').any(|segment| matches!(segment, "." | "..")) {
            return Err(RemoteError::NoName);
        }
        Ok(self.http.request(method, format!("{}{path}", self.server)).bearer_auth(token.expose_secret()))
    }

    async fn send(request: RequestBuilder) -> Result<Written, RemoteError> {
        let unreachable = |error: reqwest::Error| RemoteError::Unreachable(error.without_url().to_string());
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let position = response.headers().get("tenure-position").and_then(|value| value.to_str().ok());
        let position = position.map(str::to_owned);
        let text = response.text().await.map_err(unreachable)?;
        let body: Value = serde_json::from_str(&text).unwrap_or_default();
        if status.is_success() {
            return Ok(Written { body, position });
        }
        let said = [&body["detail"], &body["error"]["message"], &body["error_description"]];
        let detail = said.iter().find_map(|said| said.as_str()).map_or_else(
            || format!("the server answered {status}"),
            |detail| match body["field"].as_str() {
                Some(field) if !detail.starts_with(field) => format!("{field}: {detail}"),
                _ => detail.to_owned(),
            },
        );
        Err(RemoteError::Refused { status, detail })
    }

    /// A record.
    pub(super) async fn get(&self, path: &str) -> Result<Value, RemoteError> {
        Ok(Self::send(self.request(Method::GET, path)?).await?.body)
    }

    /// A whole list, a page at a time.
    pub(super) async fn list(&self, path: &str) -> Result<Vec<Value>, RemoteError> {
        let mut all = Vec::new();
        let mut cursor = String::new();
        loop {
            let mut page = self.get(&format!("{path}?limit={PAGE}{cursor}")).await?;
            if let Some(items) = page["items"].as_array_mut() {
                all.append(items);
            }
            cursor = match &page["next_cursor"] {
                Value::String(next) => format!("&cursor={next}"),
                _ => return Ok(all),
            };
        }
    }

    /// A command with a body.
    pub(super) async fn send_json(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<Written, RemoteError> {
        Self::send(self.request(method, path)?.json(body)).await
    }

    /// A command with a body that makes something.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Written, RemoteError> {
        self.send_json(Method::POST, path, body).await
    }

    /// A command without a body.
    pub(super) async fn act(&self, method: Method, path: &str) -> Result<Written, RemoteError> {
        Self::send(self.request(method, path)?).await
    }
}

/// Prints what a command did: as JSON the answer with its position, for people a line.
pub(super) fn done(as_json: bool, written: &Written, beside: Value) -> anyhow::Result<()> {
    let mut answer = if written.body.is_object() { written.body.clone() } else { json!({}) };
    if let (Some(answer), Value::Object(beside)) = (answer.as_object_mut(), beside) {
        for (name, value) in beside {
            answer.entry(name).or_insert(value);
        }
    }
    if let Some(position) = &written.position {
        answer["position"] = position.as_str().into();
    }
    if as_json {
        return output::json(&answer);
    }
    let id = answer["id"].as_str().map(|id| format!("{id}: ")).unwrap_or_default();
    match &written.position {
        Some(position) => output::line(&format!("{id}done, at position {position}")),
        None => output::line(&format!("{id}done")),
    }
}

/// Prints a secret that is given once: as JSON within the answer, for people on a line of its own.
pub(super) fn secret(
    as_json: bool,
    written: &Written,
    what: &str,
    (field, name): (&str, &str),
) -> anyhow::Result<()> {
    let secret = written.body[field].as_str().unwrap_or_default();
    if as_json {
        let mut answer = written.body.clone();
        answer[name] = secret.into();
        answer["position"] = written.position.clone().into();
        return output::json(&answer);
    }
    output::line(&format!("{what} {}: done", written.body["id"].as_str().unwrap_or_default()))?;
    output::line("its secret, which is not shown again:")?;
    output::line(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_stays_within_its_segment() {
        assert_eq!(path("/a/{}/b/{}", &["x/../y?z", "ü"]), "/a/x%2F..%2Fy%3Fz/b/%C3%BC");
        assert_eq!(path("/a", &[]), "/a");
    }
}
