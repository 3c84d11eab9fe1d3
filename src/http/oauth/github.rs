//! GitHub, a GitHub Enterprise server, or what speaks like them: who somebody is there, by authorisation code with PKCE.

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

/// Where GitHub sends people back to.
pub const CALLBACK: &str = "/sign-in/github/callback";

/// How long GitHub may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The most bytes of an answer.
const MAX_RESPONSE_BYTES: u64 = 1 << 20;

type Client = BasicClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;

/// An OAuth application at GitHub.
pub struct Github {
    client: Client,
    http: Http,
    api_url: String,
}

/// A client that follows no redirects and reads no long answers.
struct Http(reqwest::Client);

/// A sign-in that begins.
pub struct Begun {
    /// Where to send the browser.
    pub url: String,
    /// What comes back with it.
    pub state: String,
    /// What proves that the same browser comes back.
    pub verifier: String,
}

/// What GitHub says of somebody.
#[derive(Debug, Deserialize)]
pub struct Person {
    /// GitHub's number for them.
    pub id: i64,
    /// Their login.
    pub login: String,
    /// Their address, if they show one.
    pub email: Option<String>,
    /// Their picture.
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

/// Why GitHub's word is not to be had; never says what was sent.
#[derive(Debug, thiserror::Error)]
#[error("GitHub: {0}")]
pub struct GithubError(String);

impl Github {
    /// The application.
    ///
    /// # Errors
    /// An address is malformed.
    pub fn new(settings: &GithubSettings, public_url: &str) -> Result<Self, String> {
        let malformed = |what: &str| format!("{what} is no URL");
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
            // A redirect would carry the code elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("tenure/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { client, http: Http(http), api_url: settings.api_url.trim_end_matches('/').to_owned() })
    }

    /// Begins a sign-in.
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

    /// Who somebody is who has come back with a code.
    ///
    /// # Errors
    /// GitHub does not answer, or does not know the code.
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
        if person.email.is_none() {
            let addresses: Option<Vec<Address>> = self.ask_for("/user/emails", token).await?;
            person.email = addresses
                .unwrap_or_default()
                .into_iter()
                .find(|address| address.primary && address.verified)
                .map(|address| address.email);
        }
        Ok(person)
    }

    async fn ask<T: serde::de::DeserializeOwned>(&self, path: &str, token: &str) -> Result<T, GithubError> {
        self.ask_for(path, token).await?.ok_or_else(|| GithubError(format!("{path} is not to be had")))
    }

    /// What is at a path; nothing if the person does not let us see it.
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
        let too_often = response.headers().contains_key("retry-after")
            || response.headers().get("x-ratelimit-remaining").is_some_and(|left| left == "0");
        if !too_often && matches!(status, reqwest::StatusCode::FORBIDDEN | reqwest::StatusCode::NOT_FOUND) {
            return Ok(None);
        }
        if !status.is_success() {
            return Err(GithubError(format!("{path} answered {status}")));
        }
        let body = bounded(response).await?;
        let answer = serde_json::from_slice(&body);
        answer.map(Some).map_err(|_| GithubError(format!("{path} answered something else")))
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
            builder.body(body).map_err(|_| GithubError("an answer cannot be read".to_owned()))
        })
    }
}

async fn bounded(mut response: reqwest::Response) -> Result<Vec<u8>, GithubError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(without_url)? {
        body.extend_from_slice(&chunk);
        if body.len() as u64 > MAX_RESPONSE_BYTES {
            return Err(GithubError("an answer is too long".to_owned()));
        }
    }
    Ok(body)
}

fn without_url(error: reqwest::Error) -> GithubError {
    GithubError(error.without_url().to_string())
}

fn kind_of<E: std::error::Error, T: oauth2::ErrorResponse>(
    error: &oauth2::RequestTokenError<E, T>,
) -> &'static str {
    match error {
        oauth2::RequestTokenError::ServerResponse(_) => "the code was refused",
        oauth2::RequestTokenError::Request(_) => "it cannot be reached",
        _ => "the answer to the code cannot be read",
    }
}
