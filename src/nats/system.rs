//! The connection to the system account, through which servers are asked and accounts are given to them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Auth, AuthError, Client, ConnectOptions, Event, Message};
use futures::StreamExt as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{timeout, timeout_at};

use super::error::NatsError;
use super::keys::OperatorKeys;
use super::store::Store;
use super::version;
use crate::Tenure;
use crate::clock::Clock;
use crate::entropy::Entropy;

/// The state before the first connection.
pub(super) const NOT_YET: &str = "not connected yet";

/// How long connecting may take, and an answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// How often a silent connection is tested.
const PING_EVERY: Duration = Duration::from_secs(2);

/// The longest pause between two tries to connect.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How many accounts a server lists at a time.
const PAGE: usize = 500;

/// The subject that accounts' tokens are given to servers on.
const UPDATE: &str = "$SYS.REQ.CLAIMS.UPDATE";

/// Whether there is a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// There is none, and why.
    Down(String),
    /// There is one; counts how often it was made.
    Up(u64),
}

/// A stream as the servers report it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ReportedStream {
    pub(super) name: String,
    #[serde(default)]
    pub(super) config: Option<async_nats::jetstream::stream::Config>,
    #[serde(default)]
    pub(super) state: ReportedState,
    #[serde(default)]
    pub(super) consumer_detail: Vec<ReportedConsumer>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct ReportedState {
    #[serde(default)]
    pub(super) messages: u64,
    #[serde(default, rename = "first_seq")]
    pub(super) first: u64,
    #[serde(default, rename = "last_seq")]
    pub(super) last: u64,
}

/// A consumer as the servers report it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ReportedConsumer {
    #[serde(default)]
    config: ReportedConsumerConfig,
    #[serde(default)]
    num_ack_pending: u64,
    #[serde(default)]
    num_pending: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct ReportedConsumerConfig {
    #[serde(default)]
    durable_name: String,
}

impl ReportedStream {
    /// How many messages its reader has not acknowledged: the durable consumer that is farthest on counts. All, if there is
    /// none.
    pub(super) fn unread(&self) -> u64 {
        let durable = self.consumer_detail.iter().filter(|consumer| !consumer.config.durable_name.is_empty());
        let left = durable.map(|consumer| consumer.num_pending + consumer.num_ack_pending).min();
        left.unwrap_or(self.state.messages)
    }
}

/// A server that answered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) struct Server {
    pub(super) id: String,
    #[serde(default)]
    pub(super) name: String,
    #[serde(rename = "ver", default)]
    pub(super) version: String,
}

#[derive(Deserialize)]
struct Answer<T> {
    server: Server,
    data: Option<T>,
    error: Option<AnswerError>,
}

#[derive(Deserialize)]
struct AnswerError {
    #[serde(default)]
    description: String,
}

