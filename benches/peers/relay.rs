//! What the relay reaches and costs: how fast it catches up beside bare publishing, how soon after its commit an event is with a
//! consumer, and what writers lose by it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::{self, stream};
use async_nats::{Client, ConnectOptions, HeaderMap};
use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, AggregateError, DomainEvent, EventStore};
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use tenure::Tenure;
use tenure::clock::Stopwatch;
use tenure::context::{Actor, Context};
use tenure::event_log::foreign::ForeignStore;
use tenure::event_log::upcast::Upcasters;
use tenure::nats::private::PrivateNats;
use tenure::nats::{
    Nats, NatsSettings, NewPlatformUser, PlatformRights, RelayFrom, issue_platform_user, relay_stream_name,
};
use tokio::task::JoinSet;

use crate::server::Server;
use crate::subscribers::{Line, at_a_rate, line};

/// How many callers write while the relay is on and off.
const CALLERS: usize = 64;

/// Rounds with the relay and without.
const ROUNDS: usize = 5;

const WARM_UP: Duration = Duration::from_secs(1);
const COUNTED: Duration = Duration::from_secs(3);

/// How many messages of a bare publisher are under way, and how long they are.
const UNDER_WAY: usize = 1_024;
const PAYLOAD: usize = 200;

/// How many events a second are written while the delay is measured, and for how long.
const RATE: u64 = 1_000;
const SECONDS: u64 = 10;

/// A log with a NATS server of its own.
struct Relayed {
    tenure: Tenure,
    nats: PrivateNats,
    _dir: tempfile::TempDir,
}

impl Relayed {
    async fn new(server: &Server, database: &str) -> anyhow::Result<Self> {
        let tenure = server.tenure(database).await?;
        let dir = tempfile::tempdir()?;
        let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let nats = PrivateNats::start(&tenure, dir.path(), Some(any)).await?;
        Ok(Self { tenure, nats, _dir: dir })
    }

    fn relay(&self, from: RelayFrom) -> Nats {
        let mut settings = NatsSettings::new(self.nats.url());
        settings.relay.from = Some(from);
        settings.relay.public_foreign = vec![Meter::TYPE.to_owned()];
        Nats::start(self.tenure.clone(), settings)
    }

