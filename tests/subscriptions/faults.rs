//! Processes that are killed, stopped or abort, and a PostgreSQL that restarts, while slices are handled.

use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tenure::credentials::master_key::MasterKeySource;
use tenure::postgres::Address;
use tenure::postgres::private::{Options, PrivatePostgres, State};
use tenure::{Settings, Tenure};

use super::*;
use crate::support::server::Server;
use crate::support::{connect, master_key, open_with, process};

const LEASE: Duration = Duration::from_millis(1_500);

fn rounds() -> usize {
    std::env::var("TENURE_FAULT_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(3)
}

/// A handler that fails where the tables of the service say so, and takes its time now and then, so that a kill meets it at
/// different places.
#[derive(Clone)]
struct Slow<H>(H);

fn pause(event: &RecordedEvent) -> Duration {
    Duration::from_millis(if event.position % 7 == 0 { 3 } else { 0 })
}

impl TransactionalHandler for Slow<Table> {
    async fn handle(
        &self,
        events: &[Arc<RecordedEvent>],
        delivery: &Delivery,
        transaction: &Transaction<'_>,
    ) -> Result<(), Failure> {
        self.0.handle(events, delivery, transaction).await?;
        for event in events {
            tokio::time::sleep(pause(event)).await;
        }
        Ok(())
    }
}

impl EffectHandler for Slow<Elsewhere> {
    async fn handle(&self, event: &RecordedEvent, delivery: &Delivery) -> Result<(), Failure> {
        tokio::time::sleep(pause(event)).await;
        // A store that takes the fencing token keeps a holder out that was suspended past its lease.
        let sql = "insert into service.effect (key, position, stream, version, slice, lease_epoch)
                   select $1, $2, $3, $4, $5, $6
                   where $6 >= coalesce((select max(lease_epoch) from service.effect where slice = $5), 0)";
        let (key, stream) = (delivery.idempotency_key(event), event.stream.to_string());
        let slice = delivery.slice as i32;
        let address: Address = ADDRESS.get().unwrap().parse().unwrap();
        // A connection of its own for each effect: the store elsewhere does not share the fate of the log.
        let connected = address.config.connect(tokio_postgres::NoTls).await;
        let (client, connection) = connected.map_err(Failure::dependency)?;
        tokio::spawn(connection);
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
            [&key, &event.position, &stream, &event.version, &slice, &delivery.lease_epoch];
        let stored = client.execute(sql, &parameters).await?;
        tokio::time::sleep(pause(event)).await;
        if stored == 0 { Err(Failure::dependency("the slice has another holder")) } else { Ok(()) }
    }
}

static ADDRESS: std::sync::OnceLock<String> = std::sync::OnceLock::new();

/// The part of a subscriber; as a test of its own it has nothing to do. Its argument is the address, the file of the master
/// key, and the stream at which it aborts.
#[tokio::test(flavor = "multi_thread")]
async fn subscriber() {
    let Some(argument) = process::part("subscriber") else { return };
    let [address, key, aborts_at] = argument.split('\n').collect::<Vec<_>>().try_into().unwrap();
    ADDRESS.set(address.to_owned()).unwrap();
    let key = MasterKeySource { default_file: key.into(), ..MasterKeySource::default() };
    let tenure = open_with(Settings { connections: 6, ..Settings::new(address.parse().unwrap(), key) }).await;
    let subscription = |name| Subscription::new(name, 1).unwrap().slices(8).lease(LEASE);
    let client = Arc::new(connect(&address.parse().unwrap(), Some("tenure_app")).await);
    let (table, elsewhere) = (Table::default(), Elsewhere { script: Script::default(), client });
    table.script.set(aborts_at, Behaviour::EndsTheProcess);
    let in_table = subscription("table").start_transactional(&tenure, Slow(table)).await.unwrap();
    let effects = subscription("elsewhere").start_effects(&tenure, Slow(elsewhere)).await.unwrap();
    // Until its standard input ends.
    let _ = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await;
    in_table.stop().await;
    effects.stop().await;
    tenure.close().await;
}

fn start(address: &str, key: &std::path::Path, aborts_at: &str) -> Child {
    let argument = format!("{address}\n{}\n{aborts_at}", key.display());
    process::play("subscriptions::faults::subscriber", "subscriber", &argument)
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id() as i32), signal).unwrap();
}

