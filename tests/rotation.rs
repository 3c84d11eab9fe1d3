//! The master key is changed while nodes serve.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::Client;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tenure::Tenure;
use tenure::aggregates::EventSourced as _;
use tenure::aggregates::user::{User, UserEvent, UserMode, Username};
use tenure::clock::SystemClock;
use tenure::codec::Decided;
use tenure::credentials::master_key::{MasterKeyError, MasterKeySource};
use tenure::entropy::OsEntropy;
use tenure::event_log::{AppendError, BulkBatch, BulkError, Premises, Unit};
use tenure::ids::{EventId, UserId};
use tenure::rotate_keys::{RotateError, Rotated};

use crate::support::node::{Release, address, client};
use crate::support::{TestDatabase, account, master_key, operator, user};

const WAIT: Duration = Duration::from_secs(60);

/// A copy of the key of all test databases, in a directory of its own.
fn keys() -> (tempfile::TempDir, MasterKeySource) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("master.key");
    std::fs::copy(master_key().default_file, &file).unwrap();
    (dir, MasterKeySource { default_file: file, ..MasterKeySource::default() })
}

async fn open(
    database: &TestDatabase,
    source: &MasterKeySource,
) -> Result<Tenure, tenure::engine::OpenError> {
    let settings = tenure::Settings { master_key: source.clone(), ..database.settings() };
    Tenure::open(settings, Arc::new(SystemClock), Arc::new(OsEntropy::default())).await
}

async fn rotate(tenure: &Tenure) -> Result<Rotated, RotateError> {
    tenure.rotate_master_key(WAIT, &|_| {}).await
}

