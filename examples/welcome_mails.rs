//! A service with an effect outside the database: a mail to each new user, through a provider that takes an idempotency key.
//!
//! `cargo run --example welcome_mails` starts a private PostgreSQL in a temporary directory and shows it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tenure::Tenure;
use tenure::event_log::RecordedEvent;
use tenure::subscribers::{
    Delivery, EffectHandler, EventFilter, Failure, Running, Start, SubscribeError, Subscription,
};
use tokio::sync::Mutex;

/// Stands for the mail provider: it sends a mail once, however often it is asked with the same key.
#[derive(Clone, Default)]
pub struct Provider(Arc<Mutex<BTreeMap<String, String>>>);

impl Provider {
    async fn send(&self, idempotency_key: String, address: &str) -> Result<(), ProviderUnavailable> {
        self.0.lock().await.entry(idempotency_key).or_insert_with(|| address.to_owned());
        Ok(())
    }

    /// The addresses that mails went to.
    pub async fn sent(&self) -> Vec<String> {
        self.0.lock().await.values().cloned().collect()
    }
}

/// The provider cannot be reached.
#[derive(Debug, thiserror::Error)]
#[error("the mail provider cannot be reached")]
pub struct ProviderUnavailable;

/// Sends the mails.
struct Welcome {
    tenure: Tenure,
    provider: Provider,
}

impl EffectHandler for Welcome {
    async fn handle(&self, event: &RecordedEvent, delivery: &Delivery) -> Result<(), Failure> {
        // Addresses are sealed; this opens them.
        let described = self.tenure.describe(std::slice::from_ref(event)).await;
        let records = described.map_err(Failure::dependency)?;
        let address = records.first().and_then(|record| record.sealed.get("email")?.as_str());
        // Nothing to open: the user has been forgotten since.
        let Some(address) = address else { return Ok(()) };
        let key = delivery.idempotency_key(event);
        // A limit shorter than the handler's own, so that a slow provider counts as one that is away, not as a fault of the
        // event.
        let sending = tokio::time::timeout(Duration::from_secs(5), self.provider.send(key, address));
        sending.await.map_err(Failure::dependency)?.map_err(Failure::dependency)
    }
}

/// Starts to follow, with the users who register from now on.
///
/// # Errors
/// See [`SubscribeError`].
pub async fn follow(tenure: &Tenure, provider: &Provider) -> Result<Running, SubscribeError> {
    let welcome = Welcome { tenure: tenure.clone(), provider: provider.clone() };
    Subscription::new("welcome_mails", 1)?
        .filter(EventFilter::default().event_type("user.registered"))
        .starting_at(Start::Newest)
        .start_effects(tenure, welcome)
        .await
}

#[allow(dead_code)]
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    use tenure::clock::SystemClock;
    use tenure::context::{Actor, Context};
    use tenure::credentials::master_key::MasterKeySource;
    use tenure::entropy::OsEntropy;
    use tenure::postgres::Address;
    use tenure::postgres::private::{Options, PrivatePostgres};

    let directory = tempfile::tempdir()?;
    let server =
        PrivatePostgres::start(Options { data_dir: directory.path().to_owned(), bin_dir: None }).await?;
    let endpoint = server.endpoint();
    let address = Address::socket(&endpoint.socket_dir, endpoint.user, endpoint.database);
    let key =
        MasterKeySource { default_file: directory.path().join("master.key"), ..MasterKeySource::default() };
    let settings = tenure::Settings::new(address, key);
    let tenure = Tenure::open(settings, Arc::new(SystemClock), Arc::new(OsEntropy::default())).await?;
    let provider = Provider::default();
    let running = follow(&tenure, &provider).await?;

    for name in ["ada", "bob"] {
        let (operator, email) = (Context::of(Actor::Operator), format!("{name}@example.org"));
        tenure.insert_user(&operator, name, &email, "internal").await?;
    }
    while provider.sent().await.len() < 2 {
        tokio::task::yield_now().await;
    }
    println!("mails went to {}", provider.sent().await.join(" and "));
    running.stop().await;
    tenure.close().await;
    server.stop().await?;
    Ok(())
}
