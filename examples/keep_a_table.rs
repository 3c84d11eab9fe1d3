//! A service that keeps a table of its own from the log, exactly once: how many seats each account uses.
//!
//! `cargo run --example keep_a_table` starts a private PostgreSQL in a temporary directory and shows it.

use std::sync::Arc;

use tenure::Tenure;
use tenure::event_log::RecordedEvent;
use tenure::postgres::Address;
use tenure::subscribers::{
    Delivery, EventFilter, Failure, Running, SubscribeError, Subscription, TransactionalHandler,
};
use tokio_postgres::{NoTls, Transaction};

/// The table of the service. Handlers run under the role that nodes serve under, so that role needs the privileges.
const TABLE: &str = "
    create schema if not exists billing;
    create table if not exists billing.seats (account_id uuid primary key, seats int not null);
    grant usage on schema billing to tenure_app;
    grant select, insert, update on billing.seats to tenure_app;";

/// Counts the seats. A count shows at once if an event is handled twice, or not at all.
struct Seats;

impl TransactionalHandler for Seats {
    async fn handle(
        &self,
        events: &[Arc<RecordedEvent>],
        _: &Delivery,
        transaction: &Transaction<'_>,
    ) -> Result<(), Failure> {
        for event in events {
            let change = if event.event_type == "account.member_removed" { -1 } else { 1 };
            let sql = "insert into billing.seats (account_id, seats) values ($1, $2)
                       on conflict (account_id) do update set seats = seats.seats + $2";
            transaction.execute(sql, &[&event.account_id, &change]).await?;
        }
        Ok(())
    }
}

/// Starts to follow. Any number of processes can; they share the four slices.
///
/// # Errors
/// See [`SubscribeError`].
pub async fn follow(tenure: &Tenure) -> Result<Running, SubscribeError> {
    let filter = EventFilter::default()
        .event_type("account.opened")
        .event_type("account.member_added")
        .event_type("account.member_removed");
    Subscription::new("billing_seats", 1)?.slices(4).filter(filter).start_transactional(tenure, Seats).await
}

/// Makes the table.
///
/// # Errors
/// The database cannot be reached, or the login may not create a schema.
pub async fn make_table(address: &Address) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let (client, connection) = address.config.connect(NoTls).await?;
    tokio::spawn(connection);
    client.batch_execute(TABLE).await?;
    Ok(client)
}

#[allow(dead_code)]
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    use tenure::clock::SystemClock;
    use tenure::context::{Actor, Context};
    use tenure::credentials::master_key::MasterKeySource;
    use tenure::entropy::OsEntropy;
    use tenure::postgres::private::{Options, PrivatePostgres};

    let directory = tempfile::tempdir()?;
    let server =
        PrivatePostgres::start(Options { data_dir: directory.path().to_owned(), bin_dir: None }).await?;
    let endpoint = server.endpoint();
    let address = Address::socket(&endpoint.socket_dir, endpoint.user, endpoint.database);
    let key =
        MasterKeySource { default_file: directory.path().join("master.key"), ..MasterKeySource::default() };
    let settings = tenure::Settings::new(address.clone(), key);
    let tenure = Tenure::open(settings, Arc::new(SystemClock), Arc::new(OsEntropy::default())).await?;
    let client = make_table(&address).await?;
    let running = follow(&tenure).await?;

    let operator = Context::of(Actor::Operator);
    let ada = tenure.insert_user(&operator, "ada", "ada@example.org", "internal").await?.answer;
    let bob = tenure.insert_user(&operator, "bob", "bob@example.org", "internal").await?.answer;
    let acme = tenure.open_account(&operator, "acme", Some(ada)).await?.answer;
    tenure.add_member(&operator, acme, bob).await?;

    let sql = "select seats from billing.seats where account_id = $1";
    let seats = loop {
        match client.query_opt(sql, &[&acme.as_uuid()]).await?.map(|row| row.get::<_, i32>(0)) {
            Some(2) => break 2,
            _ => tokio::task::yield_now().await,
        }
    };
    println!("acme uses {seats} seats");
    running.stop().await;
    tenure.close().await;
    server.stop().await?;
    Ok(())
}
