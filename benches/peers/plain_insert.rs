//! The yardstick: one row of comparable size by one prepared `INSERT` in autocommit, and nothing else.

use deadpool_postgres::Pool;
use tenure::clock::{Clock as _, SystemClock};
use tenure::entropy::{OsEntropy, uuid_v7};
use tenure::postgres::Address;
use uuid::Uuid;

use crate::measure::{Contestant, Session};
use crate::server;
use crate::workload::Request;

const TABLE: &str = "create table plain (
    id uuid primary key, stream text not null, kind text not null, recorded_at timestamptz not null,
    payload bytea not null)";

const INSERT: &str = "insert into plain (id, stream, kind, recorded_at, payload) values ($1, $2, $3, $4, $5)";

/// How many bytes the payload has: about an event with its metadata, sealed fields and claims.
const PAYLOAD_BYTES: usize = 300;

/// A table.
pub struct PlainInsert {
    address: Address,
}

/// A table, and connections.
pub struct Inserter {
    address: Address,
    pool: Pool,
    entropy: OsEntropy,
}

impl PlainInsert {
    pub async fn new(address: Address) -> anyhow::Result<Self> {
        server::connect(&address, 1).await?.get().await?.batch_execute(TABLE).await?;
        Ok(Self { address })
    }
}

impl Contestant for PlainInsert {
    const NAME: &'static str = "plain-insert";
    type Session = Inserter;

    async fn open(&self, callers: usize) -> anyhow::Result<Inserter> {
        let pool = server::connect(&self.address, callers).await?;
        Ok(Inserter { address: self.address.clone(), pool, entropy: OsEntropy::default() })
    }
}

impl Session for Inserter {
    async fn carry_out(&self, request: &Request) -> anyhow::Result<Uuid> {
        let (kind, about) = match request {
            Request::Register { name } => ("user.registered", name.clone()),
            Request::Open { owner, .. } => ("account.opened", owner.to_string()),
            Request::Add { user, .. } => ("account.member_added", user.to_string()),
            Request::Remove { user, .. } => ("account.member_removed", user.to_string()),
            Request::Mint { of } => ("api_key.minted", of.account.to_string()),
            Request::Revoke { key, .. } => ("api_key.revoked", key.to_string()),
            Request::Invite { to, .. } => ("invite.created", to.name.clone()),
            Request::Accept { user, .. } => ("invite.accepted", user.to_string()),
            Request::Source { handle, .. } => ("source.created", handle.clone()),
            Request::Pipe { name, .. } => ("pipe.created", name.clone()),
        };
        let at = SystemClock.now();
        let id = uuid_v7(at, &self.entropy);
        let mut payload = format!(r#"{{"about":"{about}","at":"{at}","filling":""#);
        payload.extend(std::iter::repeat_n('x', PAYLOAD_BYTES.saturating_sub(payload.len() + 2)));
        payload.push_str("\"}");
        let client = self.pool.get().await?;
        let insert = client.prepare_cached(INSERT).await?;
        let rows =
            client.execute(&insert, &[&id, &format!("user/{id}"), &kind, &at, &payload.as_bytes()]).await?;
        anyhow::ensure!(rows == 1, "no row was inserted");
        Ok(id)
    }

    async fn close(self) -> anyhow::Result<()> {
        self.pool.close();
        server::disconnected(&self.address).await
    }
}