/// Which master keys wrap the data keys, and which the log has.
async fn in_use(database: &TestDatabase) -> (Vec<String>, Vec<String>) {
    let client = database.connect(None).await;
    let ids = async |sql: &str| -> Vec<String> {
        client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    };
    (ids("select distinct key_id from log.data_key").await, ids("select key_id from log.key_ring").await)
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_rotation_the_former_key_is_needed_for_nothing() {
    let database = TestDatabase::new().await;
    let (dir, source) = keys();
    let tenure = open(&database, &source).await.unwrap();
    let ada = user(&tenure, "ada").await;
    account(&tenure, "acme", ada).await;
    let dir_of_nats = tempfile::tempdir().unwrap();
    let listen = "127.0.0.1:4222".to_owned();
    let files = tenure::nats::ServerFiles { dir: dir_of_nats.path().to_owned(), listen, is_alone: true };
    tenure::nats::bootstrap(&tenure, &files, false).await.unwrap();
    let operator_of_nats = tenure::nats::bootstrap(&tenure, &files, false).await.unwrap().operator;
    let rotated = rotate(&tenure).await.unwrap();
    assert!(rotated.data_keys >= 2 && rotated.files_changed && rotated.from.is_some(), "{rotated:?}");
    assert_eq!(in_use(&database).await, (vec![rotated.to.clone()], vec![rotated.to.clone()]));
    // What is made now is under the new key; the node that rotated has not been opened again.
    user(&tenure, "grace").await;
    assert_eq!(in_use(&database).await.0, std::slice::from_ref(&rotated.to));
    tenure.close().await;

    let former_file = dir.path().join(format!("master.key.former-{}", rotated.from.as_ref().unwrap()));
    std::fs::remove_file(former_file).unwrap();
    let again = open(&database, &source).await.unwrap();
    assert_eq!(
        again.reader().user_by_username("ADA").await.unwrap().email.as_deref(),
        Some("ada@people.example")
    );
    let events = crate::support::history(&again).await;
    for record in again.describe(&events).await.unwrap() {
        assert!(record.sealed.values().all(|value| !value.is_null()), "{record:?}");
    }
    assert_eq!(tenure::nats::bootstrap(&again, &files, false).await.unwrap().operator, operator_of_nats);
    crate::replay::assert_tables_are_a_fold_of_the_log(&again).await;
    // The former key opens nothing.
    let former = master_key();
    assert!(matches!(open(&database, &former).await.err(), Some(tenure::engine::OpenError::KeyRing(_))));
}

/// A registration that is sealed and not stored yet, with the data keys of the person.
async fn sealed_registration(tenure: &Tenure, username: &str) -> Unit {
    let (at, entropy) = (tenure.clock().now(), tenure.entropy());
    let id = UserId::new(at, &*entropy);
    let registered = UserEvent::Registered {
        mode: UserMode::Internal,
        at,
        username: Username::parse(username).unwrap().into(),
        email: None.into(),
        github_id: None.into(),
        github_login: None.into(),
        avatar_url: None.into(),
    };
    let decided = Decided {
        id: EventId::new(at, &*entropy),
        stream_id: id.as_uuid(),
        stream: User::stream(id.as_uuid()),
        version: 1,
        event: registered.into(),
    };
    let premises = Premises::of_stream(decided.stream.clone(), 0);
    let mut unit = Unit { at, premises, ..Unit::default() };
    let metadata = bytes::Bytes::from(operator().metadata());
    tenure.codec().encode(&mut unit, &mut [decided], &metadata, tenure.log().primary()).await.unwrap();
    assert!(!unit.new_keys.is_empty());
    unit
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sealed_before_the_former_key_was_retired_is_refused_in_both_ways() {
    let database = TestDatabase::new().await;
    let (_dir, source) = keys();
    let tenure = open(&database, &source).await.unwrap();
    user(&tenure, "ada").await;
    let too_late = sealed_registration(&tenure, "grace").await;
    let rotated = rotate(&tenure).await.unwrap();
    let newest = tenure.log().newest().await.unwrap();

    let mut writer = tenure.log().bulk_writer().await.unwrap();
    let clock = tenure.clock();
    let refused = tenure.log().append(too_late.clone()).await;
    assert_eq!(refused.unwrap_err(), AppendError::GuardMoved { guard: "the master key".to_owned() });
    // One that is in time does not take the other one along.
    let both = [sealed_registration(&tenure, "joan").await, too_late];
    let refused = writer.append(BulkBatch::of(&both).unwrap(), &*clock).await;
    assert!(matches!(refused, Err(BulkError::Refused(_))), "{refused:?}");
    assert_eq!(tenure.log().newest().await.unwrap(), newest);
    assert_eq!(in_use(&database).await.0, std::slice::from_ref(&rotated.to));

    // Sealed again, they are stored.
    tenure.log().append(sealed_registration(&tenure, "grace").await).await.unwrap();
    let again = [sealed_registration(&tenure, "joan").await];
    writer.append(BulkBatch::of(&again).unwrap(), &*clock).await.unwrap();
    assert_eq!(in_use(&database).await.0, std::slice::from_ref(&rotated.to));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_key_that_the_ring_lacks_wraps_nothing_and_a_former_one_is_refused_to_earlier_releases_too()
{
    let database = TestDatabase::new().await;
    let (_dir, source) = keys();
    let tenure = open(&database, &source).await.unwrap();
    let client = database.connect(None).await;
    let accepted = async || -> Vec<String> {
        client.query_one("select accepted_keys from log.head", &[]).await.unwrap().get(0)
    };
    let is_checked_by_the_table = async || -> bool {
        let sql = "select tgenabled <> 'D' from pg_trigger where tgname = 'refuse_retired_key'";
        client.query_one(sql, &[]).await.unwrap().get(0)
    };
    assert_eq!(accepted().await, in_use(&database).await.1);
    assert!(!is_checked_by_the_table().await, "appends compare with the head row alone");
    let mut stray = sealed_registration(&tenure, "grace").await;
    stray.new_keys[0].key_id = "of another log".to_owned();
    let newest = tenure.log().newest().await.unwrap();
    let refused = tenure.log().append(stray.clone()).await;
    assert_eq!(refused.unwrap_err(), AppendError::GuardMoved { guard: "the master key".to_owned() });
    let mut writer = tenure.log().bulk_writer().await.unwrap();
    let refused = writer.append(BulkBatch::of(&[stray]).unwrap(), &*tenure.clock()).await;
    assert!(matches!(refused, Err(BulkError::Refused(_))), "{refused:?}");
    assert_eq!(tenure.log().newest().await.unwrap(), newest);

    // Restored with triggers off; the next start carries it over.
    client.batch_execute("update log.head set accepted_keys = '{}'").await.unwrap();
    open(&database, &source).await.unwrap().close().await;
    assert_eq!(accepted().await, in_use(&database).await.1);
    // The function locks nothing when another table's trigger calls it.
    let elsewhere = "create temp table elsewhere ();
                     create trigger elsewhere after insert on elsewhere execute function log.note_key_ring();
                     begin; insert into elsewhere default values";
    client.batch_execute(elsewhere).await.unwrap();
    let other = database.connect(None).await;
    other.batch_execute("select from log.head for update nowait").await.unwrap();
    client.batch_execute("rollback; begin; truncate log.key_ring").await.unwrap();
    assert!(accepted().await.is_empty());
    client.batch_execute("rollback").await.unwrap();

    let rotated = rotate(&tenure).await.unwrap();
    assert_eq!(accepted().await, std::slice::from_ref(&rotated.to));
    assert!(is_checked_by_the_table().await);
    // As bulk appends of earlier releases store them.
    let sql = "insert into log.data_key (subject, key_id, wrapped) values ('user:late', $1, '')";
    let refused = client.execute(sql, &[&rotated.from.unwrap()]).await.unwrap_err();
    assert_eq!(refused.code().unwrap().code(), "TN007");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_new_key_is_said() {
    let database = TestDatabase::new().await;
    let (dir, source) = keys();
    let tenure = open(&database, &source).await.unwrap();
    // The present key again.
    let next = dir.path().join("master.key.next");
    std::fs::copy(&source.default_file, &next).unwrap();
    assert!(matches!(rotate(&tenure).await, Err(RotateError::SameKey(_))));
    std::fs::write(&next, "tenure-master-key-1:00").unwrap();
    assert!(matches!(rotate(&tenure).await, Err(RotateError::MasterKey(MasterKeyError::Damaged { .. }))));
    std::fs::remove_file(&next).unwrap();
    // A node that does not have it.
    let (other_dir, other) = keys();
    let elsewhere = open(&database, &other).await.unwrap();
    let waited = tenure.rotate_master_key(Duration::from_millis(500), &|_| {}).await;
    assert!(matches!(waited, Err(RotateError::NodesWithout { left: 1, .. })), "{waited:?}");
    // Both still write and read, and what the other one lacks is no hindrance.
    user(&elsewhere, "ada").await;
    user(&tenure, "grace").await;
    assert_eq!(tenure.reader().user_by_username("ada").await.unwrap().username, "ada");
    // Another key, while that change is under way.
    let announced = std::fs::read(&next).unwrap();
    std::fs::remove_file(&next).unwrap();
    MasterKeySource { default_file: next.clone(), ..MasterKeySource::default() }
        .create(&OsEntropy::default())
        .unwrap();
    assert!(matches!(rotate(&tenure).await, Err(RotateError::OtherUnderWay { .. })));
    // A node that starts without it serves: nothing uses it yet. The change can be taken back, and announced again.
    std::fs::remove_file(&next).unwrap();
    // Where it is not, no other one is made in its place.
    assert!(matches!(rotate(&tenure).await, Err(RotateError::WithoutAnnounced { .. })));
    assert!(!next.exists());
    open(&database, &source).await.unwrap().close().await;
    tenure.abandon_rotation().await.unwrap();
    assert!(matches!(tenure.abandon_rotation().await, Err(RotateError::NothingToAbandon)));
    // Given to both, it goes on.
    for dir in [&dir, &other_dir] {
        let file = dir.path().join("master.key.next");
        std::fs::write(&file, &announced).unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
    let rotated = rotate(&tenure).await.unwrap();
    assert_eq!(in_use(&database).await.0, std::slice::from_ref(&rotated.to));
    user(&elsewhere, "katherine").await;
    assert_eq!(in_use(&database).await.0, std::slice::from_ref(&rotated.to));
    assert_eq!(elsewhere.reader().user_by_username("grace").await.unwrap().username, "grace");
    // Killed before the files had changed places, or in between: the next call does just that.
    let new_key = std::fs::read(&source.default_file).unwrap();
    for is_between in [false, true] {
        std::fs::rename(&source.default_file, &next).unwrap();
        if !is_between {
            std::fs::copy(master_key().default_file, &source.default_file).unwrap();
        }
        open(&database, &source).await.unwrap().close().await;
        let again = rotate(&tenure).await.unwrap();
        assert_eq!((again.from, &again.to, again.files_changed), (None, &rotated.to, true));
        assert_eq!(std::fs::read(&source.default_file).unwrap(), new_key);
    }
    elsewhere.close().await;
    let second = rotate(&tenure).await.unwrap();
    assert_eq!(second.from.as_ref(), Some(&rotated.to), "a second change");
    for former in [rotated.from.unwrap(), rotated.to] {
        assert!(dir.path().join(format!("master.key.former-{former}")).exists(), "each former key is kept");
    }
    // A log that is restored to the middle of a change opens with both keys.
    let client = database.connect(None).await;
    let restored = "insert into log.key_ring (key_id, check_value, lookup_key, state)
                    select 'mk-0000000000000000', check_value, lookup_key, 'former' from log.key_ring";
    client.batch_execute(restored).await.unwrap();
    let error = open(&database, &source).await.err().unwrap();
    assert!(format!("{error:?}").contains("MissingNext"), "{error:?}");
}

/// Registers users at both nodes and reads each at the other one, until told to stop. Every answer must be a success.
async fn call(
    client: Client,
    bases: [String; 2],
    token: String,
    number: usize,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
) {
    let mut round = 0;
    while !stop.load(Ordering::SeqCst) {
        let (here, there) = (&bases[round % 2], &bases[(round + 1) % 2]);
        let name = format!("r{number}-{round}");
        let body = json!({"username": name, "email": format!("{name}@people.example")});
        let made =
            client.post(format!("{here}/api/v1/users")).bearer_auth(&token).json(&body).send().await.unwrap();
        assert_eq!(made.status(), 201, "{}", made.text().await.unwrap());
        let read =
            client.get(format!("{there}/api/v1/users/{name}")).bearer_auth(&token).send().await.unwrap();
        assert_eq!(read.status(), 200, "{}", read.text().await.unwrap());
        let read: Value = read.json().await.unwrap();
        assert_eq!(read["email"], format!("{name}@people.example"));
        round += 1;
        done.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_a_rotation_under_load_is_killed_and_resumed_and_refuses_nobody() {
    let kills: u32 =
        std::env::var("TENURE_ROTATION_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(3);
    let database = TestDatabase::new().await;
    let (dir, source) = keys();
    let tenure = open(&database, &source).await.unwrap();
    let seed =
        std::env::var("TENURE_ROTATION_USERS").ok().and_then(|users| users.parse().ok()).unwrap_or(3_000);
    tenure::seed::generate(&tenure, seed, 1, |_| ()).await.unwrap();
    let runs = tenure.insert_operator(&operator(), "runs", "r@example.org").await.unwrap().answer;
    let token =
        tenure.issue_bearer_token(&operator(), runs, Duration::from_secs(3_600)).await.unwrap().answer;
    let token = token.1.unwrap().expose_secret().to_owned();
    tenure.close().await;
    let binary = env!("CARGO_BIN_EXE_tenure");
    let release = Release::new(binary, &database);
    let key_file = source.default_file.to_str().unwrap().to_owned();
    let environment = [("TENURE_MASTER_KEY_FILE", &*key_file), ("TENURE_NO_NATS", "1")];
    let http = client();
    let mut nodes = Vec::new();
    for _ in 0..2 {
        let node = release.serve_with(address(), &environment);
        node.until_ready(&http).await;
        nodes.push(node);
    }
    let bases = [nodes[0].base.clone(), nodes[1].base.clone()];
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let calling: Vec<_> = (0..8)
        .map(|number| {
            tokio::spawn(call(http.clone(), bases.clone(), token.clone(), number, stop.clone(), done.clone()))
        })
        .collect();
    let rotate = || {
        let mut command = release.command(&["keys", "rotate", "--json"]);
        command.env("TENURE_MASTER_KEY_FILE", &key_file);
        command
    };
    // A key is announced before the first kill, so that there is something to go on with.
    let mut delay = Duration::from_millis(600);
    for _ in 0..kills {
        let mut rotating = rotate().stdout(std::process::Stdio::null()).spawn().unwrap();
        tokio::time::sleep(delay).await;
        rotating.kill().unwrap();
        rotating.wait().unwrap();
        delay += Duration::from_secs(18) / kills;
    }
    let mut finishing = rotate();
    let output = tokio::task::spawn_blocking(move || finishing.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rotated: Value = serde_json::from_slice(&output.stdout).unwrap();
    let before = done.load(Ordering::SeqCst);
    while done.load(Ordering::SeqCst) < before + 50 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop.store(true, Ordering::SeqCst);
    for caller in calling {
        caller.await.expect("nobody was refused");
    }
    let to = rotated["to"].as_str().unwrap().to_owned();
    assert_eq!(in_use(&database).await, (vec![to.clone()], vec![to]));
    println!("{} rounds at two nodes, {kills} kills: {rotated}", done.load(Ordering::SeqCst));
    for mut node in nodes {
        node.end();
    }
    // The former key is nowhere.
    for file in std::fs::read_dir(dir.path()).unwrap().flatten() {
        if file.file_name().to_string_lossy().contains(".former-") {
            std::fs::remove_file(file.path()).unwrap();
        }
    }
    assert!(Path::new(&key_file).exists() && !dir.path().join("master.key.next").exists());
    let again = open(&database, &source).await.unwrap();
    crate::replay::assert_tables_are_a_fold_of_the_log(&again).await;
}
