//! Kills and cut connections: whatever was acknowledged is in the log once, with its rows, and nothing is half done.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tenure::Tenure;
use tenure::credentials::master_key::MasterKeySource;
use tenure::dispatch::{DispatchError, Failure};
use tenure::event_log::AppendError;
use tenure::ids::UserId;
use tenure::postgres::Address;
use tenure::postgres::private::{Options, PrivatePostgres, State};
use tenure::{Settings, projections::QueryError};

use crate::replay::assert_tables_are_a_fold_of_the_log;
use crate::support::proxy::{Cut, Proxy};
use crate::support::{TestDatabase, connect, history, master_key, open_with, operator, process};

const PATIENCE: Duration = Duration::from_secs(120);

/// How many rounds of each fault; the long form is `make faults`.
fn rounds() -> usize {
    std::env::var("TENURE_FAULT_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(3)
}

/// What a caller was told of one registration.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Stored(UserId, i64),
    NotStored,
    Unknown,
}

async fn register(tenure: &Tenure, name: &str) -> Told {
    match tenure.insert_user(&operator(), name, &format!("{name}@people.example"), "internal").await {
        Ok(done) => Told::Stored(done.answer, done.checkpoint.position),
        Err(DispatchError::Failed(Failure::Append(AppendError::OutcomeUnknown))) => Told::Unknown,
        Err(_) => Told::NotStored,
    }
}

