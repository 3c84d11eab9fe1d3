//! The same log with one transaction a command: the head row stays locked over the round trips of a single command.
//!
//! Same tables, columns, sealing and claims as Tenure's; what a decision reads is not even checked.

use bytes::Bytes;
use deadpool_postgres::{Client, Pool};
use tenure::Tenure;
use tenure::aggregates::AnyEvent;
use tenure::aggregates::account::{AccountEvent, AccountName};
use tenure::aggregates::api_key::{ApiKeyEvent, KeyHash, KeyPrefix, Label};
use tenure::aggregates::invite::{InviteEnd, InviteEvent, InviteeKey};
use tenure::aggregates::source::{Handle, PipeName, Retention, SourceEvent, SourceKind};
use tenure::aggregates::user::{Email, UserEvent, UserMode, Username};
use tenure::clock::Timestamp;
use tenure::codec::Decided;
use tenure::context::{Actor, Context};
use tenure::event_log::claim::ClaimChange;
use tenure::event_log::rows::{Change, RowChange, Value};
use tenure::event_log::{NewEvent, StreamId, Unit};
use tenure::ids::{AccountId, EventId, PipeId, UserId};
use tenure::postgres::Address;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::measure::{Contestant, Session};
use crate::ours::HASH;
use crate::server;
use crate::workload::Request;

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

const RELEASE_CLAIM: &str = "delete from view.unique_claims where kind = $1 and key = $2 and holder = $3";

const INSERT_KEY: &str = "insert into log.data_key (subject, key_id, wrapped) values ($1, $2, $3)";

const BUMP: &str = "update log.guard set version = version + 1 where name = $1";

/// A migrated database, and a codec for it.
pub struct TransactionPerCommand {
    address: Address,
    tenure: Tenure,
}

/// The same, with connections.
pub struct Writer {
    address: Address,
    pool: Pool,
    log: tenure::event_log::EventLog,
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
            log: self.tenure.log().clone(),
            codec: self.tenure.codec().clone(),
            clock: self.tenure.clock(),
            entropy: self.tenure.entropy(),
        })
    }
}

impl Session for Writer {
    async fn carry_out(&self, request: &Request) -> anyhow::Result<Uuid> {
        let at = self.clock.now();
        let mut decided = self.decided(request, at)?;
        let id = decided.first().map_or_else(Uuid::nil, |first| first.stream_id);
        let metadata = Bytes::from(Context::of(Actor::Operator).metadata());
        let mut unit = Unit { at, ..Unit::default() };
        let keys = self.codec.encode(&mut unit, &mut decided, &metadata, self.log.primary()).await?;

        let client = self.pool.get().await?;
        client.batch_execute(BEGIN).await?;
        let mut position = 0;
        for event in &unit.events {
            position = insert_event(&client, &unit, event).await?;
        }
        for (_, change) in &unit.claims {
            if let ClaimChange::Release { key, holder } = change {
                let release = client.prepare_cached(RELEASE_CLAIM).await?;
                client.execute(&release, &[&key.kind, &key.key.as_slice(), holder]).await?;
            }
        }
        for claim in unit.claims_taken() {
            let insert = client.prepare_cached(INSERT_CLAIM).await?;
            let key = &claim.key;
            client.execute(&insert, &[&key.kind, &key.key.as_slice(), &claim.holder, &position]).await?;
        }
        for key in &unit.new_keys {
            let insert = client.prepare_cached(INSERT_KEY).await?;
            client.execute(&insert, &[&key.subject, &key.key_id, &&*key.wrapped]).await?;
        }
        for (_, change) in &unit.rows {
            project(&client, change, position).await?;
        }
        if let Some(bumped) = guard(request) {
            let bump = client.prepare_cached(BUMP).await?;
            client.execute(&bump, &[&bumped]).await?;
        }
        client.batch_execute("commit").await?;
        for (subject, key) in keys {
            self.codec.keys().remember(self.log.seen().get().epoch, &subject, key);
        }
        Ok(id)
    }

    async fn close(self) -> anyhow::Result<()> {
        self.pool.close();
        server::disconnected(&self.address).await
    }
}

