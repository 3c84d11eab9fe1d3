//! GitHub, a GitHub Enterprise server, or a compatible server as identity provider: authorization code flow with PKCE.

use std::pin::Pin;
use std::time::Duration;

use oauth2::basic::BasicClient;
use oauth2::{
    AsyncHttpClient, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointNotSet,
    EndpointSet, HttpRequest, HttpResponse, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope,
    TokenResponse as _, TokenUrl,
};
use secrecy::ExposeSecret as _;
use serde::Deserialize;

use crate::http::settings::GithubSettings;

/// The path that GitHub redirects the browser back to.
pub const CALLBACK: &str = "/sign-in/github/callback";

/// How long one request to GitHub may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The most bytes in a response of GitHub.
const MAX_RESPONSE_BYTES: u64 = 1 << 20;

type Client = BasicClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;

/// The client of an OAuth application at GitHub.
pub struct Github {
    client: Client,
    http: Http,
    api_url: String,
}

/// An HTTP client that follows no redirects and bounds the size of responses.
struct Http(reqwest::Client);

/// A sign-in that has been started.
pub struct Begun {
    /// The URL at GitHub to redirect the browser to.
    pub url: String,
    /// The OAuth `state`, which GitHub returns in the callback.
    pub state: String,
    /// The PKCE code verifier: without it the code cannot be exchanged.
    pub verifier: String,
}

/// The profile of a user at GitHub.
#[derive(Debug, Deserialize)]
pub struct Person {
    /// The numeric identifier at GitHub, which never changes.
    pub id: i64,
    /// The login (username) at GitHub, which may change.
    pub login: String,
    /// The public email address, or else the verified primary one; none if there is neither.
    pub email: Option<String>,
    /// The URL of the avatar; none if there is none.
    pub avatar_url: Option<String>,
}

#[derive(Deserialize)]
struct Address {
    email: String,
    #[serde(default)]
    primary: bool,
    #[serde(default)]
    verified: bool,
}

/// Why GitHub did not identify the user. Never contains what was sent.
#[derive(Debug, thiserror::Error)]
#[error("GitHub: {0}")]
pub struct GithubError(String);

impl Github {
    /// A client with these settings. `public_url` is this instance's own URL.
    ///
    /// # Errors
    /// A text that names the setting, if a URL is malformed.
    pub fn new(settings: &GithubSettings, public_url: &str) -> Result<Self, String> {
        let malformed = |what: &str| format!("{what} is not a valid URL");
        let url = settings.url.trim_end_matches('/');
        let client = BasicClient::new(ClientId::new(settings.client_id.clone()))
            .set_client_secret(ClientSecret::new(settings.client_secret.expose_secret().to_owned()))
            .set_auth_uri(
                AuthUrl::new(format!("{url}/login/oauth/authorize")).map_err(|_| malformed("github_url"))?,
            )
            .set_token_uri(
                TokenUrl::new(format!("{url}/login/oauth/access_token"))
                    .map_err(|_| malformed("github_url"))?,
            )
            .set_redirect_uri(
                RedirectUrl::new(format!("{public_url}{CALLBACK}")).map_err(|_| malformed("public_url"))?,
            );
        crate::http::tls_provider::install_crypto_provider();
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            // A redirect could send the code or the token to another host.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("tenure/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { client, http: Http(http), api_url: settings.api_url.trim_end_matches('/').to_owned() })
    }

    /// Starts a sign-in. `random` fills its argument with random bytes.
    pub fn begin(&self, random: impl Fn(&mut [u8])) -> Begun {
        use base64::Engine as _;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let fresh = || {
            let mut octets = [0; 32];
            random(&mut octets);
            URL_SAFE_NO_PAD.encode(octets)
        };
        let (state, verifier) = (fresh(), PkceCodeVerifier::new(fresh()));
        let challenge = PkceCodeChallenge::from_code_verifier_sha256(&verifier);
        let (url, state) = self
            .client
            .authorize_url(|| CsrfToken::new(state))
            .add_scope(Scope::new("read:user".to_owned()))
            .add_scope(Scope::new("user:email".to_owned()))
            .set_pkce_challenge(challenge)
            .url();
        let (state, verifier) = (state.into_secret(), verifier.into_secret());
        Begun { url: url.to_string(), state, verifier }
    }

