//! One PostgreSQL for the whole run, one database a test, cloned from a migrated template.

pub mod many_events;
pub mod nats;
pub mod node;
pub mod process;
pub mod proxy;
pub mod relay;
pub mod server;
pub mod switch;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tenure::aggregates::AnyEvent;
use tenure::clock::{Clock as _, ManualClock, SystemClock};
use tenure::codec::Decided;
use tenure::context::{Actor, Context};
use tenure::credentials::master_key::MasterKeySource;
use tenure::entropy::OsEntropy;
use tenure::event_log::read::Filter;
use tenure::event_log::{Premises, RecordedEvent, StreamId, Unit};
use tenure::ids::{AccountId, EventId, UserId};
use tenure::postgres::Address;
use tenure::postgres::private::{self, PrivatePostgres};
use tenure::{Settings, Tenure};
use tokio::sync::OnceCell;
use tokio_postgres::{Client, NoTls};

const TEMPLATE: &str = "tenure_template";

static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// The server of this run; it ends with the process.
struct Cluster {
    server: PrivatePostgres,
}

/// Makes every test run on databases that the release before made, and this one has brought up to date.
const UPGRADED: &str = "TENURE_TEST_UPGRADED";

/// Names the directory of the run's server to the processes that its tests start.
pub const CLUSTER_DIR: &str = "TENURE_TEST_CLUSTER";

pub fn cluster_dir() -> PathBuf {
    let own = || PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("cluster-{}", std::process::id()));
    std::env::var_os(CLUSTER_DIR).map_or_else(own, PathBuf::from)
}

/// Removes what earlier runs left behind.
fn remove_old_clusters() {
    for entry in std::fs::read_dir(env!("CARGO_TARGET_TMPDIR")).into_iter().flatten().flatten() {
        let old =
            entry.file_name().to_string_lossy().starts_with("cluster-") && entry.path() != cluster_dir();
        if old && matches!(private::running(&entry.path()), Ok(None)) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// The master key of every test database.
pub fn master_key() -> MasterKeySource {
    MasterKeySource { default_file: cluster_dir().join("master.key"), ..MasterKeySource::default() }
}

/// Hundreds of clients at once need more files than an ordinary user may open unless they say so.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit of open files");
    setrlimit(Resource::RLIMIT_NOFILE, most.min(65_536), most).expect("a higher limit of open files");
}

async fn cluster() -> &'static Cluster {
    CLUSTER
        .get_or_init(|| async {
            remove_old_clusters();
            raise_file_limit();
            let options = private::Options {
                data_dir: cluster_dir(),
                bin_dir: std::env::var_os("TENURE_POSTGRES_BIN").map(PathBuf::from),
            };
            let server = PrivatePostgres::start(options).await.expect("a private PostgreSQL");
            let cluster = Cluster { server };
            let admin = connect(&cluster.address("postgres"), None).await;
            admin.batch_execute(&format!("create database {TEMPLATE}")).await.unwrap();
            if std::env::var_os(UPGRADED).is_some() {
                for role in ["tenure_owner", "tenure_app"] {
                    admin.batch_execute(&format!("create role {role} nologin")).await.unwrap();
                }
                let key = include_str!("../databases/master.key");
                let file = cluster_dir().join("master.key");
                std::fs::write(&file, key).unwrap();
                std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
                let template = TestDatabase { address: cluster.address(TEMPLATE), name: TEMPLATE.to_owned() };
                crate::upgrade::load(&template, include_str!("../databases/schema_v3_empty.sql"));
            }
            let settings = Settings::new(cluster.address(TEMPLATE), master_key());
            open_with(settings).await.close().await;
            // A template is cloned only when nobody is connected to it.
            let busy = "select count(*) from pg_stat_activity where datname = $1";
            while admin.query_one(busy, &[&TEMPLATE]).await.unwrap().get::<_, i64>(0) > 0 {
                tokio::task::yield_now().await;
            }
            cluster
        })
        .await
}

impl Cluster {
    fn address(&self, database: &str) -> Address {
        let endpoint = self.server.endpoint();
        Address::socket(&endpoint.socket_dir, endpoint.user, database)
    }
}

/// A database of this test alone.
#[derive(Clone)]
pub struct TestDatabase {
    pub name: String,
    pub address: Address,
}

impl TestDatabase {
    /// A migrated log with its first event.
    pub async fn new() -> Self {
        Self::cloned(Some(TEMPLATE)).await
    }

    /// An empty database.
    pub async fn empty() -> Self {
        Self::cloned(None).await
    }

    async fn cloned(template: Option<&str>) -> Self {
        static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        let cluster = cluster().await;
        let number = DATABASES.fetch_add(1, Ordering::SeqCst);
        let name = format!("tenure_t{}_{number}", std::process::id());
        let admin = connect(&cluster.address("postgres"), None).await;
        let template = template.map_or_else(String::new, |template| format!(" template {template}"));
        let _one = ONE_AT_A_TIME.lock().await;
        admin.batch_execute(&format!("create database {name}{template}")).await.unwrap();
        Self { address: cluster.address(&name), name }
    }

    /// An engine on this database.
    pub async fn open(&self) -> Tenure {
        open_with(self.settings()).await
    }

