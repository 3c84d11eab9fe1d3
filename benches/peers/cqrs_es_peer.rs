//! Stock cqrs-es on stock postgres-es: one aggregate with the same commands, and one view.

use std::sync::{Arc, Mutex};

use cqrs_es::event_sink::EventSink;
use cqrs_es::persist::{GenericQuery, QueryReplay};
use cqrs_es::{Aggregate, DomainEvent, EventEnvelope, View};
use postgres_es::{PostgresCqrs, PostgresEventRepository, PostgresViewRepository, postgres_cqrs};
use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::{ConnectOptions as _, PgPool};
use tenure::clock::{Clock as _, Stopwatch, SystemClock, Timestamp};
use tenure::entropy::{OsEntropy, uuid_v7};
use tenure::postgres::Address;
use uuid::Uuid;

use crate::measure::{Contestant, Session};
use crate::ours::HASH;
use crate::server::{self, MOST_CONNECTIONS};
use crate::workload::Request;

/// postgres-es's own tables.
const TABLES: &str = "
    create table events (
        aggregate_type text not null, aggregate_id text not null, sequence bigint check (sequence >= 0) not null,
        event_type text not null, event_version text not null, payload json not null, metadata json not null,
        primary key (aggregate_type, aggregate_id, sequence));
    create table identity_view (
        view_id text not null, version bigint check (version >= 0) not null, payload json not null,
        primary key (view_id));";

/// A person or a tenant.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
enum Identity {
    #[default]
    Unknown,
    Person {
        username: String,
        email: String,
        at: Timestamp,
    },
    Tenant {
        name: String,
        owner: Uuid,
        members: Vec<Uuid>,
        at: Timestamp,
    },
    /// A key, an invite, or a source with its pipes.
    Resource {
        kind: String,
        account: Uuid,
        about: String,
        parts: Vec<String>,
        ended: bool,
        at: Timestamp,
    },
}