/// Waits until both subscriptions have handled so many further events.
async fn until_handled(client: &Client, more: i64) {
    let sql = "select (select count(*) from service.seen), (select count(*) from service.effect)";
    let count = async || {
        let row = client.query_one(sql, &[]).await.unwrap();
        (row.get::<_, i64>(0), row.get::<_, i64>(1))
    };
    let (seen, effects) = count().await;
    let waited = Stopwatch::start();
    loop {
        let now = count().await;
        if now.0 >= seen + more && now.1 >= effects + more {
            return;
        }
        assert!(waited.elapsed() < PATIENCE, "no progress: {now:?} after {:?}", (seen, effects));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Asserts what holds after any crash: nothing is lost or swapped, the table has each event once, and the effects elsewhere
/// are repeated at most once for each takeover.
async fn check(client: &Client, tenure: &Tenure) {
    assert_handled(client, tenure, "seen", |_| true).await;
    let expected: Vec<i64> = history(tenure).await.iter().map(|event| event.position).collect();
    let mut effects = written(client, "effect").await;
    let all = effects.len();
    effects.sort_unstable();
    effects.dedup();
    assert_eq!(effects, expected, "every event has its effect");
    assert_order(client, "effect").await;
    let sql = "select sum(lease_epoch)::bigint from log.subscription_slice where subscription = 'elsewhere'";
    let takeovers: i64 = client.query_one(sql, &[]).await.unwrap().get(0);
    let repeated = (all - expected.len()) as i64;
    assert!(repeated <= takeovers, "{repeated} repetitions, {takeovers} takeovers");
    println!("{} events, {takeovers} takeovers, {repeated} effects repeated", expected.len());
    // A slice is never written by a holder after its successor has begun.
    for table in ["seen", "effect"] {
        let sql = format!(
            "select count(*) from (
                 select lease_epoch, max(lease_epoch) over (partition by slice order by number) as greatest
                 from service.{table}) rows
             where lease_epoch < greatest"
        );
        assert_eq!(
            client.query_one(&sql, &[]).await.unwrap().get::<_, i64>(0),
            0,
            "{table}: two holders at once"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_slices_survive_kills_restarts_and_a_holder_suspended_past_its_lease() {
    let directory = tempfile::tempdir().unwrap();
    let server = PrivatePostgres::start(Options { data_dir: directory.path().join("data"), bin_dir: None })
        .await
        .unwrap();
    let endpoint = server.endpoint();
    let address = Address::socket(&endpoint.socket_dir, endpoint.user, endpoint.database);
    let url =
        format!("host={} user={} dbname={}", endpoint.socket_dir.display(), endpoint.user, endpoint.database);
    let key = directory.path().join("master.key");
    let source = MasterKeySource { default_file: key.clone(), ..MasterKeySource::default() };
    let tenure = open_with(Settings { connections: 6, ..Settings::new(address.clone(), source) }).await;
    let client = connect(&address, None).await;
    client.batch_execute(TABLES).await.unwrap();
    let mut processes: Vec<Child> = (0..3).map(|_| start(&url, &key, "")).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (tenure, stop) = (tenure.clone(), stop.clone());
        tokio::spawn(async move {
            let mut number = 0;
            while !stop.load(Ordering::SeqCst) {
                // Commands are refused while PostgreSQL restarts.
                let name = format!("u{number}");
                let email = format!("{name}@people.example");
                let _ = tenure.insert_user(&crate::support::operator(), &name, &email, "internal").await;
                number += 1;
                tokio::time::sleep(Duration::from_millis(4)).await;
            }
        })
    };
    let mut client = client;
    for round in 0..rounds() {
        until_handled(&client, 60).await;
        // One is killed.
        let victim = round % 3;
        processes[victim].kill().unwrap();
        processes[victim].wait().unwrap();
        processes[victim] = start(&url, &key, "");
        until_handled(&client, 60).await;
        // One is stopped for longer than its lease, wherever it is just then, and goes on after others have taken over.
        let suspended = (round + 1) % 3;
        let taken_over = "select coalesce(sum(lease_epoch), 0)::bigint from log.subscription_slice";
        let before: i64 = client.query_one(taken_over, &[]).await.unwrap().get(0);
        signal(&processes[suspended], Signal::SIGSTOP);
        until(&client, &format!("select ({taken_over}) > {before}")).await;
        until_handled(&client, 60).await;
        signal(&processes[suspended], Signal::SIGCONT);
        until_handled(&client, 60).await;
        // PostgreSQL restarts: every lock of a session is gone.
        let mut state = server.state();
        let State::Running { pid } = *state.borrow_and_update() else { panic!("not running") };
        kill(Pid::from_raw(pid), if round % 2 == 0 { Signal::SIGKILL } else { Signal::SIGINT }).unwrap();
        let again = state.wait_for(|state| matches!(state, State::Running { pid: new } if *new != pid));
        tokio::time::timeout(PATIENCE, again).await.expect("PostgreSQL comes back").unwrap();
        client = connect(&address, None).await;
    }
    until_handled(&client, 60).await;
    stop.store(true, Ordering::SeqCst);
    writer.await.unwrap();
    until_current(&client, "table").await;
    until_current(&client, "elsewhere").await;
    check(&client, &tenure).await;
    assert_eq!(parked(&tenure, "table").await, []);
    assert_eq!(parked(&tenure, "elsewhere").await, []);
    for process in &mut processes {
        drop(process.stdin.take());
        assert!(process.wait().unwrap().success(), "it ends in order");
    }
    tenure.close().await;
    server.stop().await.unwrap();
}

/// Makes every commit of the service's table take longer than `seconds`.
async fn slow_commits(client: &Client, seconds: f64) {
    let sql = format!(
        "create function service.slow() returns trigger language plpgsql as
             $$ begin perform pg_sleep({seconds}); return null; end $$;
         create constraint trigger slow after insert on service.seen deferrable initially deferred
             for each row when (new.position % 5 = 0) execute function service.slow()"
    );
    client.batch_execute(&sql).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_takes_over_while_the_one_before_commits() {
    let database = TestDatabase::new().await;
    let client = make_tables(&database).await;
    slow_commits(&client, 0.4).await;
    let tenure = database.open().await;
    make_events(&tenure, "a", 6).await;
    let mut old = quick("table", 1).handler_timeout(Duration::from_secs(20));
    for version in 2..=4 {
        let running = old.start_transactional(&tenure, Table::default()).await.unwrap();
        until(&client, "select exists (select from pg_stat_activity where wait_event = 'PgSleep')").await;
        let new = quick("table", version).slices(version).handler_timeout(Duration::from_secs(20));
        new.start_transactional(&tenure, Table::default()).await.unwrap().stop().await;
        running.stop().await;
        make_events(&tenure, &format!("v{version}"), 4).await;
        old = new;
    }
    let running = old.start_transactional(&tenure, Table::default()).await.unwrap();
    until_current(&client, "table").await;
    assert_handled(&client, &tenure, "seen", |_| true).await;
    assert_eq!(parked(&tenure, "table").await, []);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_is_given_up_and_commits_after_all_is_not_repeated() {
    let database = TestDatabase::new().await;
    let client = make_tables(&database).await;
    slow_commits(&client, 0.5).await;
    let tenure = database.open().await;
    make_events(&tenure, "a", 4).await;
    let running = quick("table", 1).handler_timeout(Duration::from_millis(100));
    let running = running.start_transactional(&tenure, Table::default()).await.unwrap();
    until_current(&client, "table").await;
    assert_handled(&client, &tenure, "seen", |_| true).await;
    assert_eq!(parked(&tenure, "table").await, []);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_a_frozen_postgresql_delays_and_neither_repeats_nor_parks() {
    let server = Server::primary().await;
    let keys = tempfile::tempdir().unwrap();
    let source =
        MasterKeySource { default_file: keys.path().join("master.key"), ..MasterKeySource::default() };
    let address: Address = server.conninfo("tenure").parse().unwrap();
    let tenure = open_with(Settings { connections: 6, ..Settings::new(address, source) }).await;
    let client = server.connect_to("tenure").await;
    client.batch_execute(TABLES).await.unwrap();
    let running = quick("table", 1).slices(3).start_transactional(&tenure, Table::default()).await.unwrap();
    make_events(&tenure, "a", 20).await;
    server.freeze();
    // Longer than the lease, the handler's timeout and the timeout of a query.
    tokio::time::sleep(Duration::from_secs(7)).await;
    server.thaw();
    make_events(&tenure, "b", 5).await;
    until_current(&client, "table").await;
    assert_handled(&client, &tenure, "seen", |_| true).await;
    assert_eq!(parked(&tenure, "table").await, []);
    running.stop().await;
    tenure.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_refused_at_the_commit_is_the_events_fault() {
    let database = TestDatabase::new().await;
    let client = make_tables(&database).await;
    let tenure = database.open().await;
    let accounts = make_events(&tenure, "a", 3).await;
    let refused = stream(accounts[1]);
    let sql = format!(
        "create function service.refuse() returns trigger language plpgsql as
             $$ begin raise exception 'refused'; end $$;
         create constraint trigger refuse after insert on service.seen deferrable initially deferred
             for each row when (new.stream = '{refused}') execute function service.refuse()"
    );
    client.batch_execute(&sql).await.unwrap();
    let running = quick("table", 1).start_transactional(&tenure, Table::default()).await.unwrap();
    until_current(&client, "table").await;
    assert_handled(&client, &tenure, "seen", |event| event.stream.to_string() != refused).await;
    assert_eq!(parked(&tenure, "table").await.len(), 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_ends_the_process_is_parked_and_all_others_are_handled() {
    let database = TestDatabase::new().await;
    let client = make_tables(&database).await;
    let tenure = database.open().await;
    let accounts = make_events(&tenure, "a", 10).await;
    let aborts_at = stream(accounts[6]);
    let mut ended = 0;
    let mut process = start(&database.url(), &master_key().default_file, &aborts_at);
    until(&client, "select count(*) = 2 from log.subscription").await;
    let waited = Stopwatch::start();
    while parked(&tenure, "table").await.is_empty() {
        assert!(waited.elapsed() < PATIENCE, "never parked");
        if process.try_wait().unwrap().is_some() {
            ended += 1;
            process = start(&database.url(), &master_key().default_file, &aborts_at);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Once in a range, and then as often as deliveries are allowed.
    assert!((3..=5).contains(&ended), "{ended} processes ended");
    until_current(&client, "table").await;
    assert_handled(&client, &tenure, "seen", |event| event.stream.to_string() != aborts_at).await;
    let [(stream, failure, waiting)] = &parked(&tenure, "table").await[..] else { panic!("one stream") };
    assert_eq!((stream, *waiting), (&aborts_at, 3));
    assert!(failure.starts_with("the process ended while it handled the event"), "{failure}");
    // A release with the fault removed.
    process.kill().unwrap();
    process.wait().unwrap();
    let mut process = start(&database.url(), &master_key().default_file, "");
    Subscriptions::of(tenure.log()).unpark("table", None, &by()).await.unwrap();
    until(&client, "select not exists (select from log.parked_stream)").await;
    until_current(&client, "table").await;
    assert_handled(&client, &tenure, "seen", |_| true).await;
    drop(process.stdin.take());
    process.wait().unwrap();
}