    async fn client(&self, rights: PlatformRights) -> anyhow::Result<Client> {
        let (name, by, ttl) = ("bench".to_owned(), "bench".to_owned(), Duration::from_hours(1));
        let issued = issue_platform_user(&self.tenure, &NewPlatformUser { name, rights, ttl, by }).await?;
        loop {
            let options = ConnectOptions::with_credentials(&issued.credentials)?;
            // The account is there once a node has given it to the server.
            if let Ok(client) = options.connect(self.nats.url()).await {
                return Ok(client);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn end(self) {
        self.nats.stop().await;
        self.tenure.close().await;
    }
}

/// Waits until the stream has all events, and returns their number.
async fn until_relayed(nats: &Nats) -> anyhow::Result<i64> {
    loop {
        let relay = nats.status().await?.relay;
        anyhow::ensure!(relay.stopped.is_none(), "{:?}", relay.stopped);
        if relay.lag == Some(0) {
            return Ok(relay.head);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Everything, on databases of its own.
pub async fn measure(server: &Server, events: u64, progress: impl Fn(&str)) -> anyhow::Result<Vec<Line>> {
    progress("relaying a log, and publishing bare messages");
    let mut all = catch_up(server, events).await?;
    progress("the delay until a consumer has an event, at 1,000 a second");
    all.extend(delay(server).await?);
    progress("writers with the relay and without");
    all.push(cost(server).await?);
    Ok(all)
}

/// Stores so many events of a foreign aggregate, whose payloads are as long as those of a bare publisher.
async fn store_events(tenure: &Tenure, events: u64) -> anyhow::Result<()> {
    let (clock, entropy) = (tenure.clock(), tenure.entropy());
    let store = ForeignStore::new(tenure.log().clone(), Upcasters::default(), clock, entropy);
    for batch in 0..events.div_ceil(1_000) {
        let reading = || Reading { text: "x".repeat(PAYLOAD - 11) };
        let context = EventStore::<Meter>::load_aggregate(&store, &format!("m{batch}")).await?;
        let commit = store.commit((0..1_000).map(|_| reading()).collect(), context, HashMap::new());
        let stored: Result<_, AggregateError<Nothing>> = commit.await;
        stored?;
    }
    Ok(())
}

/// A foreign aggregate.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Meter;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Reading {
    text: String,
}

#[derive(Debug, thiserror::Error)]
#[error("never refused")]
struct Nothing;

impl DomainEvent for Reading {
    fn event_type(&self) -> String {
        "read".to_owned()
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}

impl Aggregate for Meter {
    const TYPE: &'static str = "meter";
    type Command = ();
    type Event = Reading;
    type Error = Nothing;
    type Services = ();

    async fn handle(&mut self, (): (), (): &(), _: &EventSink<Self>) -> Result<(), Nothing> {
        Ok(())
    }

    fn apply(&mut self, _: Reading) {}
}

async fn catch_up(server: &Server, events: u64) -> anyhow::Result<Vec<Line>> {
    let relayed = Relayed::new(server, "relay_catch_up").await?;
    store_events(&relayed.tenure, events).await?;
    server.settle().await?;
    let watch = Stopwatch::start();
    let nats = relayed.relay(RelayFrom::Position(1));
    let count = until_relayed(&nats).await?;
    #[allow(clippy::cast_precision_loss)]
    let ours = count as f64 / watch.elapsed().as_secs_f64();
    let bare = publish_bare(&relayed, count, "bare", true).await?;
    let bodies = publish_bare(&relayed, count, "bodies", false).await?;
    nats.close().await;
    relayed.end().await;
    Ok(vec![
        line("relay_catch_up", ours.round(), "events/s", ">= 20000"),
        line("bare_jetstream_publishing", bare.round(), "messages/s", "-"),
        line("relay_against_bare", ours / bare, "of bare publishing", ">= 0.5"),
        line("bare_publishing_without_headers", bodies.round(), "messages/s", "-"),
        line("relay_against_bare_without_headers", ours / bodies, "of bare publishing", "-"),
    ])
}

/// Messages a second that the stock client publishes into an empty stream, with so many under way: bodies alone, or with an
/// identifier and the headers of a `CloudEvent`, as the relay's have.
async fn publish_bare(relayed: &Relayed, count: i64, name: &str, has_headers: bool) -> anyhow::Result<f64> {
    let client = relayed.client(PlatformRights::Manage).await?;
    let context = jetstream::new(client);
    let config = stream::Config {
        name: name.to_owned(),
        subjects: vec![format!("{name}.>")],
        duplicate_window: Duration::from_secs(1),
        ..stream::Config::default()
    };
    context.create_stream(config).await?;
    let watch = Stopwatch::start();
    let payload = bytes::Bytes::from(vec![b'x'; PAYLOAD]);
    let mut acknowledgements = futures::stream::iter(0..count)
        .map(|number| {
            let (context, payload) = (context.clone(), payload.clone());
            let headers = if has_headers { cloud_event(number) } else { HeaderMap::new() };
            let subject = format!("{name}.a{}.b.c", number % 1_000);
            async move { context.publish_with_headers(subject, headers, payload).await }
        })
        .buffered(1)
        .map(|sent| async move { anyhow::Ok(sent?.await?) })
        .buffered(UNDER_WAY);
    while let Some(acknowledged) = acknowledgements.next().await {
        acknowledged?;
    }
    #[allow(clippy::cast_precision_loss)]
    Ok(count as f64 / watch.elapsed().as_secs_f64())
}

/// The headers of a small event.
fn cloud_event(number: i64) -> HeaderMap {
    let id = uuid::Uuid::from_u128(number.unsigned_abs().into()).to_string();
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("Nats-Msg-Id", id.as_str()),
        ("ce-specversion", "1.0"),
        ("ce-id", id.as_str()),
        ("ce-source", "urn:uuid:00000000-0000-0000-0000-000000000000"),
        ("ce-type", "read"),
        ("ce-time", "2026-01-31T12:00:00.000001Z"),
        ("ce-version", "1"),
        ("ce-subject", "meter/m1"),
        ("ce-datacontenttype", "application/json"),
    ] {
        headers.insert(name, value);
    }
    headers
}

/// How long after the acknowledgement of a command a stock consumer has its event.
async fn delay(server: &Server) -> anyhow::Result<Vec<Line>> {
    let relayed = Relayed::new(server, "relay_delay").await?;
    let nats = relayed.relay(RelayFrom::Head);
    until_relayed(&nats).await?;
    let context = jetstream::new(relayed.client(PlatformRights::Subscribe).await?);
    let epoch = relayed.tenure.log().seen().get().epoch;
    let stream = context.get_stream(relay_stream_name(epoch)).await?;
    let config = pull::Config {
        ack_policy: AckPolicy::None,
        deliver_policy: DeliverPolicy::All,
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(config).await?;
    let mut messages = consumer.messages().await?;
    let watch = Arc::new(Stopwatch::start());
    let at: Arc<Mutex<HashMap<i64, Duration>>> = Arc::default();
    let (arrived, clock) = (at.clone(), watch.clone());
    let reading = tokio::spawn(async move {
        while let Some(Ok(message)) = messages.next().await {
            let position = message.info().map_or(0, |info| info.stream_sequence.cast_signed());
            if let Ok(mut all) = arrived.lock() {
                all.insert(position, clock.elapsed());
            }
        }
    });
    let acknowledged = at_a_rate(&relayed.tenure, &watch, RATE, SECONDS).await?;
    until_relayed(&nats).await?;
    tokio::time::sleep(Duration::from_millis(200)).await;
    reading.abort();
    nats.close().await;
    relayed.end().await;
    let at = at.lock().map_err(|_| anyhow::anyhow!("a reader has panicked"))?;
    let mut delays = Vec::new();
    for (position, told) in acknowledged {
        let came = at.get(&position).ok_or_else(|| anyhow::anyhow!("event {position} did not come"))?;
        delays.push(came.saturating_sub(told).as_secs_f64() * 1_000.0);
    }
    delays.sort_by(f64::total_cmp);
    let percentile = |percent: usize| delays[(delays.len() - 1) * percent / 100];
    Ok(vec![
        line("commit_to_consumer_p50", percentile(50), "ms", "<= 3"),
        line("commit_to_consumer_p99", percentile(99), "ms", "<= 15"),
    ])
}

/// The rate of writers with the relay, divided by that without. They open no accounts, which would have to be made at NATS.
async fn cost(server: &Server) -> anyhow::Result<Line> {
    let relayed = Relayed::new(server, "relay_cost").await?;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    write_for(&relayed.tenure, "warm", WARM_UP).await?;
    for round in 0..ROUNDS {
        without.push(write_for(&relayed.tenure, &format!("a{round}"), COUNTED).await?);
        let nats = relayed.relay(RelayFrom::Head);
        until_relayed(&nats).await?;
        with.push(write_for(&relayed.tenure, &format!("b{round}"), COUNTED).await?);
        until_relayed(&nats).await?;
        nats.close().await;
    }
    relayed.end().await;
    let median = |rates: &mut Vec<f64>| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    };
    let ratio = median(&mut with) / median(&mut without);
    Ok(line("writers_with_relay", ratio, "of those without", ">= 0.9"))
}

/// How many commands a second callers get done who write for so long.
async fn write_for(tenure: &Tenure, round: &str, time: Duration) -> anyhow::Result<f64> {
    let (mut callers, begun) = (JoinSet::new(), Arc::new(Stopwatch::start()));
    for caller in 0..CALLERS {
        let (tenure, begun, round) = (tenure.clone(), begun.clone(), round.to_owned());
        callers.spawn(async move {
            let (mut done, context) = (0_u32, Context::of(Actor::Operator));
            while begun.elapsed() < time {
                let name = format!("{round}-{caller}-{done}");
                tenure.insert_user(&context, &name, &format!("{name}@example.org"), "internal").await?;
                done += 1;
            }
            anyhow::Ok(done)
        });
    }
    let mut all = 0.0;
    while let Some(done) = callers.join_next().await {
        all += f64::from(done??);
    }
    Ok(all / begun.elapsed().as_secs_f64())
}