/// Registers people one after another until told to stop; tells of each what it was told.
async fn keep_registering(
    tenure: Arc<Tenure>,
    who: usize,
    stop: Arc<AtomicBool>,
    tell: impl Fn(&str, &Told),
) {
    for number in 0.. {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let name = format!("p{}-{who}-{number}", std::process::id());
        let told = register(&tenure, &name).await;
        if told == Told::NotStored {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tell(&name, &told);
    }
}

/// Checks everything that was told against what is there.
async fn check(tenure: &Tenure, told: &HashMap<String, Told>) {
    let events = history(tenure).await;
    for (name, told) in told {
        let found = tenure.reader().user_by_username(name).await;
        match (told, found) {
            (Told::Stored(id, position), Ok(user)) => {
                assert_eq!((user.id, user.position), (*id, *position), "{name}");
                let of_user = events.iter().filter(|event| *event.stream.id == *id.to_string());
                assert_eq!(of_user.map(|event| event.position).collect::<Vec<_>>(), [*position], "{name}");
            }
            (Told::NotStored, Err(QueryError::NotFound))
            | (Told::Unknown, Ok(_) | Err(QueryError::NotFound)) => {}
            (told, found) => panic!("{name}: told {told:?}, found {found:?}"),
        }
    }
}

/// The part of the process that is killed; as a test of its own it has nothing to do.
#[tokio::test(flavor = "multi_thread")]
async fn killed_process() {
    let Some(address) = process::part("writer") else { return };
    let settings = Settings::new(address.parse().unwrap(), master_key());
    let tenure = Arc::new(open_with(settings).await);
    let stop = Arc::new(AtomicBool::new(false));
    let callers = (0..16).map(|who| {
        keep_registering(tenure.clone(), who, stop.clone(), |name, told| {
            if let Told::Stored(id, position) = told {
                // Written whole in one go: a line is there or it is not.
                println!("\nstored {name} {id} {position}");
            }
        })
    });
    futures::future::join_all(callers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let mut told = HashMap::new();
    for round in 0..rounds() {
        let mut child = process::play("faults::killed_process", "writer", &database.url());
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut seen = 0;
        for line in lines {
            let Some(rest) = line.strip_prefix("stored ") else { continue };
            let mut words = rest.split(' ');
            if let (Some(name), Some(Ok(id)), Some(Ok(position))) =
                (words.next(), words.next().map(str::parse), words.next().map(str::parse))
            {
                told.insert(name.to_owned(), Told::Stored(id, position));
            }
            seen += 1;
            if seen == 100 + 37 * round {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
    }
    assert!(told.len() >= 100 * rounds());
    check(&tenure, &told).await;
    assert_tables_are_a_fold_of_the_log(&tenure).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_postgresql_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { data_dir: directory.path().join("data"), bin_dir: None };
    let server = PrivatePostgres::start(options).await.unwrap();
    let endpoint = server.endpoint();
    let address = Address::socket(&endpoint.socket_dir, endpoint.user, endpoint.database);
    let key =
        MasterKeySource { default_file: directory.path().join("master.key"), ..MasterKeySource::default() };
    let tenure =
        Arc::new(open_with(Settings { connections: 8, ..Settings::new(address.clone(), key) }).await);
    let told = Arc::new(std::sync::Mutex::new(HashMap::new()));
    for _ in 0..rounds() {
        let stop = Arc::new(AtomicBool::new(false));
        let before = told.lock().unwrap().len();
        let callers: Vec<_> = (0..16)
            .map(|who| {
                let (tenure, stop, told) = (tenure.clone(), stop.clone(), told.clone());
                tokio::spawn(async move {
                    let prefix = before * 100 + who;
                    let tell = move |name: &str, outcome: &Told| {
                        told.lock().unwrap().insert(name.to_owned(), outcome.clone());
                    };
                    keep_registering(tenure, prefix, stop, tell).await;
                })
            })
            .collect();
        let stored = |told: &HashMap<String, Told>| {
            told.values().filter(|told| matches!(told, Told::Stored(..))).count()
        };
        let now = stored(&told.lock().unwrap());
        until(|| stored(&told.lock().unwrap()) > now + 100).await;
        let mut state = server.state();
        let State::Running { pid } = *state.borrow_and_update() else { panic!("not running") };
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        let again = state.wait_for(|state| matches!(state, State::Running { pid: new } if *new != pid));
        tokio::time::timeout(PATIENCE, again).await.expect("PostgreSQL comes back").unwrap();
        let now = stored(&told.lock().unwrap());
        until(|| stored(&told.lock().unwrap()) > now + 50).await;
        stop.store(true, Ordering::SeqCst);
        for caller in callers {
            caller.await.unwrap();
        }
    }
    let told = told.lock().unwrap().clone();
    check(&tenure, &told).await;
    let client = connect(&address, None).await;
    assert_tables_are_a_fold_of_the_log(&tenure).await;
    drop(client);
    Arc::into_inner(tenure).unwrap().close().await;
    server.stop().await.unwrap();
}

async fn until(mut condition: impl FnMut() -> bool) {
    let look = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.expect("it comes true in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_lost_at_any_point_of_a_commit_is_resolved_rightly() {
    let database = TestDatabase::new().await;
    let proxy = Proxy::start(&database.socket_dir());
    let through_proxy = Address::socket(&proxy.directory, "tenure", &database.name);
    let tenure = open_with(Settings { address: through_proxy, ..database.settings() }).await;
    let direct = database.open().await;
    register(&tenure, "first").await;
    let mut told = HashMap::new();
    let mut number = 0;
    for round in 0..rounds() {
        for cut in [Cut::BeforeBatch, Cut::AfterBatch, Cut::LateBatch, Cut::InsideBatch] {
            let cuts = proxy.cuts();
            proxy.arm(cut);
            let names: Vec<String> = (0..24).map(|caller| format!("c{number}-{caller}")).collect();
            number += 1;
            // Another node goes on meanwhile; it must not be held up for longer than the server lets a lock idle.
            let other = format!("other{number}");
            let calls = names.iter().map(|name| register(&tenure, name));
            let (outcomes, other_told) = tokio::time::timeout(
                PATIENCE,
                futures::future::join(futures::future::join_all(calls), register(&direct, &other)),
            )
            .await
            .expect("everybody is answered");
            assert_eq!(proxy.cuts(), cuts + 1, "round {round}: {cut:?} did not happen");
            assert!(outcomes.iter().all(|told| matches!(told, Told::Stored(..))), "{cut:?}: {outcomes:?}");
            told.extend(names.into_iter().zip(outcomes));
            told.insert(other, other_told);
        }
    }
    check(&direct, &told).await;
    assert_tables_are_a_fold_of_the_log(&direct).await;
    proxy.arm(Cut::Never);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_moved_by_another_node_delays_and_loses_nothing() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let owner = database.connect(None).await;
    for number in 0..20 {
        owner.batch_execute("update log.head set fence = fence + 1").await.unwrap();
        assert!(matches!(register(&tenure, &format!("n{number}")).await, Told::Stored(..)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_can_end_while_the_outcome_of_a_commit_cannot_be_found_out() {
    let database = TestDatabase::new().await;
    let proxy = Proxy::start(&database.socket_dir());
    let through_proxy = Address::socket(&proxy.directory, "tenure", &database.name);
    let settings =
        Settings { address: through_proxy, answer_within: Duration::from_secs(2), ..database.settings() };
    let tenure = open_with(settings).await;
    register(&tenure, "first").await;
    proxy.arm(Cut::AfterBatch);
    std::fs::remove_file(proxy.directory.join(".s.PGSQL.5432")).unwrap();
    assert_eq!(register(&tenure, "second").await, Told::Unknown);
    tokio::time::timeout(PATIENCE, tenure.close()).await.expect("it ends");
}
