//! Databases that cannot be used: silent, a replica, read-only, not to be written to, behind the wrong pooler. What is
//! wrong is said, with an exit code, within seconds; and a node that runs on one says so at `/readyz`.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::StatusCode;
use tenure::clock::Stopwatch;

use crate::http::{Server as Node, answer};
use crate::support::TestDatabase;
use crate::support::server::{Server, run_as_service};
use crate::support::switch::Switch;

/// How long any command may take to give up.
const PATIENCE: Duration = Duration::from_secs(15);

fn tenure(url: &str, directory: &std::path::Path, arguments: &[&str]) -> Command {
    let mut command = crate::support::process::tenure();
    command
        .args(arguments)
        .args(["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"])
        .env("DATABASE_URL", url)
        .env("TENURE_DATA_DIR", directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs a command that has to end by itself.
fn outcome(url: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let directory = tempfile::tempdir().unwrap();
    let started = Stopwatch::start();
    let Output { status, stdout, stderr } = tenure(url, directory.path(), arguments).output().unwrap();
    assert!(started.elapsed() < PATIENCE, "{arguments:?}: {:?}", started.elapsed());
    (status.code(), [stdout, stderr].iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect())
}

/// Waits until a node is not ready, which must not take longer than this, and returns what it says then.
async fn not_ready(node: &Node, within: Duration) -> serde_json::Value {
    let state = async {
        loop {
            let readiness = answer(node.get("/readyz")).await;
            if readiness.status == 503 {
                return readiness.json();
            }
        }
    };
    tokio::time::timeout(within, state).await.expect("not ready in time")
}

/// Waits until a node is ready.
async fn ready(node: &Node) {
    let well = async { while answer(node.get("/readyz")).await.status != 200 {} };
    tokio::time::timeout(PATIENCE, well).await.expect("ready");
}

/// Within which a node is not ready whose database cannot be used.
const SOON: Duration = Duration::from_secs(2);

const COMMANDS: [(&[&str], i32); 5] = [
    (&["serve"], 5),
    (&["migrate"], 5),
    (&["user", "show", "ada"], 5),
    (&["log", "new-epoch", "--yes"], 5),
    (&["doctor"], 1),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_accepts_and_never_speaks_is_given_up_in_seconds() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // The kernel accepts, and nobody ever reads.
    std::thread::scope(|scope| {
        for tls in ["disable", "require"] {
            for (arguments, code) in COMMANDS {
                let url = format!("postgres://tenure@127.0.0.1:{port}/tenure?sslmode={tls}");
                scope.spawn(move || {
                    let (found, said) = outcome(&url, arguments);
                    assert_eq!(found, Some(code), "{arguments:?}: {said}");
                    assert!(said.contains("did not answer within 4 s"), "{arguments:?}: {said}");
                });
            }
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_a_start_that_waits() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!(
        "postgres://tenure@127.0.0.1:{}/tenure?connect_timeout=9",
        listener.local_addr().unwrap().port()
    );
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let directory = tempfile::tempdir().unwrap();
        let mut child = tenure(&url, directory.path(), &["serve"]).spawn().unwrap();
        // The start waits once it has connected.
        let (_waiting, _) = listener.accept().unwrap();
        let told = Stopwatch::start();
        kill(Pid::from_raw(child.id() as i32), signal).unwrap();
        let status = child.wait().unwrap();
        assert!(told.elapsed() < Duration::from_secs(2), "{signal}: {:?}", told.elapsed());
        assert_eq!(status.code(), Some(0), "{signal}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_refused_by_name() {
    let primary = Server::primary().await;
    let key = tempfile::tempdir().unwrap();
    let url = |server: &Server| format!("postgres://tenure@127.0.0.1:{}/tenure", server.port);
    let migrated = tenure(&url(&primary), key.path(), &["migrate"]).output().unwrap();
    assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
    let standby = primary.standby().await;
    for (arguments, code) in COMMANDS {
        let (found, said) = outcome(&url(&standby), arguments);
        assert_eq!(found, Some(code), "{arguments:?}: {said}");
        assert!(said.contains("this is a replica; name the primary"), "{arguments:?}: {said}");
    }
    // Of several hosts the primary is found, wherever it stands in the list.
    let both = format!("postgres://tenure@127.0.0.1:{},127.0.0.1:{}/tenure", standby.port, primary.port);
    let listed = tenure(&both, key.path(), &["account", "list"]).output().unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_read_only_is_refused_by_name_and_makes_a_node_not_ready() {
    let database = TestDatabase::new().await;
    let node = Node::on(&database).await;
    answer(node.get("/readyz")).await.is(200);
    let admin = database.connect(None).await;
    let name = &database.name;
    admin
        .batch_execute(&format!("alter database {name} set default_transaction_read_only = on"))
        .await
        .unwrap();
    let others = "select pg_terminate_backend(pid) from pg_stat_activity
                  where datname = current_database() and pid <> pg_backend_pid()";
    admin.query(others, &[]).await.unwrap();
    let state = not_ready(&node, SOON).await;
    assert_eq!(state["postgres"]["state"], "read_only", "{state}");
    for (arguments, code) in COMMANDS {
        let (found, said) = outcome(&database.url(), arguments);
        assert_eq!(found, Some(code), "{arguments:?}: {said}");
        assert!(said.contains("default_transaction_read_only"), "{arguments:?}: {said}");
    }
}

/// The connection of the probe stays, and the position is the one that the node has seen.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_newest_event_was_replaced_is_not_ready() {
    let database = TestDatabase::new().await;
    let node = Node::on(&database).await;
    answer(node.get("/readyz")).await.is(200);
    let admin = database.connect(None).await;
    admin
        .batch_execute(
            "alter table log.event disable trigger refuse_change;
             update log.event set event_id = gen_random_uuid()
             where position = (select max(position) from log.event);
             alter table log.event enable trigger refuse_change",
        )
        .await
        .unwrap();
    let state = not_ready(&node, SOON).await;
    assert_eq!(state["postgres"]["state"], "stale", "{state}");
}

/// Commits wait for a synchronous standby that is gone, and for nothing that a statement could report.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_database_answers_but_stores_nothing_is_not_ready_until_it_does() {
    let server = Server::primary().await;
    let admin = server.connect_to("tenure").await;
    let keys = tempfile::tempdir().unwrap();
    let switch = Switch::to(server.port).await;
    let node = crate::primary::node(&switch, &keys).await;
    ready(&node).await;
    let reload = "select pg_reload_conf()";
    admin.batch_execute("alter system set synchronous_standby_names = 'gone'").await.unwrap();
    admin.batch_execute(reload).await.unwrap();
    // The node's row in `log.node` lasts 5 s.
    let state = not_ready(&node, Duration::from_secs(7)).await;
    assert_eq!(state["postgres"]["state"], "not_storing", "{state}");
    admin.batch_execute("alter system reset synchronous_standby_names").await.unwrap();
    admin.batch_execute(reload).await.unwrap();
    ready(&node).await;
}

/// As one that was suspended during a rotation: it refuses everybody new.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_lacks_the_master_key_of_the_log_is_not_ready_until_it_has_it() {
    let database = TestDatabase::new().await;
    let node = Node::on(&database).await;
    ready(&node).await;
    let admin = database.connect(None).await;
    admin
        .batch_execute(
            "create temp table was as select key_id from log.key_ring;
             update log.key_ring set key_id = 'another key'",
        )
        .await
        .unwrap();
    let state = not_ready(&node, SOON).await;
    assert_eq!(state["postgres"]["state"], "lacks_key", "{state}");
    admin.batch_execute("update log.key_ring set key_id = (select key_id from was)").await.unwrap();
    ready(&node).await;
}

/// A database without a log is no outage.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_a_log_is_named_as_one() {
    let database = TestDatabase::empty().await;
    let (code, said) = outcome(&database.url(), &["log", "new-epoch", "--yes"]);
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("holds no log"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_may_not_write_is_refused_by_name() {
    let database = TestDatabase::new().await;
    let admin = database.connect(None).await;
    let reader = format!("reader_{}", database.name);
    admin
        .batch_execute(&format!(
            "create role {reader} login; grant usage on schema log, view, coarse to {reader};
             grant select on all tables in schema log, view, coarse to {reader}"
        ))
        .await
        .unwrap();
    let url = database.url().replace("user=tenure", &format!("user={reader}"));
    for (arguments, code) in [(&["serve"][..], 5), (&["user", "show", "ada"][..], 5), (&["doctor"][..], 1)] {
        let (found, said) = outcome(&url, arguments);
        assert_eq!(found, Some(code), "{arguments:?}: {said}");
        assert!(said.contains("may not write"), "{arguments:?}: {said}");
    }
    admin.batch_execute(&format!("drop owned by {reader}; drop role {reader}")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_may_serve_and_nothing_more_serves_a_database_that_is_up_to_date() {
    let database = TestDatabase::new().await;
    let admin = database.connect(None).await;
    let name = format!("app_{}", database.name);
    admin.batch_execute(&format!("create role {name} login; grant tenure_app to {name}")).await.unwrap();
    let mut address = database.address.clone();
    address.config.user(&name);
    let tenure = crate::support::open_with(tenure::Settings { address, ..database.settings() }).await;
    crate::support::user(&tenure, "ada").await;
    tenure.close().await;
    admin.batch_execute(&format!("drop owned by {name}; drop role {name}")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_projections_were_replaced_or_that_lost_its_rights_is_not_ready_at_once() {
    let database = TestDatabase::new().await;
    let node = Node::on(&database).await;
    let admin = database.connect(None).await;
    for (damage, mend, state) in [
        (
            "update log.head set projection_set = 'users:999'",
            "update log.head set projection_set = (select set from was)",
            "superseded",
        ),
        (
            "revoke insert on log.event from tenure_app",
            "grant insert on log.event to tenure_app",
            "may_not_write",
        ),
        (
            "revoke insert on view.users from tenure_app",
            "grant insert on view.users to tenure_app",
            "may_not_write",
        ),
        (
            "revoke usage on schema coarse from tenure_app",
            "grant usage on schema coarse to tenure_app",
            "may_not_write",
        ),
    ] {
        admin
            .batch_execute(
                "create temp table if not exists was as select projection_set as set from log.head",
            )
            .await
            .unwrap();
        answer(node.get("/readyz")).await.is(200);
        admin.batch_execute(damage).await.unwrap();
        let since = Stopwatch::start();
        let seen = loop {
            let readiness = answer(node.get("/readyz")).await;
            if readiness.status == 503 {
                break readiness.json();
            }
            assert!(since.elapsed() < Duration::from_secs(1), "still ready after {:?}", since.elapsed());
        };
        assert_eq!(seen["postgres"]["state"], state, "{seen}");
        admin.batch_execute(mend).await.unwrap();
        let well = async { while answer(node.get("/readyz")).await.status != 200 {} };
        tokio::time::timeout(Duration::from_secs(2), well).await.expect("ready again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_is_asked_of_the_database_a_few_times_a_second_however_many_ask() {
    let database = TestDatabase::new().await;
    let node = Node::on(&database).await;
    answer(node.get("/readyz")).await.is(200);
    let asked = "select xact_commit from pg_stat_database where datname = current_database()";
    let admin = database.connect(None).await;
    admin.batch_execute("set stats_fetch_consistency = none").await.unwrap();
    let before: i64 = admin.query_one(asked, &[]).await.unwrap().get(0);
    let started = Stopwatch::start();
    let requests = (0..2_000).map(|_| async { answer(node.get("/readyz")).await.status });
    let said = futures::future::join_all(requests).await;
    // All of this is one process: the probe may get its turn too late, and then says so.
    let known = [StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE];
    assert!(said.iter().all(|status| known.contains(status)) && said.contains(&StatusCode::OK), "{said:?}");
    let after: i64 = admin.query_one(asked, &[]).await.unwrap().get(0);
    let windows = started.elapsed().as_millis() as i64 / 250 + 1;
    // Statistics come late, and others ask too: far fewer than one for each request all the same.
    assert!(after - before < 20 * windows + 100, "{} transactions in {windows} windows", after - before);
}

/// `PgBouncer` in front of a server, as the package of the distribution has it.
struct Pooler {
    port: u16,
    _directory: tempfile::TempDir,
    child: std::process::Child,
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

async fn pooler(server: &Server, mode: &str) -> Pooler {
    let directory = run_as_service::directory();
    let port = run_as_service::free_port();
    let path = directory.path().join("pgbouncer.ini");
    let mut file = std::fs::File::create(&path).unwrap();
    write!(
        file,
        "[databases]\n* = host=127.0.0.1 port={} user=tenure\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
         unix_socket_dir =\nauth_type = any\npool_mode = {mode}\nlogfile = {}\n",
        server.port,
        directory.path().join("log").display()
    )
    .unwrap();
    run_as_service::own(&path);
    // Debian's place for it is not on everybody's PATH.
    let debian = "/usr/sbin/pgbouncer";
    let program = if std::path::Path::new(debian).exists() { debian } else { "pgbouncer" };
    let child = run_as_service::command(program).arg(&path).stderr(Stdio::null()).spawn().unwrap();
    let ready = async { while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {} };
    tokio::time::timeout(PATIENCE, ready).await.expect("the pooler starts");
    Pooler { port, _directory: directory, child }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_in_transaction_mode_is_recognised_and_one_that_keeps_sessions_is_fine() {
    let server = Server::primary().await;
    for (mode, code) in [("transaction", 5), ("statement", 5), ("session", 0)] {
        let pooler = pooler(&server, mode).await;
        let url = format!("postgres://tenure@127.0.0.1:{}/tenure?sslmode=disable", pooler.port);
        let (found, said) = outcome(&url, &["migrate"]);
        assert_eq!(found, Some(code), "{mode}: {said}");
        assert_eq!(said.contains("set pool_mode = session"), code == 5, "{mode}: {said}");
        let (_, said) = outcome(&url, &["doctor"]);
        assert_eq!(said.contains("set pool_mode = session"), code == 5, "{mode}: {said}");
    }
}

/// An address that leads to a server, and falls silent after the client has sent so many chunks.
async fn silent_after(chunks: usize, port: u16) -> u16 {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().port();
    let left = Arc::new(AtomicUsize::new(chunks));
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let Ok(mut server) = tokio::net::TcpStream::connect(("127.0.0.1", port)).await else { return };
            let left = left.clone();
            tokio::spawn(async move {
                let (mut from_client, mut from_server) = (vec![0; 65_536], vec![0; 65_536]);
                loop {
                    let is_silent = || left.load(Ordering::SeqCst) == 0;
                    tokio::select! {
                        read = client.read(&mut from_client) => {
                            let Ok(read @ 1..) = read else { return };
                            let _ = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| Some(left.saturating_sub(1)));
                            if !is_silent() && server.write_all(&from_client[..read]).await.is_err() {
                                return;
                            }
                        }
                        read = server.read(&mut from_server) => {
                            let Ok(read @ 1..) = read else { return };
                            if !is_silent() && client.write_all(&from_server[..read]).await.is_err() {
                                return;
                            }
                        }
                    }
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_start_ends_wherever_the_server_falls_silent() {
    let server = Server::primary().await;
    let key = tempfile::tempdir().unwrap();
    let migrate = |port: u16| {
        tenure(
            &format!("postgres://tenure@127.0.0.1:{port}/tenure?sslmode=disable"),
            key.path(),
            &["migrate"],
        )
    };
    let migrated = migrate(server.port).output().unwrap();
    assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
    let mut starting = Vec::new();
    for chunks in (1..160).step_by(7) {
        let port = silent_after(chunks, server.port).await;
        starting.push((chunks, migrate(port).spawn().unwrap()));
    }
    let started = Stopwatch::start();
    let (mut given_up, mut done) = (0, 0);
    for (chunks, mut child) in starting {
        let code = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status.code();
            }
            assert!(
                started.elapsed() < Duration::from_secs(45),
                "silent after {chunks} chunks: it still waits"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        match code {
            Some(5) => given_up += 1,
            Some(0) => done += 1,
            code => panic!("silent after {chunks} chunks: exit code {code:?}"),
        }
    }
    assert!(given_up > 10, "{given_up} were given up, {done} were done before the silence");
}
