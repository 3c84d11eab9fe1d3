//! The same log with one transaction a command: the head row stays locked over the round trips of a single command.
//!
//! Same tables, columns, sealing and claims as Tenure's; what a decision reads is not even checked.

use bytes::Bytes;
use deadpool_postgres::{Client, Pool};
use tenure::Tenure;
use tenure::aggregates::account::{Account, AccountEvent, AccountName};
use tenure::aggregates::user::{Email, User, UserEvent, UserMode, Username};
use tenure::aggregates::{AnyEvent, EventSourced as _};
use tenure::clock::Timestamp;
use tenure::codec::Decided;
use tenure::context::{Actor, Context};
use tenure::event_log::Unit;
use tenure::ids::{EventId, UserId};
use tenure::postgres::Address;
use uuid::Uuid;

use crate::measure::{Contestant, Session};
use crate::server;
use crate::workload::Wish;

const BEGIN: &str = "begin; select from log.head for update";

const INSERT_EVENT: &str = "
    insert into log.event (position, event_id, stream_type, stream_id, version, event_type, event_version,
                           account_id, recorded_at, payload, metadata, sealed)
    select newest.position + 1, $1, $2, $3, $4, $5, $6, $7,
           greatest($8, newest.recorded_at + interval '1 microsecond'), $9, $10, $11
    from (select position, recorded_at from log.event order by position desc limit 1) newest
    returning position";

const INSERT_CLAIM: &str =
    "insert into view.unique_claims (kind, key, holder, position) values ($1, $2, $3, $4)";

const INSERT_KEY: &str = "insert into log.data_key (subject, key_id, wrapped) values ($1, $2, $3)";

const BUMP: &str = "update log.guard set version = version + 1 where name = $1";

const INSERT_USER: &str = "
    insert into view.users (id, username, email, mode, operator, created_at, position)
    values ($1, $2, $3, 'internal', false, $4, $5)";

const INSERT_ACCOUNT: &str = "
    insert into view.accounts (id, name, owner_user_id, created_at, position) values ($1, $2, $3, $4, $5)";

const INSERT_MEMBER: &str =
    "insert into view.members (account_id, user_id, added_at, position) values ($1, $2, $3, $4)";

const DELETE_MEMBER: &str = "delete from view.members where account_id = $1 and user_id = $2";

/// A migrated database, and a codec for it.
pub struct TransactionPerCommand {
    address: Address,
    tenure: Tenure,
}

/// The same, with connections.
pub struct Writer {
    address: Address,
    pool: Pool,
    log_pool: Pool,
    codec: tenure::codec::Codec,
    clock: std::sync::Arc<dyn tenure::clock::Clock>,
    entropy: std::sync::Arc<dyn tenure::entropy::Entropy>,
}

impl TransactionPerCommand {
    pub const fn new(address: Address, tenure: Tenure) -> Self {
        Self { address, tenure }
    }
}

impl Contestant for TransactionPerCommand {
    const NAME: &'static str = "transaction-per-command";
    type Session = Writer;

    async fn open(&self, callers: usize) -> anyhow::Result<Writer> {
        Ok(Writer {
            address: self.address.clone(),
            pool: server::connect(&self.address, callers).await?,
            log_pool: self.tenure.log().pool().clone(),
            codec: self.tenure.codec().clone(),
            clock: self.tenure.clock(),
            entropy: self.tenure.entropy(),
        })
    }
}

impl Session for Writer {
    async fn grant(&self, wish: &Wish) -> anyhow::Result<Uuid> {
        let at = self.clock.now();
        let (id, version, event) = self.decided(wish, at)?;
        let stream = match &event {
            AnyEvent::User(_) => User::stream(id),
            _ => Account::stream(id),
        };
        let event_id = EventId::new(at, &*self.entropy);
        let mut decided = [Decided { id: event_id, stream_id: id, stream, version, event }];
        let metadata = Bytes::from(Context::of(Actor::Operator).metadata());
        let mut unit = Unit { at, ..Unit::default() };
        self.codec.encode(&mut unit, &mut decided, &metadata, &self.log_pool).await?;

        let client = self.pool.get().await?;
        client.batch_execute(BEGIN).await?;
        let position = insert_event(&client, &unit).await?;
        for claim in unit.claims_taken() {
            let insert = client.prepare_cached(INSERT_CLAIM).await?;
            let key = &claim.key;
            client.execute(&insert, &[&key.kind, &key.key.as_slice(), &claim.holder, &position]).await?;
        }
        for key in &unit.new_keys {
            let insert = client.prepare_cached(INSERT_KEY).await?;
            client.execute(&insert, &[&key.subject, &key.key_id, &&*key.wrapped]).await?;
        }
        let person = project(&client, wish, id, at, position).await?;
        if let Some(person) = person {
            let bump = client.prepare_cached(BUMP).await?;
            client.execute(&bump, &[&format!("accounts_of:{person}")]).await?;
        }
        client.batch_execute("commit").await?;
        Ok(id)
    }

