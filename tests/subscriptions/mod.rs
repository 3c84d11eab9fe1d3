//! Durable subscriptions: services follow the log in order, through crashes, takeovers and failing events.

mod command_line;
mod delivery;
mod examples;
mod faults;
mod operating;
mod versions;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tenure::Tenure;
use tenure::clock::Stopwatch;
use tenure::event_log::RecordedEvent;
use tenure::ids::{AccountId, UserId};
use tenure::subscribers::{
    By, Delivery, EffectHandler, Failure, Status, Subscription, Subscriptions, TransactionalHandler,
};
use tokio_postgres::{Client, Transaction};

use crate::support::{TestDatabase, account, as_user, history, user};

const PATIENCE: Duration = Duration::from_secs(60);

/// The tables of a service. One is in the database of the log and refuses an event that it has already. The other stands
/// for a place elsewhere: it takes everything, as often as it comes.
const TABLES: &str = "
    create schema service;
    create table service.seen (
        number bigint generated always as identity, position bigint primary key, stream text not null,
        version bigint not null, slice int not null, lease_epoch bigint not null, subscription_version int not null);
    create table service.effect (
        number bigint generated always as identity, key text not null, position bigint not null, stream text not null,
        version bigint not null, slice int not null, lease_epoch bigint not null);
    grant usage on schema service to tenure_app;
    grant select, insert on service.seen, service.effect to tenure_app;";

async fn make_tables(database: &TestDatabase) -> Client {
    let client = database.connect(None).await;
    client.batch_execute(TABLES).await.unwrap();
    client
}

/// What a handler does with the events of a stream.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Behaviour {
    Refuses,
    Panics,
    Hangs,
    BlocksItsThread,
    FailsInSql,
    MissesADependency,
    EndsTheProcess,
}

/// Behaviours by stream, which the test changes while the handler runs.
#[derive(Clone, Default)]
struct Script(Arc<std::sync::Mutex<HashMap<String, Behaviour>>>);

impl Script {
    fn set(&self, stream: &str, behaviour: Behaviour) {
        self.0.lock().unwrap().insert(stream.to_owned(), behaviour);
    }

    fn clear(&self) {
        self.0.lock().unwrap().clear();
    }

    fn of(&self, event: &RecordedEvent) -> Option<Behaviour> {
        self.0.lock().unwrap().get(&event.stream.to_string()).copied()
    }

    async fn play(&self, event: &RecordedEvent) -> Result<(), Failure> {
        match self.of(event) {
            Some(Behaviour::Refuses) => Err(Failure::event("this address does not exist")),
            Some(Behaviour::Panics) => panic!("no such template"),
            Some(Behaviour::Hangs) => std::future::pending().await,
            Some(Behaviour::BlocksItsThread) => {
                std::thread::sleep(Duration::from_millis(700));
                Err(Failure::dependency("too late"))
            }
            Some(Behaviour::MissesADependency) => Err(Failure::dependency("the mail server is away")),
            Some(Behaviour::EndsTheProcess) => std::process::abort(),
            Some(Behaviour::FailsInSql) | None => Ok(()),
        }
    }
}

/// Keeps the table in the database of the log. The behaviour of a stream comes after its rows are written, so that a
/// transaction that is stored in part would show.
#[derive(Clone, Default)]
struct Table {
    script: Script,
    version: i32,
}

impl TransactionalHandler for Table {
    async fn handle(
        &self,
        events: &[Arc<RecordedEvent>],
        delivery: &Delivery,
        transaction: &Transaction<'_>,
    ) -> Result<(), Failure> {
        let positions: Vec<i64> = events.iter().map(|event| event.position).collect();
        let streams: Vec<String> = events.iter().map(|event| event.stream.to_string()).collect();
        let versions: Vec<i64> = events.iter().map(|event| event.version).collect();
        let (slice, lease_epoch) = (delivery.slice as i32, delivery.lease_epoch);
        let sql = "insert into service.seen (position, stream, version, slice, lease_epoch, subscription_version)
                   select p, s, v, $4, $5, $6 from unnest($1::bigint[], $2::text[], $3::bigint[]) as e (p, s, v)";
        transaction
            .execute(sql, &[&positions, &streams, &versions, &slice, &lease_epoch, &self.version])
            .await?;
        for event in events {
            self.script.play(event).await?;
            if self.script.of(event) == Some(Behaviour::FailsInSql) {
                // A handler that swallows its own error.
                let _ = transaction.batch_execute("select 1 / 0").await;
            }
        }
        Ok(())
    }
}

