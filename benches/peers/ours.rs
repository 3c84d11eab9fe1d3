//! Tenure: operations through dispatch, with claims, projections and sealing, and the follower of a serving node.

use std::sync::Arc;

use tenure::Tenure;
use tenure::context::{Actor, Context};
use tenure::ids::{AccountId, UserId};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::measure::{Contestant, Session};
use crate::workload::Wish;

/// An engine as `tenure serve` runs it.
pub struct Ours {
    tenure: Arc<Tenure>,
    observer: JoinHandle<tenure::event_log::ReadError>,
}

impl Ours {
    pub fn new(tenure: Tenure) -> Self {
        let tenure = Arc::new(tenure);
        let observer = tokio::spawn({
            let tenure = tenure.clone();
            async move { tenure.observe().await }
        });
        Self { tenure, observer }
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        self.observer.abort();
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
    async fn grant(&self, wish: &Wish) -> anyhow::Result<Uuid> {
        let context = Context::of(Actor::Operator);
        Ok(match wish {
            Wish::Register { name } => {
                let email = format!("{name}@example.org");
                self.insert_user(&context, name, &email, "internal").await?.answer.as_uuid()
            }
            Wish::Open { name, owner } => {
                let owner = UserId::from_uuid(*owner);
                self.open_account(&context, name, Some(owner)).await?.answer.as_uuid()
            }
            Wish::Add { account, user, .. } => {
                let done = self
                    .add_member(&context, AccountId::from_uuid(*account), UserId::from_uuid(*user))
                    .await?;
                anyhow::ensure!(done.events.len() == 1, "adding a member has stored no event");
                *account
            }
            Wish::Remove { account, user, .. } => {
                self.remove_member(&context, AccountId::from_uuid(*account), UserId::from_uuid(*user))
                    .await?;
                *account
            }
        })
    }

    async fn close(self) -> anyhow::Result<()> {
        Ok(())
    }
}
