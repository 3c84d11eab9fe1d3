//! Durable subscriptions: services follow the log in order, through crashes, takeovers and failing events.

mod delivery;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tenure::Tenure;
use tenure::clock::Stopwatch;
use tenure::event_log::RecordedEvent;
use tenure::event_log::read::Filter;
use tenure::subscribers::{Delivery, EffectHandler, Failure, Running, Status, Subscription, TransactionalHandler};
use tokio::sync::Mutex;
use tokio_postgres::{Client, Transaction};

use crate::support::{TestDatabase, account, user};

const PATIENCE: Duration = Duration::from_secs(60);

/// The table of a service, in the database of the log. It refuses an event that it has already, and one that comes after a
/// later event of its stream.
const TABLE: &str = "
    create schema service;
    create table service.seen (
        position bigint primary key, event_id uuid not null unique, stream text not null, version bigint not null,
        slice int not null, lease_epoch bigint not null);
    create index on service.seen (stream, version);
    grant usage on schema service to tenure_app;
    grant select, insert on service.seen to tenure_app;";

async fn make_table(database: &TestDatabase) -> Client {
    let client = database.connect(None).await;
    client.batch_execute(TABLE).await.unwrap();
    client
}

/// Keeps the table.
struct Table;

impl TransactionalHandler for Table {
    async fn handle(
        &self,
        events: &[Arc<RecordedEvent>],
        delivery: &Delivery,
        transaction: &Transaction<'_>,
    ) -> Result<(), Failure> {
        write(events, delivery, transaction).await
    }
}

async fn write(
    events: &[Arc<RecordedEvent>],
    delivery: &Delivery,
    transaction: &Transaction<'_>,
) -> Result<(), Failure> {
    let positions: Vec<i64> = events.iter().map(|event| event.position).collect();
    let ids: Vec<_> = events.iter().map(|event| event.id.as_uuid()).collect();
    let streams: Vec<String> = events.iter().map(|event| event.stream.to_string()).collect();
    let versions: Vec<i64> = events.iter().map(|event| event.version).collect();
    let (slice, lease_epoch) = (delivery.slice as i32, delivery.lease_epoch);
    let sql = "insert into service.seen select p, i, s, v, $5, $6
               from unnest($1::bigint[], $2::uuid[], $3::text[], $4::bigint[]) as e (p, i, s, v)";
    transaction.execute(sql, &[&positions, &ids, &streams, &versions, &slice, &lease_epoch]).await?;
    Ok(())
}

/// Asserts that the table has the events that are selected, each once, in the order of their streams.
async fn assert_all_seen(client: &Client, tenure: &Tenure, selects: impl Fn(&RecordedEvent) -> bool) {
    let mut expected = Vec::new();
    let mut log = Box::pin(tenure.log().read(0, Filter::default()));
    while let Some(page) = futures::StreamExt::next(&mut log).await {
        expected.extend(page.unwrap().into_iter().filter(|event| selects(event)).map(|event| event.position));
    }
    let rows = client.query("select position from service.seen order by position", &[]).await.unwrap();
    let seen: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(seen, expected);
}

/// Waits until a query returns true.
async fn until(client: &Client, sql: &str) {
    let waited = Stopwatch::start();
    while !client.query_one(sql, &[]).await.unwrap().get::<_, bool>(0) {
        assert!(waited.elapsed() < PATIENCE, "never: {sql}");
        tokio::task::yield_now().await;
    }
}

/// Waits until all slices of a subscription have come to a position, and nothing is unparked and not yet handled.
async fn until_at(client: &Client, name: &str, position: i64) {
    let sql = format!(
        "select min(position) >= {position} and not exists (
             select from log.parked_stream where subscription = '{name}' and released_at is not null)
         from log.subscription_slice where subscription = '{name}'"
    );
    until(client, &sql).await;
}