/// Has an effect elsewhere: over a connection of its own.
#[derive(Clone)]
struct Elsewhere {
    script: Script,
    client: Arc<Client>,
}

impl Elsewhere {
    async fn new(database: &TestDatabase) -> Self {
        Self { script: Script::default(), client: Arc::new(database.connect(Some("tenure_app")).await) }
    }
}

impl EffectHandler for Elsewhere {
    async fn handle(&self, event: &RecordedEvent, delivery: &Delivery) -> Result<(), Failure> {
        self.script.play(event).await?;
        let sql = "insert into service.effect (key, position, stream, version, slice, lease_epoch)
                   values ($1, $2, $3, $4, $5, $6)";
        let (key, stream) = (delivery.idempotency_key(event), event.stream.to_string());
        let slice = delivery.slice as i32;
        self.client
            .execute(sql, &[&key, &event.position, &stream, &event.version, &slice, &delivery.lease_epoch])
            .await?;
        Ok(())
    }
}

/// The positions of a table in the order in which they were written.
async fn written(client: &Client, table: &str) -> Vec<i64> {
    let sql = format!("select position from service.{table} order by number");
    client.query(&sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

/// Asserts that a table has the events that are selected, each once, and those of each stream in order.
async fn assert_handled(
    client: &Client,
    tenure: &Tenure,
    table: &str,
    selects: impl Fn(&RecordedEvent) -> bool,
) {
    let expected: Vec<i64> =
        history(tenure).await.iter().filter(|event| selects(event)).map(|event| event.position).collect();
    let mut handled = written(client, table).await;
    handled.sort_unstable();
    assert_eq!(handled, expected, "{table}");
    assert_order(client, table).await;
}

/// Asserts that the first rows of the events of each stream come in the order of the stream.
async fn assert_order(client: &Client, table: &str) {
    let sql = format!(
        "with first as (select stream, version, min(number) as number from service.{table} group by stream, version)
         select count(*) from first a join first b on b.stream = a.stream
         where a.version < b.version and a.number > b.number"
    );
    let swapped: i64 = client.query_one(&sql, &[]).await.unwrap().get(0);
    assert_eq!(swapped, 0, "{table}: pairs of one stream in the wrong order");
}

/// Waits until a query returns true.
async fn until(client: &Client, sql: &str) {
    let waited = Stopwatch::start();
    while !client.query_one(sql, &[]).await.unwrap().get::<_, bool>(0) {
        assert!(waited.elapsed() < PATIENCE, "never: {sql}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until all slices of a subscription have come to the newest event, and no unparked stream is left to handle.
async fn until_current(client: &Client, name: &str) {
    let sql = format!(
        "select min(s.position) >= (select max(position) from log.event) and not exists (
             select from log.parked_stream where subscription = '{name}' and released_at is not null)
         from log.subscription_slice s where subscription = '{name}'"
    );
    until(client, &sql).await;
}

/// Some accounts with events of their members, interleaved.
async fn make_events(tenure: &Tenure, prefix: &str, accounts: usize) -> Vec<AccountId> {
    let owner = user(tenure, &format!("{prefix}-owner")).await;
    let member = user(tenure, &format!("{prefix}-member")).await;
    let mut made = Vec::new();
    for number in 0..accounts {
        made.push(account(tenure, &format!("{prefix}-{number}"), owner).await);
    }
    more_events(tenure, owner, member, &made).await;
    made
}

/// Two further events for each account.
async fn more_events(tenure: &Tenure, owner: UserId, member: UserId, accounts: &[AccountId]) {
    for account in accounts {
        tenure.add_member(&as_user(owner), *account, member).await.unwrap();
    }
    for account in accounts {
        tenure.remove_member(&as_user(owner), *account, member).await.unwrap();
    }
}

fn stream(account: AccountId) -> String {
    format!("account/{account}")
}

fn by() -> By {
    By::new("a test", "to see what happens").unwrap()
}

/// The named streams that are parked, with their failures.
async fn parked(tenure: &Tenure, name: &str) -> Vec<(String, String, usize)> {
    let parked = Subscriptions::of(tenure.log()).parked(name, None, 1_000).await.unwrap();
    parked.into_iter().map(|parked| (parked.stream, parked.failure, parked.waiting)).collect()
}

fn is_running(status: &Status) -> bool {
    matches!(status, Status::Running { slices } if !slices.is_empty())
}

/// A subscription that notices everything soon.
fn quick(name: &str, version: u32) -> Subscription {
    let subscription = Subscription::new(name, version).unwrap();
    subscription.lease(Duration::from_secs(1)).handler_timeout(Duration::from_millis(300))
}
