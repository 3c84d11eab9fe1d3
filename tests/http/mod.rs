//! The HTTP interface as programs and browsers see it: a real server on a socket, each on a database of its own.

mod access;
mod as_of;
mod bad_input;
mod browser;
mod clients;
mod command_line;
mod contract;
mod description;
mod device_flow;
mod explain;
mod limits;
mod lists;
mod names;
mod nodes;
mod sign_in;
mod stream;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use tenure::clock::ManualClock;
use tenure::entropy::OsEntropy;
use tenure::http::{AppState, HttpSettings, serve};
use tenure::ids::{AccountId, ApiKeyId, UserId};
use tenure::nats::Nats;
use tenure::{Settings, Tenure};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::support::{TestDatabase, account, operator, user};

/// A server on a database.
pub struct Server {
    pub base: String,
    pub tenure: Arc<Tenure>,
    stop: CancellationToken,
    client: reqwest::Client,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Server {
    /// On a database of its own.
    pub async fn new() -> Self {
        Self::on(&TestDatabase::new().await).await
    }

    /// On this database.
    pub async fn on(database: &TestDatabase) -> Self {
        Self::with(Arc::new(database.open().await), |_| {}).await
    }

    /// With a clock that stands still until it is moved.
    pub async fn with_clock(change: impl FnOnce(&mut HttpSettings)) -> (Self, Arc<ManualClock>) {
        let (tenure, clock) = TestDatabase::new().await.open_with_clock().await;
        (Self::with(Arc::new(tenure), change).await, clock)
    }

    /// With other settings of the engine.
    pub async fn with_settings(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = TestDatabase::new().await.settings();
        change(&mut settings);
        let clock = Arc::new(tenure::clock::SystemClock);
        let tenure = Tenure::open(settings, clock, Arc::new(OsEntropy::default())).await.expect("an engine");
        Self::with(Arc::new(tenure), |_| {}).await
    }

    /// With other HTTP settings.
    pub async fn with(tenure: Arc<Tenure>, change: impl FnOnce(&mut HttpSettings)) -> Self {
        Self::with_nats(tenure, None, change).await
    }

    /// With NATS.
    pub async fn with_nats(
        tenure: Arc<Tenure>,
        nats: Option<Nats>,
        change: impl FnOnce(&mut HttpSettings),
    ) -> Self {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let mut settings = HttpSettings::new(listener.local_addr().unwrap());
        let base = settings.public_url.clone();
        change(&mut settings);
        let state = AppState::new(tenure.clone(), settings, nats).unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(serve(listener, tenure::http::public(state), stop.clone()));
        tenure::http::tls_provider::install_crypto_provider();
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { base, tenure, stop, client }
    }

    /// A request to a path of this server.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    pub fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    pub fn post(&self, path: &str, body: Value) -> RequestBuilder {
        self.request(Method::POST, path).json(&body)
    }

    /// A form, as browsers and OAuth clients send it.
    pub async fn form(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        answer(self.request(Method::POST, path).form(fields)).await
    }

    /// A bearer token of a person.
    pub async fn token(&self, of: UserId) -> String {
        let ttl = std::time::Duration::from_secs(3_600);
        let issued = self.tenure.issue_bearer_token(&operator(), of, ttl).await.unwrap();
        issued.answer.1.expect("a secret").expose_secret().to_owned()
    }

    /// A session of a person: the value of its cookie.
    pub async fn session(&self, of: UserId) -> String {
        let ttl = std::time::Duration::from_secs(3_600);
        let started = self.tenure.start_session(&operator(), of, ttl).await.unwrap();
        format!("tenure_session={}", started.answer.1.expect("a secret").expose_secret())
    }

    /// An API key of an account, minted by a person.
    pub async fn key(&self, account: AccountId, by: UserId) -> (ApiKeyId, String) {
        let minted = self.tenure.mint_api_key(&operator(), account, "a key", None, Some(by)).await.unwrap();
        let plaintext = minted.answer.plaintext.expect("a secret");
        (minted.answer.id, plaintext.expose_secret().to_owned())
    }

    pub async fn user(&self, name: &str) -> UserId {
        user(&self.tenure, name).await
    }

    pub async fn account(&self, name: &str, owner: UserId) -> AccountId {
        account(&self.tenure, name, owner).await
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Expects this status.
    #[track_caller]
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        self
    }

    /// Expects this status and this code of an error, of whichever shape.
    #[track_caller]
    pub fn fails(self, status: u16, code: &str) -> Self {
        let answer = self.is(status);
        let json = answer.json();
        let found = [&json["code"], &json["error"]["code"], &json["error"]];
        assert!(found.iter().any(|found| found.as_str() == Some(code)), "{code}: {json}");
        answer
    }

    /// The value of a cookie that is set, as it is sent back.
    pub fn cookie(&self, name: &str) -> Option<String> {
        let set = self.headers.get_all("set-cookie").iter().filter_map(|value| value.to_str().ok());
        set.filter_map(|value| value.split(';').next())
            .find(|pair| pair.starts_with(&format!("{name}=")))
            .map(str::to_owned)
    }

    /// The value of a hidden field of the page's form.
    pub fn field(&self, name: &str) -> String {
        let start = format!("name=\"{name}\" value=\"");
        let rest = self.text.split(&start).nth(1).unwrap_or_else(|| panic!("no {name}: {}", self.text));
        rest.split('"').next().unwrap().to_owned()
    }
}

/// Sends a request and takes the answer whole.
pub async fn answer(request: RequestBuilder) -> Answer {
    whole(request.send().await.expect("an answer")).await
}

async fn whole(response: Response) -> Answer {
    let (status, headers) = (response.status(), response.headers().clone());
    // A stream of events never ends.
    let is_endless = headers.get("content-type").is_some_and(|kind| kind == "text/event-stream");
    let text = if is_endless { String::new() } else { response.text().await.expect("a body") };
    Answer { status, headers, text }
}