#[derive(Deserialize)]
struct Updated {
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct Statistics {
    server: Server,
    #[serde(default)]
    statsz: Active,
}

#[derive(Default, Deserialize)]
struct Active {
    #[serde(default)]
    active_servers: usize,
}

#[derive(Deserialize)]
struct Variables {
    #[serde(default)]
    trusted_operators_claim: Vec<TrustedOperator>,
}

#[derive(Deserialize)]
struct TrustedOperator {
    #[serde(default)]
    sub: String,
}

#[derive(Deserialize)]
struct Streams {
    #[serde(default)]
    account_details: Vec<AccountStreams>,
    #[serde(default)]
    accounts: usize,
}

#[derive(Deserialize)]
struct AccountStreams {
    id: String,
    #[serde(default)]
    stream_detail: Vec<ReportedStream>,
}

/// Streams by name, by the public key of their account.
pub(super) type StreamsByAccount = BTreeMap<String, BTreeMap<String, ReportedStream>>;

/// The connection to the system account. Clones share it.
#[derive(Clone)]
pub(super) struct System {
    client: Client,
    link: watch::Receiver<Link>,
}

impl System {
    /// Begins to connect to these servers, and goes on for ever.
    pub(super) async fn connect(
        url: &str,
        keys: &OperatorKeys,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, NatsError> {
        let servers = addresses(url)?;
        let inbox = private_inbox(&*entropy);
        let (down, link) = watch::channel(Link::Down(NOT_YET.to_owned()));
        let keys = Arc::new(keys.clone());
        let prefix = inbox.clone();
        let options = ConnectOptions::with_auth_callback(move |nonce| {
            let (keys, clock, entropy, inbox) = (keys.clone(), clock.clone(), entropy.clone(), inbox.clone());
            async move {
                let (user, token) = keys
                    .system_user(clock.now(), &inbox, &*entropy)
                    .map_err(|error| AuthError::new(error.to_string()))?;
                sign_in(&user, token, &nonce)
            }
        });
        let down = Arc::new(down);
        let options = options
            .name("tenure")
            .custom_inbox_prefix(prefix)
            .connection_timeout(CONNECT_TIMEOUT)
            .request_timeout(Some(ANSWER_TIMEOUT))
            .ping_interval(PING_EVERY)
            .retry_on_initial_connect()
            .max_reconnects(None)
            .reconnect_delay_callback(|tries| {
                let pause = 100_u64.saturating_mul(1 << tries.min(6));
                Duration::from_millis(pause).min(LONGEST_PAUSE)
            })
            .event_callback(move |event| {
                let down = down.clone();
                async move { note(&down, &event) }
            });
        let client = timeout(CONNECT_TIMEOUT * 2, options.connect(servers))
            .await
            .map_err(|_| NatsError::Silent("connecting"))?
            .map_err(|error| NatsError::Disconnected(error.to_string()))?;
        Ok(Self { client, link })
    }

    /// Whether there is a connection, as it changes.
    pub(super) fn link(&self) -> watch::Receiver<Link> {
        self.link.clone()
    }

    /// The number of the present connection.
    pub(super) fn generation(&self) -> Result<u64, NatsError> {
        match &*self.link.borrow() {
            Link::Up(generation) => Ok(*generation),
            Link::Down(reason) => Err(NatsError::Disconnected(reason.clone())),
        }
    }

    /// The tokens that nodes, this one among them, give to servers.
    pub(super) async fn watch_updates(&self) -> Result<async_nats::Subscriber, NatsError> {
        self.client.subscribe(UPDATE).await.map_err(|error| NatsError::Disconnected(error.to_string()))
    }

    /// Asks all servers, and waits for as many answers, or until none comes any more.
    async fn ask_all(
        &self,
        subject: String,
        body: Vec<u8>,
        expected: usize,
    ) -> Result<Vec<Message>, NatsError> {
        self.generation()?;
        let failed = |error: &dyn std::fmt::Display| NatsError::Disconnected(error.to_string());
        let inbox = self.client.new_inbox();
        let mut answers = self.client.subscribe(inbox.clone()).await.map_err(|error| failed(&error))?;
        let published = self.client.publish_with_reply(subject, inbox, body.into()).await;
        published.map_err(|error| failed(&error))?;
        let mut found = Vec::new();
        let until = tokio::time::Instant::now() + ANSWER_TIMEOUT;
        while found.len() < expected {
            match timeout_at(until, answers.next()).await {
                Ok(Some(answer)) if answer.status == Some(async_nats::StatusCode::NO_RESPONDERS) => break,
                Ok(Some(answer)) => found.push(answer),
                Ok(None) | Err(_) => break,
            }
        }
        Ok(found)
    }

    /// The servers that answer. Refused if one of them does not keep tenants apart.
    pub(super) async fn servers(&self) -> Result<BTreeSet<Server>, NatsError> {
        let mut expected = 1;
        // The first to answer knows how many there are.
        for _ in 0..2 {
            let answers = self.ask_all("$SYS.REQ.SERVER.PING".to_owned(), Vec::new(), expected).await?;
            let read: Vec<Statistics> = answers.iter().filter_map(parse).collect();
            let active = read.iter().map(|answer| answer.statsz.active_servers).max();
            let Some(active) = active else { return Err(NatsError::Silent("no server answered a ping")) };
            if read.len() >= active || expected > 1 {
                let servers: BTreeSet<Server> = read.into_iter().map(|answer| answer.server).collect();
                for server in &servers {
                    if !version::is_safe(&server.version) {
                        let (server, version) = (server.name.clone(), server.version.clone());
                        return Err(NatsError::Unsafe { server, version });
                    }
                }
                return Ok(servers);
            }
            expected = active;
        }
        Err(NatsError::Silent("no server answered a ping"))
    }

    /// The public keys of the operators whom all these servers trust.
    pub(super) async fn trusted_operators(&self, servers: usize) -> Result<BTreeSet<String>, NatsError> {
        let answers = self.ask_all("$SYS.REQ.SERVER.PING.VARZ".to_owned(), Vec::new(), servers).await?;
        let mut common: Option<BTreeSet<String>> = None;
        for answer in &answers {
            let Some(Answer::<Variables> { data: Some(data), .. }) = parse(answer) else { continue };
            let trusted = data.trusted_operators_claim.into_iter().map(|operator| operator.sub).collect();
            common = Some(match common {
                None => trusted,
                Some(common) => common.intersection(&trusted).cloned().collect(),
            });
        }
        common.ok_or(NatsError::Silent("no server told its operators"))
    }

    /// Gives a token to all servers. Each of these has to take it.
    pub(super) async fn push(&self, token: &str, servers: &BTreeSet<Server>) -> Result<(), NatsError> {
        let answers = self.ask_all(UPDATE.to_owned(), token.as_bytes().to_vec(), servers.len()).await?;
        let mut missing: BTreeSet<&str> = servers.iter().map(|server| server.id.as_str()).collect();
        for answer in &answers {
            let Some(Answer { server, data, error }) = parse::<Answer<Updated>>(answer) else { continue };
            if let Some(error) = error {
                return Err(NatsError::RefusedToken(error.description));
            }
            // A server that keeps accounts in memory alone says that it skipped the update.
            match data {
                Some(Updated { message }) if message == "jwt updated" => missing.remove(server.id.as_str()),
                Some(Updated { message }) => return Err(NatsError::RefusedToken(message)),
                None => false,
            };
        }
        if missing.is_empty() { Ok(()) } else { Err(NatsError::Silent("a server did not take a token")) }
    }

    /// The tokens of an account that these servers have; fewer than servers if one has none.
    pub(super) async fn tokens(&self, public_key: &str, servers: usize) -> Result<Vec<String>, NatsError> {
        let subject = format!("$SYS.REQ.ACCOUNT.{public_key}.CLAIMS.LOOKUP");
        let answers = self.ask_all(subject, Vec::new(), servers).await?;
        if answers.is_empty() {
            return Err(NatsError::Silent("no server told an account's token"));
        }
        let text = |answer: &Message| String::from_utf8_lossy(&answer.payload).into_owned();
        Ok(answers.iter().map(text).filter(|token| !token.is_empty()).collect())
    }

    /// The accounts that every one of these servers has.
    pub(super) async fn accounts(&self, servers: usize) -> Result<BTreeSet<String>, NatsError> {
        let answers = self.ask_all("$SYS.REQ.CLAIMS.LIST".to_owned(), Vec::new(), servers).await?;
        let mut common: Option<BTreeSet<String>> = None;
        for answer in &answers {
            let Some(Answer::<BTreeSet<String>> { data: Some(known), .. }) = parse(answer) else { continue };
            common = Some(match common {
                None => known,
                Some(common) => common.intersection(&known).cloned().collect(),
            });
        }
        common.ok_or(NatsError::Silent("no server listed its accounts"))
    }

    /// Asks the servers to give up accounts; the token of the request says which.
    pub(super) async fn delete(&self, request: &str, servers: usize) -> Result<(), NatsError> {
        let answers =
            self.ask_all("$SYS.REQ.CLAIMS.DELETE".to_owned(), request.as_bytes().to_vec(), servers).await?;
        for answer in &answers {
            if let Some(Answer::<Updated> { error: Some(error), .. }) = parse(answer) {
                return Err(NatsError::RefusedToken(error.description));
            }
        }
        if answers.len() < servers {
            return Err(NatsError::Silent("a server did not give up an account"));
        }
        Ok(())
    }

    /// The streams of all accounts, by the account's public key. Servers of a cluster report the streams that they hold.
    pub(super) async fn streams(&self, servers: usize) -> Result<StreamsByAccount, NatsError> {
        let mut found = BTreeMap::new();
        for offset in (0..).step_by(PAGE) {
            let wanted =
                json!({"accounts": true, "streams": true, "config": true, "offset": offset, "limit": PAGE});
            let most = self.report(&wanted, servers, &mut found).await?;
            if offset + PAGE >= most {
                break;
            }
        }
        Ok(found)
    }

    /// The streams of one account, with their consumers.
    pub(super) async fn streams_of(
        &self,
        public_key: &str,
        servers: usize,
    ) -> Result<BTreeMap<String, ReportedStream>, NatsError> {
        let mut found = BTreeMap::new();
        let wanted = json!({"account": public_key, "streams": true, "consumer": true, "config": true});
        self.report(&wanted, servers, &mut found).await?;
        Ok(found.remove(public_key).unwrap_or_default())
    }

    /// Adds what the servers report. Returns the most accounts that one of them has.
    async fn report(
        &self,
        wanted: &serde_json::Value,
        servers: usize,
        found: &mut StreamsByAccount,
    ) -> Result<usize, NatsError> {
        let body = wanted.to_string().into_bytes();
        let answers = self.ask_all("$SYS.REQ.SERVER.PING.JSZ".to_owned(), body, servers).await?;
        let mut most = None;
        for answer in &answers {
            let Some(Answer::<Streams> { data: Some(streams), .. }) = parse(answer) else { continue };
            most = most.max(Some(streams.accounts));
            for account in streams.account_details {
                let known = found.entry(account.id).or_default();
                for stream in account.stream_detail {
                    // Of several replicas, the one that is farthest on.
                    let behind = known
                        .get(&stream.name)
                        .is_none_or(|known| known.state.messages < stream.state.messages);
                    if behind {
                        known.insert(stream.name.clone(), stream);
                    }
                }
            }
        }
        most.ok_or(NatsError::Silent("no server reported its streams"))
    }
}

/// A connection to the system account of a log's operator, with what nodes may do there.
///
/// # Errors
/// [`NatsError`] if the operator was not made, or the servers cannot be reached or trust another one.
pub async fn system_client(tenure: &Tenure, url: &str) -> Result<Client, NatsError> {
    let keys = Store::new(tenure.clone()).keys().await?.ok_or(NatsError::NoOperator)?;
    let system = System::connect(url, &keys, tenure.clock(), tenure.entropy()).await?;
    let mut link = system.link();
    let up = link.wait_for(|link| matches!(link, Link::Up(_)));
    timeout(ANSWER_TIMEOUT, up)
        .await
        .map_err(|_| NatsError::Silent("connecting"))?
        .map_err(|_| NatsError::Silent("connecting"))?;
    Ok(system.client)
}

fn parse<T: DeserializeOwned>(message: &Message) -> Option<T> {
    serde_json::from_slice(&message.payload).ok()
}

/// Notes what happened to the connection.
fn note(link: &watch::Sender<Link>, event: &Event) {
    match event {
        Event::Connected => {
            static CONNECTIONS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
            let number = CONNECTIONS.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
            link.send_replace(Link::Up(number));
            tracing::info!("connected to NATS");
        }
        Event::Disconnected | Event::Closed => {
            link.send_replace(Link::Down("the connection was lost".to_owned()));
            tracing::warn!("disconnected from NATS");
        }
        Event::ServerError(error) => tracing::warn!(%error, "a NATS server refused something"),
        Event::ClientError(error) => {
            link.send_if_modified(|link| match link {
                Link::Down(reason) => {
                    *reason = error.to_string();
                    true
                }
                Link::Up(_) => false,
            });
            tracing::debug!(%error, "NATS");
        }
        Event::LameDuckMode | Event::Draining | Event::SlowConsumer(_) => tracing::debug!(%event, "NATS"),
    }
}

/// Signs the nonce of a server.
pub(super) fn sign_in(user: &nkeys::KeyPair, token: String, nonce: &[u8]) -> Result<Auth, AuthError> {
    let mut auth = Auth::new();
    auth.signature = Some(user.sign(nonce).map_err(|error| AuthError::new(error.to_string()))?);
    auth.jwt = Some(token);
    Ok(auth)
}

/// The servers of a URL, which may be several, separated by commas.
pub(super) fn addresses(url: &str) -> Result<Vec<async_nats::ServerAddr>, NatsError> {
    let parsed: Result<Vec<async_nats::ServerAddr>, _> =
        url.split(',').map(|url| url.trim().parse()).collect();
    parsed.map_err(|error: std::io::Error| NatsError::Disconnected(format!("NATS_URL: {error}")))
}

/// An inbox that no tenant may subscribe to.
pub(super) fn private_inbox(entropy: &dyn Entropy) -> String {
    let mut random = [0; 10];
    entropy.fill(&mut random);
    format!("_TENURE.{}", data_encoding::BASE32_NOPAD.encode(&random))
}