    /// Exchanges the code of a callback and returns the user's profile.
    ///
    /// # Errors
    /// [`GithubError`] if GitHub cannot be reached, refuses the code, or sends an unexpected response.
    pub async fn finish(&self, code: String, verifier: String) -> Result<Person, GithubError> {
        let token = self
            .client
            .exchange_code(AuthorizationCode::new(code))
            .set_pkce_verifier(PkceCodeVerifier::new(verifier))
            .request_async(&self.http)
            .await
            .map_err(|error| GithubError(kind_of(&error).to_owned()))?;
        let token = token.access_token().secret();
        let mut person: Person = self.ask("/user", token).await?;
        // Users can hide their address from the profile; `/user/emails` still lists it.
        person.email = person.email.filter(|email| !email.trim().is_empty());
        if person.email.is_none() {
            let addresses: Option<Vec<Address>> = self.ask_for("/user/emails", token).await?;
            person.email = addresses
                .unwrap_or_default()
                .into_iter()
                // An address that is not verified may belong to another user.
                .find(|address| address.primary && address.verified)
                .map(|address| address.email);
        }
        Ok(person)
    }

    async fn ask<T: serde::de::DeserializeOwned>(&self, path: &str, token: &str) -> Result<T, GithubError> {
        self.ask_for(path, token).await?.ok_or_else(|| GithubError(format!("{path} was refused")))
    }

    /// The JSON at a path; none if the user has not granted access to it.
    async fn ask_for<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        token: &str,
    ) -> Result<Option<T>, GithubError> {
        let request = self
            .http
            .0
            .get(format!("{}{path}", self.api_url))
            .bearer_auth(token)
            .header("accept", "application/vnd.github+json")
            .build()
            .map_err(without_url)?;
        let response = self.http.0.execute(request).await.map_err(without_url)?;
        let status = response.status();
        // GitHub answers 403 to a rate limit too: that is a failure and not a missing grant.
        let too_often = response.headers().contains_key("retry-after")
            || response.headers().get("x-ratelimit-remaining").is_some_and(|left| left == "0");
        if !too_often && matches!(status, reqwest::StatusCode::FORBIDDEN | reqwest::StatusCode::NOT_FOUND) {
            return Ok(None);
        }
        if !status.is_success() {
            return Err(GithubError(format!("{path} returned {status}")));
        }
        let body = bounded(response).await?;
        let answer = serde_json::from_slice(&body);
        answer.map(Some).map_err(|_| GithubError(format!("{path} returned an unexpected response")))
    }
}

impl<'c> AsyncHttpClient<'c> for Http {
    type Error = GithubError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, GithubError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let request = reqwest::Request::try_from(request).map_err(without_url)?;
            let response = self.0.execute(request).await.map_err(without_url)?;
            let mut builder = axum::http::Response::builder().status(response.status());
            for (name, value) in response.headers() {
                builder = builder.header(name, value);
            }
            let body = bounded(response).await?;
            builder.body(body).map_err(|_| GithubError("a response cannot be read".to_owned()))
        })
    }
}

/// Reads a body of at most [`MAX_RESPONSE_BYTES`], so that a broken server cannot exhaust memory.
async fn bounded(mut response: reqwest::Response) -> Result<Vec<u8>, GithubError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(without_url)? {
        body.extend_from_slice(&chunk);
        if body.len() as u64 > MAX_RESPONSE_BYTES {
            return Err(GithubError("a response is too long".to_owned()));
        }
    }
    Ok(body)
}

/// URLs are left out of errors because errors are logged.
fn without_url(error: reqwest::Error) -> GithubError {
    GithubError(error.without_url().to_string())
}

/// A fixed text: the error itself may quote the response, and with it secrets.
fn kind_of<E: std::error::Error, T: oauth2::ErrorResponse>(
    error: &oauth2::RequestTokenError<E, T>,
) -> &'static str {
    match error {
        oauth2::RequestTokenError::ServerResponse(_) => "the code was refused",
        oauth2::RequestTokenError::Request(_) => "the server cannot be reached",
        _ => "the response to the code cannot be read",
    }
}
