//! Starting: on what a node refuses to run, and what it says.

use std::sync::Arc;
use std::time::Duration;

use tenure::clock::SystemClock;
use tenure::codec::CodecError;
use tenure::dispatch::{DispatchError, Failure};
use tenure::engine::OpenError;
use tenure::entropy::OsEntropy;
use tenure::event_log::upcast::Upcasters;
use tenure::event_log::{AppendError, ReadError};
use tenure::postgres::migrate::{MigrateError, Replacing, newest_version};
use tenure::postgres::{Address, Database};
use tenure::{Settings, Tenure};

use crate::support::{TestDatabase, account, operator, user};

async fn open(settings: Settings) -> Result<Tenure, OpenError> {
    Tenure::open(settings, Arc::new(SystemClock), Arc::new(OsEntropy::default())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_schema_is_refused_with_both_versions_named() {
    let database = TestDatabase::new().await;
    let client = database.connect(None).await;
    client
        .batch_execute("insert into log.schema_history (version, name, applied_on, checksum) values (999, 'future', '2030-01-01T00:00:00Z', '1')")
        .await
        .unwrap();
    // One whose release says that this one may still serve is no reason to stay away: old nodes restart during an upgrade.
    open(database.settings()).await.unwrap().close().await;
    // But it does not take back what the later release has made.
    let set = "create temporary table was as select projection_set from log.head; update log.head set projection_set = 'users:0'";
    client.batch_execute(set).await.unwrap();
    let error = open(database.settings()).await.err().unwrap();
    assert!(matches!(&error, OpenError::Migrate(MigrateError::NewerProjections { .. })), "{error}");
    client
        .batch_execute("update log.head set projection_set = (select projection_set from was)")
        .await
        .unwrap();
    client.batch_execute("update log.head set serves_from = 999").await.unwrap();
    let error = open(database.settings()).await.err().unwrap();
    assert!(
        matches!(&error, OpenError::Migrate(MigrateError::NewerSchema { database: 999, binary }) if *binary == newest_version())
    );
    let text = error.to_string();
    assert!(text.contains("999") && text.contains(&newest_version().to_string()), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn projections_are_not_replaced_under_nodes_that_cannot_drain_nor_those_of_a_newer_release() {
    let database = TestDatabase::new().await;
    let client = database.connect(None).await;
    // A node of a release that has no row in `log.node`.
    client
        .batch_execute(
            "set application_name = 'tenure follower'; update log.head set projection_set = 'users:0'",
        )
        .await
        .unwrap();
    let error = open(database.settings()).await.err().unwrap();
    assert!(
        matches!(&error, OpenError::Migrate(MigrateError::NodesRunning { database, .. }) if database == "users:0"),
        "{error}"
    );
    assert!(error.to_string().contains("stop all nodes, then run `tenure migrate`"), "{error}");
    client
        .batch_execute("set application_name = ''; update log.head set projection_set = 'users:999'")
        .await
        .unwrap();
    let error = open(database.settings()).await.err().unwrap();
    assert!(
        matches!(&error, OpenError::Migrate(MigrateError::NewerProjections { .. }))
            && error.to_string().contains("rebuild"),
        "{error}"
    );
    // Unless somebody says so: that is the way back.
    open(tenure::Settings { replacing: Replacing::Always, ..database.settings() })
        .await
        .unwrap()
        .close()
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_replaces_no_projections_that_nodes_serve_and_a_node_that_is_gone_stops_no_upgrade() {
    let database = TestDatabase::new().await;
    let client = database.connect(None).await;
    // The connection of a node that has died without a word, or is frozen: its row has expired.
    client
        .batch_execute(
            "set application_name = 'tenure node'; update log.head set projection_set = 'users:0';
             insert into log.node (id, projection_set, expires_at, listens_as)
             values (gen_random_uuid(), 'users:0', clock_timestamp() + interval '1 hour', 'tenure node')",
        )
        .await
        .unwrap();
    let command = || Settings { replacing: Replacing::IfUnused, ..database.settings() };
    let error = open(command()).await.err().unwrap();
    assert!(
        matches!(&error, OpenError::Migrate(MigrateError::NodesServing { database, nodes: 1 }) if database == "users:0"),
        "{error}"
    );
    let said = crate::support::process::tenure()
        .args(["user", "show", "ada"])
        .env("DATABASE_URL", database.url())
        .env("TENURE_MASTER_KEY_FILE", crate::support::master_key().default_file)
        .output()
        .unwrap();
    assert_eq!(said.status.code(), Some(5), "{}", String::from_utf8_lossy(&said.stderr));
    client.batch_execute("update log.node set expires_at = clock_timestamp()").await.unwrap();
    open(command()).await.unwrap().close().await;
}

/// A server compiles code for a statement whose cost it takes for enormous, which takes it half a second of CPU time: on a busy machine,
/// a probe that is compiled is never answered in time.
#[tokio::test(flavor = "multi_thread")]
async fn no_connection_has_its_queries_compiled_or_run_by_workers() {
    let database = TestDatabase::new().await;
    let compiles = "do $$ begin
        execute format('alter database %I set jit = on', current_database());
        execute format('alter database %I set max_parallel_workers_per_gather = 2', current_database()); end $$";
    database.connect(None).await.batch_execute(compiles).await.unwrap();
    let target = Database::new(&database.address, None).unwrap();
    let settings =
        "select current_setting('jit') || ' ' || current_setting('max_parallel_workers_per_gather')";
    for connection in [target.connect("primary", "").await, target.connect_to_any("any", "").await] {
        let set: String = connection.unwrap().client.query_one(settings, &[]).await.unwrap().get(0);
        assert_eq!(set, "off 0");
    }
    assert_eq!(
        database.connect(None).await.query_one(settings, &[]).await.unwrap().get::<_, String>(0),
        "on 2"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_never_answers_keeps_nobody_who_has_little_time_from_the_next_one() {
    let database = TestDatabase::new().await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let live = database.url().replace("postgres://", "");
    let query = live.split_once('?').map(|(_, query)| query.to_owned()).unwrap_or_default();
    let socket = database.socket_dir().display().to_string();
    let port = database.address.config.get_ports().first().copied().unwrap_or(5_432);
    let user = database.address.config.get_user().unwrap_or("tenure").to_owned();
    let text = format!(
        "host=127.0.0.1,{socket} port={},{port} user={user} dbname={} connect_timeout=10",
        silent.local_addr().unwrap().port(),
        database.name
    );
    let address: Address = text.parse().unwrap_or_else(|error| panic!("{text} ({query}): {error}"));
    let two = Database::new(&address, None).unwrap();
    let within = |time| tokio::time::timeout(time, two.connect("test", ""));
    assert!(within(Duration::from_millis(500)).await.is_err(), "the first host is tried first");
    within(Duration::from_secs(5)).await.expect("the second host").unwrap();
    // And stays the first choice.
    within(Duration::from_secs(5)).await.expect("the second host").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn starting_twice_changes_nothing() {
    let database = TestDatabase::new().await;
    let first = database.open().await;
    let log_id = first.log().log_id();
    first.close().await;
    let second = database.open().await;
    assert_eq!((second.log().log_id(), second.log().newest().await.unwrap()), (log_id, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_not_utf8_is_refused() {
    let database = TestDatabase::empty().await;
    let client = database.connect(None).await;
    let name = format!("{}_latin", database.name);
    client
        .batch_execute(&format!("create database {name} encoding 'LATIN1' locale 'C' template template0"))
        .await
        .unwrap();
    let error = open(Settings { address: database.address.database(&name), ..database.settings() })
        .await
        .err()
        .unwrap();
    assert!(
        matches!(error, OpenError::Migrate(MigrateError::Encoding(ref found)) if found == "LATIN1"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_event_type_or_version_is_named_and_harms_no_other_stream() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let ada = user(&tenure, "ada").await;
    let acme = account(&tenure, "acme", ada).await;
    for (version, event_type, event_version) in
        [(2_i64, "account.teleported", "1"), (3, "account.closed", "9")]
    {
        let client = database.connect(None).await;
        client
            .execute(
                "insert into log.event select position + 1, $4, 'account', $1, $5, $2, $3, null, now() + interval '1 hour', '{}', '{}', null
                 from log.event order by position desc limit 1",
                &[&acme.to_string(), &event_type, &event_version, &uuid::Uuid::from_u128(version.unsigned_abs().into()), &version],
            )
            .await
            .unwrap();
    }
    let fresh = database.open().await;
    let error = fresh.add_member(&operator(), acme, ada).await.err().unwrap();
    let DispatchError::Failed(Failure::Codec(CodecError::Unreadable {
        position: 4,
        event_type,
        event_version,
        ..
    })) = &error
    else {
        panic!("{error}")
    };
    assert_eq!((event_type.as_str(), event_version.as_str()), ("account.teleported", "1"));
    assert!(error.to_string().contains("run the release that wrote it"), "{error}");
    user(&fresh, "bob").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_ends_every_holder_of_a_part_of_the_engine() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let (log, reader, clone) = (tenure.log().clone(), tenure.reader().clone(), tenure.clone());
    let mut follower = log.follow(0);
    follower.next().await.unwrap();
    let pages = log.read(0, tenure::event_log::read::Filter::default());
    let entropy = tenure.entropy();
    let store = tenure::event_log::foreign::ForeignStore::new(
        log.clone(),
        Upcasters::default(),
        tenure.clock(),
        entropy,
    );
    let accepted: Vec<_> = (0..50)
        .map(|number| {
            let tenure = clone.clone();
            tokio::spawn(async move {
                let name = format!("person-{number}");
                tenure.insert_user(&operator(), &name, "p@example.org", "internal").await
            })
        })
        .collect();
    let closing = tokio::time::timeout(std::time::Duration::from_secs(20), tenure.close());
    closing.await.expect("it returns although others hold parts of it");
    let mut stored = 0;
    for task in accepted {
        match task.await.unwrap() {
            Ok(_) => stored += 1,
            Err(DispatchError::Failed(Failure::Append(AppendError::Closed))) => {}
            Err(error) => panic!("{error}"),
        }
    }
    let late = clone.insert_user(&operator(), "late", "late@example.org", "internal").await;
    assert!(matches!(late, Err(DispatchError::Failed(Failure::Append(AppendError::Closed)))), "{late:?}");
    clone.close().await;
    let again = database.open().await;
    assert_eq!(
        again.log().newest().await.unwrap(),
        1 + stored,
        "what was accepted is stored, and nothing else"
    );
    drop((reader, follower, pages, store));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_beyond_the_newest_event_is_refused_and_not_waited_for() {
    let tenure = TestDatabase::new().await.open().await;
    let error = tenure.log().follow(500).next().await.err().unwrap();
    assert!(matches!(error, ReadError::BeyondHead { newest: 1, .. }), "{error}");
}