impl Writer {
    /// The events that the request leads to.
    fn decided(&self, request: &Request, at: Timestamp) -> anyhow::Result<Vec<Decided>> {
        let new_id = || tenure::entropy::uuid_v7(at, &*self.entropy);
        let (stream_id, version, event): (Uuid, i64, AnyEvent) = match request {
            Request::Register { name } => {
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
            Request::Open { name, owner } => {
                let owner = UserId::from_uuid(*owner);
                let event = AccountEvent::Opened { owner, at, name: AccountName::parse(name)?.into() };
                (new_id(), 1, event.into())
            }
            Request::Add { of, user } => {
                let event = AccountEvent::MemberAdded { user: UserId::from_uuid(*user), at };
                (of.account, of.version + 1, event.into())
            }
            Request::Remove { of, user } => {
                let event = AccountEvent::MemberRemoved { user: UserId::from_uuid(*user), at, removal: None };
                (of.account, of.version + 1, event.into())
            }
            Request::Mint { of } => {
                let event = ApiKeyEvent::Minted {
                    account: AccountId::from_uuid(of.account),
                    minter: UserId::from_uuid(of.owner),
                    removals: 0,
                    prefix: KeyPrefix::of("01234567"),
                    at,
                    expires_at: None,
                    hash: KeyHash::parse(HASH)?.into(),
                    label: Label::parse("bench")?.into(),
                };
                (new_id(), 1, event.into())
            }
            Request::Revoke { of, key } => {
                let event = ApiKeyEvent::Revoked { account: AccountId::from_uuid(of.account), at };
                (*key, 2, event.into())
            }
            Request::Invite { of, to } => {
                let event = InviteEvent::Created {
                    account: AccountId::from_uuid(of.account),
                    inviter: UserId::from_uuid(of.owner),
                    bound: Some(UserId::from_uuid(to.id)),
                    mode: UserMode::Github,
                    at,
                    expires_at: at.after(std::time::Duration::from_hours(24)),
                    invitee_key: Some(InviteeKey::User(UserId::from_uuid(to.id))),
                    invitee: Username::parse(&to.name)?.into(),
                };
                (new_id(), 1, event.into())
            }
            Request::Accept { of, invite, user } => {
                let user = UserId::from_uuid(*user);
                let event = InviteEvent::Accepted(InviteEnd {
                    account: AccountId::from_uuid(of.account),
                    user: Some(user),
                    at,
                    was_pending: true,
                    was_bound: true,
                    invitee_key: Some(InviteeKey::User(user)),
                    invitee: Username::parse("nobody")?.into(),
                });
                let added = AccountEvent::MemberAdded { user, at };
                return Ok(vec![
                    self.event(*invite, 2, event.into(), at),
                    self.event(of.account, of.version + 1, added.into(), at),
                ]);
            }
            Request::Source { of, handle } => {
                let event = SourceEvent::Created {
                    account: AccountId::from_uuid(of.account),
                    created_by: UserId::from_uuid(of.owner),
                    handle: Handle::parse(handle)?,
                    kind: SourceKind::Message,
                    at,
                };
                (new_id(), 1, event.into())
            }
            Request::Pipe { of, source, name, version, .. } => {
                let event = SourceEvent::PipeCreated {
                    account: AccountId::from_uuid(of.account),
                    pipe: PipeId::from_uuid(new_id()),
                    created_by: UserId::from_uuid(of.owner),
                    name: PipeName::parse(name)?,
                    retention: Retention::default(),
                    at,
                };
                (*source, version + 1, event.into())
            }
        };
        Ok(vec![self.event(stream_id, version, event, at)])
    }

    fn event(&self, stream_id: Uuid, version: i64, event: AnyEvent, at: Timestamp) -> Decided {
        let subject = event.subject(stream_id);
        let stream = StreamId::new(subject.kind, stream_id);
        Decided { id: EventId::new(at, &*self.entropy), stream_id, stream, version, event }
    }
}

/// The guard of the set that a request changes.
fn guard(request: &Request) -> Option<String> {
    match request {
        Request::Open { owner: user, .. }
        | Request::Add { user, .. }
        | Request::Remove { user, .. }
        | Request::Accept { user, .. } => Some(format!("accounts_of:{user}")),
        _ => None,
    }
}

fn email(name: &str) -> String {
    format!("{name}@example.org")
}

async fn insert_event(client: &Client, unit: &Unit, event: &NewEvent) -> anyhow::Result<i64> {
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

/// Changes one row.
async fn project(client: &Client, change: &RowChange, position: i64) -> anyhow::Result<()> {
    let table = change.table;
    let at_position = Value::Int(position);
    let settled =
        |value: &'_ Value| if *value == Value::Position { at_position.clone() } else { value.clone() };
    let matching = |from: usize| {
        let key = table.columns[..table.key_columns].iter().zip(from..);
        key.map(|(column, place)| format!("{} = ${place}", column.name)).collect::<Vec<_>>().join(" and ")
    };
    let (sql, values): (String, Vec<Value>) = match &change.change {
        Change::Insert(row) => {
            let names: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
            let places: Vec<String> = (1..=row.len()).map(|place| format!("${place}")).collect();
            let sql = format!(
                "insert into view.{} ({}) values ({})",
                table.name,
                names.join(", "),
                places.join(", ")
            );
            (sql, row.iter().map(settled).collect())
        }
        Change::Patch(columns) => {
            let sets: Vec<String> = (1..)
                .zip(columns)
                .map(|(place, (column, _))| format!("{} = ${place}", table.columns[*column].name))
                .collect();
            let sql = format!(
                "update view.{} set {} where {}",
                table.name,
                sets.join(", "),
                matching(columns.len() + 1)
            );
            (sql, columns.iter().map(|(_, value)| settled(value)).chain(change.key.iter().cloned()).collect())
        }
        Change::Delete => {
            (format!("delete from view.{} where {}", table.name, matching(1)), change.key.clone())
        }
    };
    let statement = client.prepare_cached(&sql).await?;
    let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
    let rows = client.execute(&statement, &values).await?;
    anyhow::ensure!(rows == 1, "the projection has changed {rows} rows");
    Ok(())
}