    async fn close(self) -> anyhow::Result<()> {
        self.pool.close();
        server::disconnected(&self.address).await
    }
}

impl Writer {
    /// The stream, the version and the event that the wish leads to.
    fn decided(&self, wish: &Wish, at: Timestamp) -> anyhow::Result<(Uuid, i64, AnyEvent)> {
        let new_id = || tenure::entropy::uuid_v7(at, &*self.entropy);
        Ok(match wish {
            Wish::Register { name } => {
                let event = UserEvent::Registered {
                    mode: UserMode::Internal,
                    at,
                    username: Username::parse(name)?.into(),
                    email: Some(Email::parse(&email(name))?).into(),
                    github_id: None.into(),
                    github_login: None.into(),
                    avatar_url: None.into(),
                };
                (new_id(), 1, event.into())
            }
            Wish::Open { name, owner } => {
                let owner = UserId::from_uuid(*owner);
                let event = AccountEvent::Opened { owner, at, name: AccountName::parse(name)?.into() };
                (new_id(), 1, event.into())
            }
            Wish::Add { account, user, version } => {
                let event = AccountEvent::MemberAdded { user: UserId::from_uuid(*user), at };
                (*account, version + 1, event.into())
            }
            Wish::Remove { account, user, version } => {
                let event = AccountEvent::MemberRemoved { user: UserId::from_uuid(*user), at };
                (*account, version + 1, event.into())
            }
        })
    }
}

fn email(name: &str) -> String {
    format!("{name}@example.org")
}

async fn insert_event(client: &Client, unit: &Unit) -> anyhow::Result<i64> {
    let event = unit.events.first().ok_or_else(|| anyhow::anyhow!("there is no event"))?;
    let insert = client.prepare_cached(INSERT_EVENT).await?;
    let row = client
        .query_one(
            &insert,
            &[
                &event.id,
                &&*event.stream.stream_type,
                &&*event.stream.id,
                &event.version,
                &&*event.event_type,
                &&*event.event_version,
                &event.account_id,
                &unit.at,
                &&*event.payload,
                &&*event.metadata,
                &event.sealed.as_deref(),
            ],
        )
        .await?;
    Ok(row.try_get(0)?)
}

/// Writes the row; gives the person whose set of accounts has changed.
async fn project(
    client: &Client,
    wish: &Wish,
    id: Uuid,
    at: Timestamp,
    position: i64,
) -> anyhow::Result<Option<Uuid>> {
    let (rows, person) = match wish {
        Wish::Register { name } => {
            let insert = client.prepare_cached(INSERT_USER).await?;
            (client.execute(&insert, &[&id, name, &email(name), &at, &position]).await?, None)
        }
        Wish::Open { name, owner } => {
            let insert = client.prepare_cached(INSERT_ACCOUNT).await?;
            (client.execute(&insert, &[&id, name, owner, &at, &position]).await?, Some(*owner))
        }
        Wish::Add { user, .. } => {
            let insert = client.prepare_cached(INSERT_MEMBER).await?;
            (client.execute(&insert, &[&id, user, &at, &position]).await?, Some(*user))
        }
        Wish::Remove { user, .. } => {
            let delete = client.prepare_cached(DELETE_MEMBER).await?;
            (client.execute(&delete, &[&id, user]).await?, Some(*user))
        }
    };
    anyhow::ensure!(rows == 1, "the projection has changed {rows} rows");
    Ok(person)
}