    /// An engine on this database with a clock that stands still until it is moved.
    pub async fn open_with_clock(&self) -> (Tenure, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::at(SystemClock.now()));
        let entropy = Arc::new(OsEntropy::default());
        (Tenure::open(self.settings(), clock.clone(), entropy).await.expect("an engine"), clock)
    }

    pub fn settings(&self) -> Settings {
        // What endings leave behind is cleared away when a test says so.
        let clear_every = std::time::Duration::from_hours(24);
        Settings { connections: 8, clear_every, ..Settings::new(self.address.clone(), master_key()) }
    }

    /// A plain connection, as the given role.
    pub async fn connect(&self, role: Option<&str>) -> Client {
        connect(&self.address, role).await
    }

    /// For programs: what goes into `DATABASE_URL`.
    pub fn url(&self) -> String {
        let endpoint_dir = self.socket_dir();
        format!("host={} user=tenure dbname={}", endpoint_dir.display(), self.name)
    }

    pub fn socket_dir(&self) -> PathBuf {
        use tokio_postgres::config::Host;
        match &self.address.config.get_hosts()[0] {
            Host::Unix(path) => path.clone(),
            Host::Tcp(_) => unreachable!("test servers have a socket"),
        }
    }
}

pub async fn open_with(settings: Settings) -> Tenure {
    Tenure::open(settings, Arc::new(SystemClock), Arc::new(OsEntropy::default())).await.expect("an engine")
}

pub async fn connect(address: &Address, role: Option<&str>) -> Client {
    let (client, connection) = address.config.connect(NoTls).await.expect("a connection");
    tokio::spawn(connection);
    if let Some(role) = role {
        client.batch_execute(&format!("set role {role}")).await.unwrap();
    }
    client
}

pub fn operator() -> Context {
    Context::of(Actor::Operator)
}

pub fn as_user(user: UserId) -> Context {
    Context::of(Actor::User(user))
}

/// Expects a refusal of this form.
#[macro_export]
macro_rules! refused {
    ($outcome:expr, $refusal:pat) => {
        match $outcome {
            Err(tenure::dispatch::DispatchError::Refused(refusal)) => {
                assert!(matches!(refusal, $refusal), "{refusal:?}");
            }
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("must be refused"),
        }
    };
}

pub async fn user(tenure: &Tenure, name: &str) -> UserId {
    let email = format!("{name}@people.example");
    tenure.insert_user(&operator(), name, &email, "internal").await.expect("a user").answer
}

pub async fn account(tenure: &Tenure, name: &str, owner: UserId) -> AccountId {
    tenure.open_account(&operator(), name, Some(owner)).await.expect("an account").answer
}

/// Every event, with the positions checked to be dense from 1.
/// Stores an event as it is, for what no command of this release does any more.
pub async fn store(tenure: &Tenure, stream: StreamId, version: i64, event: AnyEvent) {
    let at = tenure.clock().now();
    let id = EventId::new(at, &*tenure.entropy());
    let before = version - 1;
    let mut decided =
        [Decided { id, stream_id: stream.id.parse().unwrap(), stream: stream.clone(), version, event }];
    let mut unit = Unit { at, premises: Premises::of_stream(stream, before), ..Unit::default() };
    let metadata = Context::of(Actor::System).metadata().into();
    tenure.codec().encode(&mut unit, &mut decided, &metadata, tenure.log().primary()).await.unwrap();
    tenure.log().append(unit).await.unwrap();
}

pub async fn history(tenure: &Tenure) -> Vec<RecordedEvent> {
    let mut events: Vec<RecordedEvent> = Vec::new();
    loop {
        let after = events.last().map_or(0, |event| event.position);
        let page = tenure
            .log()
            .read_page(after, &Filter::default(), 1_000)
            .await
            .expect("a page without gaps")
            .events;
        if page.is_empty() {
            return events;
        }
        events.extend(page);
    }
}

/// Every row of a projected table as text, ordered.
pub async fn rows(client: &Client, table: &str) -> Vec<String> {
    let sql = format!("select t::text from {table} t order by 1");
    client.query(&sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

/// Everything that is sealed in the events of a log, opened, as far as it is long enough to be found by.
pub async fn sealed_texts(tenure: &Tenure) -> std::collections::BTreeSet<String> {
    use tenure::sealing::{FieldVisitor, SealError, SealedField, SealedFields as _, Subject};

    struct Collector(std::collections::BTreeSet<String>);

    impl FieldVisitor for Collector {
        fn field(
            &mut self,
            _: &'static str,
            _: Subject,
            field: &mut dyn SealedField,
        ) -> Result<(), SealError> {
            let value = field.to_json().and_then(|json| serde_json::from_slice(&json).ok());
            match value {
                Some(serde_json::Value::String(text)) => drop(self.0.insert(text)),
                Some(serde_json::Value::Number(number)) => drop(self.0.insert(number.to_string())),
                _ => {}
            }
            Ok(())
        }
    }

    let mut collector = Collector(std::collections::BTreeSet::new());
    for page in history(tenure).await.chunks(1_000) {
        let events = tenure.codec().decode(page, tenure.log().primary()).await.unwrap();
        for (recorded, mut event) in page.iter().zip(events) {
            let stream = recorded.stream.id.parse().unwrap();
            let owner = event.subject(stream);
            event.visit_sealed(owner, &mut collector).unwrap();
        }
    }
    collector.0.retain(|text| text.len() >= 8);
    collector.0
}
