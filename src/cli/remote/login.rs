//! `tenure login` and `tenure logout`: get a token by the device flow (RFC 8628), store it, and revoke it.

use std::time::Duration;

use anyhow::Context as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::stored::{self, Login};
use super::{Remote, RemoteError};
use crate::cli::output;
use crate::clock::Stopwatch;
use crate::config::Config;

/// Logs in: shows a code, waits until it is approved in a browser, and stores the token. With `--token`, stores that.
pub(in crate::cli) async fn log_in(config: Config) -> anyhow::Result<()> {
    let server = config.server.as_deref().context("login: pass --server URL")?;
    // Before a token exists: one that cannot be stored would be valid and lost.
    let place = stored::prepare()?;
    if let Some(token) = &config.token {
        // Checked before it replaces a stored one.
        let username = username(server, token).await?;
        return finish(&config, place, server, token.clone(), Some(username));
    }
    let remote = Remote::new(server, None)?;
    let host = nix::sys::utsname::uname().ok();
    let host = host.as_ref().map(|name| name.nodename().to_string_lossy().into_owned()).unwrap_or_default();
    // The server accepts at most 200 characters.
    let name = format!("tenure command line on {host}").chars().take(200).collect::<String>();
    let fields = [("client_id", "tenure-cli"), ("client_name", name.as_str())];
    let codes = remote.form("/oauth/device/code", &fields).await?.map_err(anyhow::Error::msg)?;
    let text = |name: &str| codes[name].as_str().unwrap_or_default().to_owned();
    let (device_code, complete) = (text("device_code"), text("verification_uri_complete"));
    anyhow::ensure!(
        !device_code.is_empty() && !complete.is_empty() && !text("user_code").is_empty(),
        "{server} does not answer as a Tenure server; check the URL"
    );
    if config.json {
        output::json(&json!({"verification_uri_complete": complete, "user_code": text("user_code")}))?;
    } else {
        output::line(&format!("Open  {complete}\nand check that it shows  {}", text("user_code")))?;
    }
    // RFC 8628 §3.2: 5 seconds unless the server sets an interval.
    let mut pause = Duration::from_secs(codes["interval"].as_u64().unwrap_or(5));
    let lifetime = Duration::from_secs(codes["expires_in"].as_u64().unwrap_or(600));
    let waited = Stopwatch::start();
    loop {
        tokio::time::sleep(pause).await;
        let fields = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
            ("device_code", device_code.as_str()),
            ("client_id", "tenure-cli"),
        ];
        let answer = match remote.form("/oauth/device/token", &fields).await {
            // RFC 8628 §3.5: a client that gets no answer polls less often. The server says when the code has expired.
            Err(error @ RemoteError::Unreachable(_)) if waited.elapsed() < lifetime => {
                tracing::warn!(%error, "asking again");
                pause *= 2;
                continue;
            }
            answer => answer?,
        };
        match answer {
            Ok(token) => {
                let token = token["access_token"].as_str().filter(|token| !token.is_empty());
                let token = SecretString::from(token.context("the server's answer holds no token")?);
                // Stored whatever the server answers now: the token is valid.
                let username = username(server, &token).await.ok();
                return finish(&config, place, server, token, username);
            }
            Err(error) if error == "authorization_pending" => {}
            // RFC 8628 §3.5: poll 5 seconds slower from here on.
            Err(error) if error == "slow_down" => pause += Duration::from_secs(5),
            Err(error) => anyhow::bail!("not logged in: {error}"),
        }
    }
}

/// The username of the token's user.
async fn username(server: &str, token: &SecretString) -> anyhow::Result<String> {
    let me = Remote::new(server, Some(token.clone()))?.get("/api/v1/users/me").await?;
    let username = me["username"].as_str().filter(|username| !username.is_empty());
    Ok(username
        .with_context(|| format!("{server} does not answer as a Tenure server; check the URL"))?
        .to_owned())
}

/// Stores the login and says where.
fn finish(
    config: &Config,
    place: stored::Place,
    server: &str,
    token: SecretString,
    username: Option<String>,
) -> anyhow::Result<()> {
    let login = Login { server: server.trim_end_matches('/').to_owned(), token };
    let path = stored::write(place, &login)?;
    if config.json {
        return output::json(&json!({"server": login.server, "username": username, "file": path}));
    }
    let who = username.map_or_else(String::new, |username| format!(" as {username}"));
    output::line(&format!("logged in to {}{who}; the token is in {}", login.server, path.display()))
}

/// Logs out: revokes the stored token and removes it.
pub(in crate::cli) async fn log_out(config: Config) -> anyhow::Result<()> {
    let Some(login) = stored::read()? else {
        return if config.json {
            output::json(&json!({"logged_out": false}))
        } else {
            output::line("not logged in")
        };
    };
    let remote = Remote::new(&login.server, None)?;
    // Revoked first: if that fails, the token stays stored and logout can be repeated.
    let revoked = remote.form("/oauth/revoke", &[("token", login.token.expose_secret())]).await?;
    revoked.map_err(anyhow::Error::msg)?;
    stored::remove()?;
    if config.json {
        return output::json(&json!({"logged_out": true}));
    }
    output::line(&format!("logged out of {}", login.server))
}

impl Remote {
    /// Sends an OAuth request. The inner error is the OAuth error code, such as `slow_down`.
    async fn form(&self, path: &str, fields: &[(&str, &str)]) -> Result<Result<Value, String>, RemoteError> {
        let unreachable = |error: reqwest::Error| RemoteError::Unreachable(error.without_url().to_string());
        let request = self.http.post(format!("{}{path}", self.server)).form(fields);
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let text = response.text().await.map_err(unreachable)?;
        let body: Value = serde_json::from_str(&text).unwrap_or_default();
        if status.is_success() {
            return Ok(Ok(body));
        }
        match body["error"].as_str() {
            Some(error) if status.is_client_error() => Ok(Err(error.to_owned())),
            _ => Err(RemoteError::Refused { status, detail: format!("the server answered {status}") }),
        }
    }
}
