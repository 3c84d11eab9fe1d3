//! Tenure: operations through dispatch, with claims, projections and sealing, and the follower of a serving node.

use std::sync::Arc;

use tenure::Tenure;
use tenure::aggregates::api_key::KeyPrefix;
use tenure::aggregates::source::Retention;
use tenure::context::{Actor, Context};
use tenure::ids::{AccountId, ApiKeyId, InviteId, UserId};
use uuid::Uuid;

use crate::measure::{Contestant, Session};
use crate::workload::Request;

/// The hash of every key: what it costs to make one is no part of the measurement.
pub const HASH: &str =
    "$argon2id$v=19$m=65536,t=1,p=4$BwcHBwcHBwcHBwcHBwcHBw$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// An engine as `tenure serve` runs it.
pub struct Ours {
    tenure: Arc<Tenure>,
}

impl Ours {
    pub fn new(tenure: Tenure) -> Self {
        Self { tenure: Arc::new(tenure) }
    }
}

impl Contestant for Ours {
    const NAME: &'static str = "tenure";
    type Session = Arc<Tenure>;

    async fn open(&self, _: usize) -> anyhow::Result<Arc<Tenure>> {
        Ok(self.tenure.clone())
    }
}

impl Session for Arc<Tenure> {
    async fn carry_out(&self, request: &Request) -> anyhow::Result<Uuid> {
        let context = Context::of(Actor::Operator);
        Ok(match request {
            Request::Register { name } => {
                let email = format!("{name}@example.org");
                self.insert_user(&context, name, &email, "internal").await?.answer.as_uuid()
            }
            Request::Open { name, owner } => {
                let owner = UserId::from_uuid(*owner);
                self.open_account(&context, name, Some(owner)).await?.answer.as_uuid()
            }
            Request::Add { of, user } => {
                let (account, user) = (AccountId::from_uuid(of.account), UserId::from_uuid(*user));
                let done = self.add_member(&context, account, user).await?;
                anyhow::ensure!(done.events.len() == 1, "adding a member has stored no event");
                of.account
            }
            Request::Remove { of, user } => {
                let (account, user) = (AccountId::from_uuid(of.account), UserId::from_uuid(*user));
                self.remove_member(&context, account, user).await?;
                of.account
            }
            Request::Mint { of } => {
                let account = AccountId::from_uuid(of.account);
                let (prefix, by) = (KeyPrefix::of("01234567"), UserId::from_uuid(of.owner));
                self.import_api_key(&context, account, prefix, HASH, "bench", by).await?.answer.as_uuid()
            }
            Request::Revoke { of, key } => {
                let (account, key) = (AccountId::from_uuid(of.account), ApiKeyId::from_uuid(*key));
                self.revoke_api_key(&context, Some(account), key).await?;
                key.as_uuid()
            }
            Request::Invite { of, to } => {
                let (account, by) = (AccountId::from_uuid(of.account), UserId::from_uuid(of.owner));
                self.create_invite(&context, account, &to.name, Some(by)).await?.answer.as_uuid()
            }
            Request::Accept { invite, user, .. } => {
                let (invite, user) = (InviteId::from_uuid(*invite), UserId::from_uuid(*user));
                let done = self.accept_invite(&Context::of(Actor::User(user)), invite, user).await?;
                anyhow::ensure!(done.events.len() == 2, "accepting an invite has stored no membership");
                invite.as_uuid()
            }
            Request::Source { of, handle } => {
                let (account, by) = (AccountId::from_uuid(of.account), UserId::from_uuid(of.owner));
                self.create_source(&context, account, Some(by), handle, None).await?.answer.as_uuid()
            }
            Request::Pipe { of, handle, name, .. } => {
                let (account, by) = (AccountId::from_uuid(of.account), UserId::from_uuid(of.owner));
                let kept = Retention::default();
                self.create_pipe(&context, account, Some(by), handle, name, kept).await?.answer.as_uuid()
            }
        })
    }

    async fn close(self) -> anyhow::Result<()> {
        Ok(())
    }
}
