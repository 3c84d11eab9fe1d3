//! What is personal is nowhere in the log in clear, and opens only with the log's own keys.

use futures::TryStreamExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use tenure::clock::SystemClock;
use tenure::context::{Actor, Context};
use tenure::credentials::key_ring::KeyRingError;
use tenure::credentials::master_key::{MasterKeyError, MasterKeySource};
use tenure::engine::OpenError;
use tenure::entropy::OsEntropy;
use tenure::{Settings, Tenure};

use crate::support::{TestDatabase, account, as_user, history, master_key, operator, user};

/// A PostgreSQL client program of this machine.
pub fn program(name: &str) -> PathBuf {
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        installed.map(|entry| entry.path().join("bin").join(name)).filter(|path| path.exists()).collect();
    found.sort();
    found.pop().unwrap_or_else(|| PathBuf::from(name))
}

/// What `pg_dump` writes of a database.
pub fn dump(database: &TestDatabase, arguments: &[&str]) -> String {
    let dump = Command::new(program("pg_dump"))
        .args(arguments)
        .args(["--dbname", &database.url()])
        .output()
        .expect("pg_dump");
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    String::from_utf8_lossy(&dump.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_of_the_log_shows_no_email_username_login_or_account_name() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let ada =
        tenure.insert_user(&operator(), "lovelace", "ada@lovelace.example", "internal").await.unwrap().answer;
    let system = Context::of(Actor::System);
    let avatar = Some("https://avatars.example/mona");
    tenure
        .sign_in_with_github(&system, 987_654_321, "monalisa", Some("mona@lisa.example"), avatar)
        .await
        .unwrap();
    tenure
        .sign_in_with_github(&system, 987_654_321, "giocondo", Some("mona@lisa.example"), avatar)
        .await
        .unwrap();
    account(&tenure, "analytical-engine", ada).await;
    tenure::seed::generate(&tenure, 200, 1, |_| ()).await.unwrap();
    let seeded = tenure.reader().accounts().try_collect::<Vec<_>>().await.unwrap();
    let text = dump(&database, &["--schema=log"]).to_lowercase();
    assert!(text.contains("copy log.event"), "the dump holds the events");
    let mut secrets: Vec<String> = [
        "lovelace",
        "monalisa",
        "giocondo",
        "lisa.example",
        "avatars.example",
        "987654321",
        "analytical-engine",
        "unauthenticated",
        "people.example",
    ]
    .map(str::to_owned)
    .into();
    secrets.extend(seeded.into_iter().map(|account| account.name));
    for secret in secrets {
        let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        assert!(!text.contains(&secret) && !text.contains(&hex), "the dump shows {secret}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_closed_account_sealed_is_unreadable_on_every_node_from_then_on() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let ada = user(&tenure, "ada").await;
    let acme = account(&tenure, "acme", ada).await;
    tenure.close_account(&as_user(ada), acme).await.unwrap();
    let fresh = database.open().await;
    for node in [&tenure, &fresh] {
        let events = history(node).await;
        let decoded = node.codec().decode(&events, node.log().primary()).await.unwrap();
        let mut sealed = 0;
        for event in decoded {
            if let tenure::aggregates::AnyEvent::Account(
                tenure::aggregates::account::AccountEvent::Opened { name, .. }
                | tenure::aggregates::account::AccountEvent::Closed { name, .. },
            ) = event
            {
                assert!(name.open().is_none());
                sealed += 1;
            }
        }
        assert_eq!(sealed, 2);
    }
}

async fn open(database: &TestDatabase, master_key: MasterKeySource) -> Result<Tenure, OpenError> {
    let settings = Settings { master_key, ..database.settings() };
    Tenure::open(settings, Arc::new(SystemClock), Arc::new(OsEntropy::default())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_missing_damaged_or_public_master_key_is_refused_with_the_way_out() {
    let database = TestDatabase::new().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("master.key");
    let source = || MasterKeySource { default_file: file.clone(), ..MasterKeySource::default() };
    let refused = async || match open(&database, source()).await {
        Err(OpenError::KeyRing(KeyRingError::MasterKey(error))) => error,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("must be refused"),
    };

    let missing = refused().await;
    assert!(matches!(missing, MasterKeyError::Missing { .. }));
    assert!(missing.to_string().contains("TENURE_MASTER_KEY_FILE"), "{missing}");
    assert!(!file.exists(), "a key was made for a log that has one");

    let other = source().create(&OsEntropy::default()).unwrap();
    let mismatch = refused().await;
    let own = master_key().load().unwrap().unwrap();
    assert!(
        matches!(&mismatch, MasterKeyError::Mismatch { log, given } if log == own.id() && given == other.id())
    );

    std::fs::copy(master_key().default_file, &file).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(refused().await, MasterKeyError::Mode { mode: 0o644, .. }));

    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, &text[..40]).unwrap();
    assert!(matches!(refused().await, MasterKeyError::Damaged { .. }));

    std::fs::write(&file, text).unwrap();
    open(&database, source()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_node_with_the_key_in_its_environment_reads_everything() {
    let database = TestDatabase::new().await;
    let one = database.open().await;
    user(&one, "ada").await;
    let text = std::fs::read_to_string(master_key().default_file).unwrap();
    let source = MasterKeySource { value: Some(text.into()), ..MasterKeySource::default() };
    let two = open(&database, source).await.unwrap();
    let events = history(&two).await;
    let decoded = two.codec().decode(&events, two.log().primary()).await.unwrap();
    assert!(matches!(
        &decoded[1],
        tenure::aggregates::AnyEvent::User(tenure::aggregates::user::UserEvent::Registered { username, .. })
            if username.open().is_some_and(|name| name.as_str() == "ada")
    ));
}
