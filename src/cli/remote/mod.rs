//! A client of a running Tenure over HTTP, acting as the logged-in user.

pub(super) mod login;
pub(super) mod stored;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use reqwest::{Method, RequestBuilder, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::output;
use crate::config::Config;
use crate::postgres::private;

/// The characters that are percent-encoded in a path segment.
const SEGMENT: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'/').add(b'<').add(b'>').add(b'?').add(b'\\');

/// How many items of a list one request asks for.
const PAGE: usize = 200;

/// A client of one running Tenure.
pub(super) struct Remote {
    server: String,
    token: Option<SecretString>,
    http: reqwest::Client,
}

/// The response to a write.
pub(super) struct Written {
    /// The JSON body; `null` if it is empty or not JSON.
    pub(super) body: Value,
    /// The position token from which the write can be read; none if the server sent none.
    pub(super) position: Option<String>,
}

/// Why a request to a server failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum RemoteError {
    /// The server responded with an error.
    #[error("{detail}")]
    Refused {
        /// The HTTP status of the response.
        status: StatusCode,
        /// The reason given by the server, or the status if it gave none.
        detail: String,
    },
    /// There was no complete response.
    #[error("the server cannot be reached: {0}")]
    Unreachable(String),
    /// A typed name is `.` or `..`, which a URL would resolve to another resource.
    #[error("no resource is named `.` or `..`")]
    NoName,
    /// Neither a stored login nor `--token` gives a credential for this server.
    #[error("not logged in: run `tenure login --server URL`, or pass --token")]
    NotLoggedIn,
    /// The command does not go through a server.
    #[error(
        "this command works on the database itself, not through {0}: run it where the database is, name that with \
         --database-url or --data-dir, and name no server"
    )]
    NeedsDatabase(String),
}

impl RemoteError {
    /// The exit code of this error, as `tenure --help` lists them.
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
            Self::NotLoggedIn | Self::NeedsDatabase(_) => 3,
        }
    }
}

/// Fills each `{}` of a path template with a typed argument, percent-encoded.
pub(super) fn path(template: &str, typed: &[&str]) -> String {
    let mut parts = template.split("{}");
    let mut path = parts.next().unwrap_or_default().to_owned();
    for (part, typed) in parts.zip(typed) {
        path.extend(utf8_percent_encode(typed, SEGMENT));
        path.push_str(part);
    }
    path
}

/// Refuses a command that works on the database itself, if other commands would go through a server now: it would use another
/// database, or make one.
pub(super) fn refuse_a_server(config: &Config) -> anyhow::Result<()> {
    let server = match &config.server {
        // Other commands go through the server even if a database is named.
        Some(server) => Some(server.clone()),
        // On the machine of a node that people log in to, its database is meant.
        None if config.names_a_database || private::exists(&config.data_dir)? => None,
        None => stored::read()?.map(|login| login.server),
    };
    server.map_or(Ok(()), |server| Err(RemoteError::NeedsDatabase(server).into()))
}

impl Remote {
    /// The server for a command: the configured one, else the one of the stored login. None if a database is configured
    /// or there is no login: then the command uses a database.
    pub(super) fn of(config: &Config) -> anyhow::Result<Option<Self>> {
        let (server, token) = match &config.server {
            Some(server) => {
                let token = match &config.token {
                    Some(token) => Some(token.clone()),
                    // A stored token is sent only to the server that issued it.
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
            "--server: must be an http:// or https:// URL, for example https://tenure.example.org"
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
        // URL parsers resolve these segments, encoded or not (WHATWG URL, "double-dot path segment").
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
        // Three error formats: RFC 9457, ppz and OAuth.
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

    /// Fetches a record as JSON.
    pub(super) async fn get(&self, path: &str) -> Result<Value, RemoteError> {
        Ok(Self::send(self.request(Method::GET, path)?).await?.body)
    }

    /// Fetches a whole list, page by page.
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

    /// Sends a command with a JSON body.
    pub(super) async fn send_json(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<Written, RemoteError> {
        Self::send(self.request(method, path)?.json(body)).await
    }

    /// Sends a POST command with a JSON body.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Written, RemoteError> {
        self.send_json(Method::POST, path, body).await
    }

    /// Sends a command without a body.
    pub(super) async fn act(&self, method: Method, path: &str) -> Result<Written, RemoteError> {
        Self::send(self.request(method, path)?).await
    }
}

/// Prints the outcome of a command: its body and position as JSON, or one line of text. Fields of `beside` are added
/// where the body lacks them.
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

/// Prints a secret that is shown only once: within the JSON, or on a line of its own.
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
    output::line("secret (shown only once):")?;
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