enum Command {
    Register { username: String, email: String, at: Timestamp },
    Open { name: String, owner: Uuid, at: Timestamp },
    AddMember { user: Uuid, at: Timestamp },
    RemoveMember { user: Uuid, at: Timestamp },
    Begin { kind: String, account: Uuid, about: String, at: Timestamp },
    Extend { name: String, at: Timestamp },
    End { at: Timestamp },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Event {
    Registered { username: String, email: String, at: Timestamp },
    Opened { name: String, owner: Uuid, at: Timestamp },
    MemberAdded { user: Uuid, at: Timestamp },
    MemberRemoved { user: Uuid, at: Timestamp },
    Begun { kind: String, account: Uuid, about: String, at: Timestamp },
    Extended { name: String, at: Timestamp },
    Ended { at: Timestamp },
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        let name = match self {
            Self::Registered { .. } => "user.registered",
            Self::Opened { .. } => "account.opened",
            Self::MemberAdded { .. } => "account.member_added",
            Self::MemberRemoved { .. } => "account.member_removed",
            Self::Begun { .. } => "thing.begun",
            Self::Extended { .. } => "thing.extended",
            Self::Ended { .. } => "thing.ended",
        };
        name.to_owned()
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the command does not fit what is there")]
struct Misfit;

impl Aggregate for Identity {
    const TYPE: &'static str = "identity";
    type Command = Command;
    type Event = Event;
    type Error = Misfit;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Misfit> {
        let event = match (&*self, command) {
            (Self::Unknown, Command::Register { username, email, at }) => {
                Event::Registered { username, email, at }
            }
            (Self::Unknown, Command::Open { name, owner, at }) => Event::Opened { name, owner, at },
            (Self::Tenant { members, .. }, Command::AddMember { user, at }) if !members.contains(&user) => {
                Event::MemberAdded { user, at }
            }
            (Self::Tenant { members, .. }, Command::RemoveMember { user, at }) if members.contains(&user) => {
                Event::MemberRemoved { user, at }
            }
            (Self::Unknown, Command::Begin { kind, account, about, at }) => {
                Event::Begun { kind, account, about, at }
            }
            (Self::Resource { parts, ended: false, .. }, Command::Extend { name, at })
                if !parts.contains(&name) =>
            {
                Event::Extended { name, at }
            }
            (Self::Resource { ended: false, .. }, Command::End { at }) => Event::Ended { at },
            _ => return Err(Misfit),
        };
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: Event) {
        match (&mut *self, event) {
            (_, Event::Registered { username, email, at }) => *self = Self::Person { username, email, at },
            (_, Event::Opened { name, owner, at }) => {
                *self = Self::Tenant { name, owner, members: Vec::new(), at };
            }
            (Self::Tenant { members, .. }, Event::MemberAdded { user, .. }) => members.push(user),
            (Self::Tenant { members, .. }, Event::MemberRemoved { user, .. }) => {
                members.retain(|member| *member != user);
            }
            (_, Event::Begun { kind, account, about, at }) => {
                *self = Self::Resource { kind, account, about, parts: Vec::new(), ended: false, at };
            }
            (Self::Resource { parts, .. }, Event::Extended { name, .. }) => parts.push(name),
            (Self::Resource { ended, .. }, Event::Ended { .. }) => *ended = true,
            (
                Self::Unknown | Self::Person { .. } | Self::Resource { .. },
                Event::MemberAdded { .. } | Event::MemberRemoved { .. },
            )
            | (_, Event::Extended { .. } | Event::Ended { .. }) => {}
        }
    }
}

impl View<Self> for Identity {
    fn update(&mut self, event: &EventEnvelope<Self>) {
        self.apply(event.payload.clone());
    }
}

/// A database with postgres-es's tables.
pub struct CqrsEs {
    address: Address,
    options: PgConnectOptions,
}

/// A framework with its pool.
pub struct Framework {
    cqrs: PostgresCqrs<Identity>,
    pool: PgPool,
    address: Address,
    entropy: OsEntropy,
    /// What the view ran into, which the framework does not tell its callers.
    view_error: Arc<Mutex<Option<String>>>,
}

impl CqrsEs {
    pub async fn new(address: Address) -> anyhow::Result<Self> {
        server::connect(&address, 1).await?.get().await?.batch_execute(TABLES).await?;
        let config = &address.config;
        let Some(tokio_postgres::config::Host::Unix(socket)) = config.get_hosts().first() else {
            anyhow::bail!("the server has no socket");
        };
        let options = PgConnectOptions::new_without_pgpass()
            .socket(socket)
            .port(5432)
            .username(config.get_user().unwrap_or_default())
            .database(config.get_dbname().unwrap_or_default())
            .application_name("")
            .ssl_mode(PgSslMode::Disable)
            .disable_statement_logging();
        Ok(Self { address, options })
    }
}

impl Contestant for CqrsEs {
    const NAME: &'static str = "cqrs-es+postgres-es";
    type Session = Framework;

    async fn open(&self, callers: usize) -> anyhow::Result<Framework> {
        let size = u32::try_from(callers.min(MOST_CONNECTIONS))?;
        // All else as it comes, as `postgres_es::default_postgress_pool` has it.
        let pool = PgPoolOptions::new().max_connections(size).connect_with(self.options.clone()).await?;
        let view_error = Arc::new(Mutex::new(None));
        let repository = PostgresViewRepository::<Identity, Identity>::new("identity_view", pool.clone());
        let mut query = GenericQuery::new(Arc::new(repository));
        let noted = view_error.clone();
        query.use_error_handler(Box::new(move |error| {
            if let Ok(mut noted) = noted.lock() {
                *noted = Some(error.to_string());
            }
        }));
        let cqrs = postgres_cqrs(pool.clone(), vec![Box::new(query)], ());
        let (address, entropy) = (self.address.clone(), OsEntropy::default());
        Ok(Framework { cqrs, pool, address, entropy, view_error })
    }
}

fn begin(kind: &str, account: Uuid, about: &str, at: Timestamp) -> Command {
    Command::Begin { kind: kind.to_owned(), account, about: about.to_owned(), at }
}

impl Session for Framework {
    async fn carry_out(&self, request: &Request) -> anyhow::Result<Uuid> {
        let at = SystemClock.now();
        let new_id = || uuid_v7(at, &self.entropy);
        let (id, command) = match request {
            Request::Register { name } => {
                let email = format!("{name}@example.org");
                (new_id(), Command::Register { username: name.clone(), email, at })
            }
            Request::Open { name, owner } => {
                (new_id(), Command::Open { name: name.clone(), owner: *owner, at })
            }
            Request::Add { of, user } => (of.account, Command::AddMember { user: *user, at }),
            Request::Remove { of, user } => (of.account, Command::RemoveMember { user: *user, at }),
            Request::Mint { of } => (new_id(), begin("api_key", of.account, HASH, at)),
            Request::Revoke { key, .. } => (*key, Command::End { at }),
            Request::Invite { of, to } => (new_id(), begin("invite", of.account, &to.name, at)),
            Request::Accept { of, invite, user } => {
                // Nothing makes the two one step here.
                let metadata = [("actor".to_owned(), "operator".to_owned())].into();
                let command = Command::AddMember { user: *user, at };
                self.cqrs.execute_with_metadata(&of.account.to_string(), command, metadata).await?;
                (*invite, Command::End { at })
            }
            Request::Source { of, handle } => (new_id(), begin("source", of.account, handle, at)),
            Request::Pipe { source, name, .. } => (*source, Command::Extend { name: name.clone(), at }),
        };
        let metadata = [("actor".to_owned(), "operator".to_owned())].into();
        self.cqrs.execute_with_metadata(&id.to_string(), command, metadata).await?;
        Ok(id)
    }

    async fn close(self) -> anyhow::Result<()> {
        self.pool.close().await;
        let Self { cqrs, pool, address, view_error, .. } = self;
        // A connection that was given back while the pool was closing lives as long as the pool.
        drop((cqrs, pool));
        server::disconnected(&address).await?;
        let error = view_error.lock().map_err(|_| anyhow::anyhow!("a caller has panicked"))?.take();
        error.map_or(Ok(()), |error| Err(anyhow::anyhow!("the view was not kept: {error}")))
    }
}

/// Fills the table of events, and replays it into the one view. Returns the seconds of the replay.
pub async fn replay(address: Address, events: u64) -> anyhow::Result<f64> {
    let peer = CqrsEs::new(address.clone()).await?;
    let client = server::connect(&address, 1).await?.get().await?;
    // Tenants with twenty events each, in the shape that postgres-es stores.
    let fill = format!(
        "insert into events
         select 'identity', (n / 20)::text, n % 20 + 1,
                case n % 20 when 0 then 'account.opened' else 'account.member_added' end, '1',
                case n % 20 when 0 then json_build_object('Opened', json_build_object(
                                            'name', 'tenant-' || n, 'owner', gen_random_uuid(), 'at', '2026-01-01T00:00:00Z'))
                            else json_build_object('MemberAdded', json_build_object(
                                            'user', gen_random_uuid(), 'at', '2026-01-01T00:00:00Z')) end,
                '{{\"actor\": \"operator\"}}'
         from generate_series(0, {events} - 1) n"
    );
    client.batch_execute(&fill).await?;
    let pool = PgPoolOptions::new().max_connections(10).connect_with(peer.options.clone()).await?;
    let views = PostgresViewRepository::<Identity, Identity>::new("identity_view", pool.clone());
    let query = GenericQuery::<_, Identity, Identity>::new(Arc::new(views));
    let repository = PostgresEventRepository::new(pool.clone());
    let watch = Stopwatch::start();
    QueryReplay::<_, _, Identity>::new(repository, query).replay_all().await?;
    let seconds = watch.elapsed().as_secs_f64();
    let replayed: i64 = client.query_one("select sum(version)::bigint from identity_view", &[]).await?.get(0);
    anyhow::ensure!(
        replayed.unsigned_abs() == events,
        "the stock replay has made {replayed} of {events} changes"
    );
    pool.close().await;
    Ok(seconds)
}
