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
use tenure::replay::RebuildError;
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
    // But it does not take back what the later release has made: neither its indexes and functions,
    client
        .batch_execute(
            "create index invites_deadbeef on view.invites (mode);
             update log.head set view_definition = 'of a later release'",
        )
        .await
        .unwrap();
    open(database.settings()).await.unwrap().close().await;
    let kept = "select to_regclass('view.invites_deadbeef') is not null and view_definition = 'of a later release' from log.head";
    assert!(client.query_one(kept, &[]).await.unwrap().get::<_, bool>(0));
    // nor its set.
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

/// The database behind hosts that accept connections and never say anything, with a common `connect_timeout`.
async fn behind_silent_hosts(database: &TestDatabase, silent: usize) -> Address {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    // Kept open until the test ends.
    std::mem::forget(listener);
    let live = database.address.config.get_ports().first().copied().unwrap_or(5_432);
    let user = database.address.config.get_user().unwrap_or("tenure").to_owned();
    let (hosts, ports) = ("127.0.0.1,".repeat(silent), format!("{port},").repeat(silent));
    let (socket, name) = (database.socket_dir().display().to_string(), &database.name);
    format!("host={hosts}{socket} port={ports}{live} user={user} dbname={name} connect_timeout=10")
        .parse()
        .unwrap()
}

/// The reading pool has less time than one host may take.
#[tokio::test(flavor = "multi_thread")]
async fn an_engine_starts_behind_hosts_that_never_answer_and_finds_the_primary_again() {
    let database = TestDatabase::new().await;
    let address = behind_silent_hosts(&database, 1).await;
    let tenure = open(Settings { address, ..database.settings() }).await.unwrap();
    let ada = user(&tenure, "ada").await;
    let client = database.connect(None).await;
    let cut = "select pg_terminate_backend(pid) from pg_stat_activity
               where datname = current_database() and pid <> pg_backend_pid()";
    client.query(cut, &[]).await.unwrap();
    let found = async { while tenure.reader().user(ada).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(15), found).await.expect("the primary is found again");
    tenure.close().await;
    // Two of them take longer than any caller waits.
    let address = behind_silent_hosts(&database, 2).await;
    let three = Database::new(&address, None).unwrap();
    three.connect_within(Duration::from_secs(3), "test", "").await.expect("all hosts share the time");
    let three = Database::new(&address, None).unwrap();
    let given_up = async || tokio::time::timeout(Duration::from_millis(500), three.connect("test", "")).await;
    for _ in 0..2 {
        assert!(given_up().await.is_err());
    }
    given_up().await.expect("whoever comes later begins at the host after the silent ones").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_never_answers_keeps_nobody_who_has_little_time_from_the_next_one() {
    let database = TestDatabase::new().await;
    let address = behind_silent_hosts(&database, 1).await;
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

/// The process that rebuilds is frozen, for example, and its server connections stay.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_does_not_wait_for_ever_for_a_rebuild_that_does_nothing() {
    let database = TestDatabase::new().await;
    let frozen = database.connect(None).await;
    frozen
        .batch_execute(&format!(
            "set application_name = 'tenure rebuild'; update log.head set projection_set = 'users:0';
             select pg_advisory_lock({})",
            tenure::event_log::drain::REBUILD_LOCK
        ))
        .await
        .unwrap();
    // PostgreSQL does not show another login what the sessions of this one do.
    let name = format!("other_{}", database.name);
    let create = format!("create role {name} login; grant tenure_owner, tenure_app to {name}");
    frozen.batch_execute(&create).await.unwrap();
    let mut of_other = database.address.clone();
    of_other.config.user(&name);
    for address in [database.address.clone(), of_other] {
        let settings = Settings { stalled_after: Duration::from_millis(500), address, ..database.settings() };
        let error = open(settings).await.err().unwrap();
        assert!(
            matches!(&error, OpenError::Rebuild(RebuildError::Running(who)) if who.contains("tenure rebuild")),
            "{error}"
        );
    }
    // One that works is waited for.
    let patient = open(Settings { stalled_after: Duration::from_secs(60), ..database.settings() });
    let freed = async {
        let client = database.connect(None).await;
        let waits = "select exists (select from pg_stat_activity where datname = current_database()
                                    and pid <> pg_backend_pid() and query like '%format(''process %s, %s''%')";
        while !client.query_one(waits, &[]).await.unwrap().get::<_, bool>(0) {
            tokio::task::yield_now().await;
        }
        frozen.batch_execute("select pg_advisory_unlock_all()").await.unwrap();
    };
    let freed = async {
        freed.await;
        Ok(())
    };
    let (opened, ()) = tokio::try_join!(patient, freed).unwrap();
    opened.close().await;
    frozen.batch_execute(&format!("drop owned by {name}; drop role {name}")).await.unwrap();
}

/// Nodes decide by the number of their migrations whose functions and indexes stay, while two releases run.
#[cfg(not(feature = "next-release"))]
#[test]
fn functions_and_indexes_change_with_a_migration() {
    let definition = tenure::postgres::migrate::definition_of(tenure::projections::TABLES);
    assert_eq!(
        (newest_version(), &*definition),
        (21, "843bb80a74e2579b02e3f7eaf4f7334c"),
        "functions, indexes or storage settings of the projections have changed: add a migration, which may be a comment, and note \
         both here"
    );
}

/// An operator's default must not change what a statement sees that has waited for the head lock.
#[tokio::test(flavor = "multi_thread")]
async fn a_default_isolation_of_the_database_changes_nothing() {
    let database = TestDatabase::new().await;
    let client = database.connect(None).await;
    let name = &database.name;
    let default = format!("alter database {name} set default_transaction_isolation = 'repeatable read'");
    client.batch_execute(&default).await.unwrap();
    let (one, two) = (database.open().await, database.open().await);
    let seed = tenure::seed::generate(&one, 20_000, 1, |_| ());
    let write = async {
        for number in 0..300 {
            user(&two, &format!("writer-{number}")).await;
        }
    };
    let (seeded, ()) = tokio::join!(seed, write);
    seeded.unwrap();
}
