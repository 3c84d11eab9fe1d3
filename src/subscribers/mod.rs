//! Readers that follow the log: durable subscriptions of services, and the readers of a node.
//!
//! A [`Subscription`] has a name, and its checkpoints are stored in the database. Services start it with a handler:
//!
//! - a [`TransactionalHandler`] changes tables in the database of the log, each event exactly once;
//! - an [`EffectHandler`] has effects elsewhere, each event at least once, with a key that makes them idempotent.
//!
//! The events of a stream come in order. The slices of a subscription are handled side by side, by as many processes as take
//! part. `docs/guides/follow-the-log.md` shows how to write a service.
//!
//! ```no_run
//! use tenure::Tenure;
//! use tenure::event_log::RecordedEvent;
//! use tenure::subscribers::{Delivery, EffectHandler, EventFilter, Failure, Subscription};
//!
//! struct Announce;
//!
//! impl EffectHandler for Announce {
//!     async fn handle(&self, event: &RecordedEvent, delivery: &Delivery) -> Result<(), Failure> {
//!         println!("{} opened, {}", event.stream, delivery.idempotency_key(event));
//!         Ok(())
//!     }
//! }
//!
//! # async fn start(tenure: Tenure) -> Result<(), Box<dyn std::error::Error>> {
//! let filter = EventFilter::default().event_type("account.opened");
//! let running = Subscription::new("announce", 1)?.filter(filter).start_effects(&tenure, Announce).await?;
//! // …
//! running.stop().await;
//! # Ok(())
//! # }
//! ```

mod attempt;
mod filter;
mod handler;
mod handler_thread;
pub mod lag;
pub mod live;
mod operate;
mod runner;
mod slices;
mod store;
mod subscription;
mod worker;

pub use filter::{EventFilter, InvalidFilter};
pub use handler::{Delivery, EffectHandler, Failure, TransactionalHandler};
pub use operate::{ActRecord, By, OperateError, Overview, ParkedRecord, SliceRecord, Subscriptions};
pub use runner::{EndReason, Running, Status};
pub use slices::{MAX_SLICES, hash_of, slice_of};
pub use subscription::{Start, SubscribeError, Subscription};

use std::sync::Arc;

use handler::Work;
use store::Store;

use crate::Tenure;
use crate::entropy::uuid_v7;

impl Subscription {
    /// Registers the subscription and handles its events in this process, each exactly once.
    ///
    /// # Errors
    /// See [`SubscribeError`].
    pub async fn start_transactional(
        &self,
        tenure: &Tenure,
        handler: impl TransactionalHandler,
    ) -> Result<Running, SubscribeError> {
        self.start_with(tenure, Work::Transaction(Arc::new(handler))).await
    }

    /// Registers the subscription and handles its events in this process, each at least once.
    ///
    /// # Errors
    /// See [`SubscribeError`].
    pub async fn start_effects(
        &self,
        tenure: &Tenure,
        handler: impl EffectHandler,
    ) -> Result<Running, SubscribeError> {
        self.start_with(tenure, Work::Effects(Arc::new(handler))).await
    }

    async fn start_with(&self, tenure: &Tenure, work: Work) -> Result<Running, SubscribeError> {
        self.check()?;
        let log = tenure.log();
        store::register(log, self).await?;
        let subscriber = uuid_v7(tenure.clock().now(), &*tenure.entropy());
        let store = Store::new(log, &self.name, subscriber);
        Ok(runner::start(log, self, store, work))
    }
}
