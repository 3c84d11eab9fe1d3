//! An outsider's own aggregate on Tenure's log, through cqrs-es's `CqrsFramework`.
//!
//! `cargo run --example foreign_aggregate` starts a private PostgreSQL in a temporary directory and shows it.

use std::sync::Arc;

use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, CqrsFramework, DomainEvent, EventStore as _};
use serde::{Deserialize, Serialize};
use tenure::Tenure;
use tenure::event_log::foreign::ForeignStore;
use tenure::event_log::upcast::Upcasters;

/// A counter of visits: nothing that Tenure knows of.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Visits {
    /// How many there were.
    pub count: u32,
}

/// What can be asked of it.
#[derive(Debug)]
pub enum VisitsCommand {
    /// Somebody comes in.
    Enter {
        /// Who.
        visitor: String,
    },
}

/// What can have happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum VisitsEvent {
    /// Somebody came in.
    Entered {
        /// Who.
        visitor: String,
    },
}

impl DomainEvent for VisitsEvent {
    fn event_type(&self) -> String {
        "visits.entered".to_owned()
    }

    fn event_version(&self) -> String {
        "1.0".to_owned()
    }
}

/// Why nobody comes in.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("a visitor has a name")]
pub struct Nameless;

impl Aggregate for Visits {
    const TYPE: &'static str = "visits";
    type Command = VisitsCommand;
    type Event = VisitsEvent;
    type Error = Nameless;
    type Services = ();

    async fn handle(
        &mut self,
        command: VisitsCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), Nameless> {
        let VisitsCommand::Enter { visitor } = command;
        if visitor.is_empty() {
            return Err(Nameless);
        }
        sink.write(VisitsEvent::Entered { visitor }, self).await;
        Ok(())
    }

    fn apply(&mut self, VisitsEvent::Entered { .. }: VisitsEvent) {
        self.count += 1;
    }
}

/// A store for the outsider's aggregate on the log of an engine.
#[must_use]
pub fn store(tenure: &Tenure) -> ForeignStore {
    ForeignStore::new(tenure.log().clone(), Upcasters::default(), tenure.clock(), tenure.entropy())
}

/// Three visits to one museum; gives what the aggregate knows then.
///
/// # Errors
/// A visit is refused, or the log cannot be reached.
pub async fn visit(tenure: &Tenure) -> Result<u32, cqrs_es::AggregateError<Nameless>> {
    let cqrs = CqrsFramework::<Visits, _>::new(store(tenure), vec![], ());
    for visitor in ["Ada", "Bob", "Carol"] {
        cqrs.execute("museum", VisitsCommand::Enter { visitor: visitor.to_owned() }).await?;
    }
    let mut context = cqrs_es::EventStore::<Visits>::load_aggregate(&store(tenure), "museum").await?;
    Ok(cqrs_es::AggregateContext::aggregate(&mut context).count)
}

#[allow(dead_code)]
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    use tenure::clock::SystemClock;
    use tenure::credentials::master_key::MasterKeySource;
    use tenure::entropy::OsEntropy;
    use tenure::postgres::Address;
    use tenure::postgres::private::{Options, PrivatePostgres};

    let directory = tempfile::tempdir()?;
    let options = Options { data_dir: directory.path().to_owned(), bin_dir: None };
    let server = PrivatePostgres::start(options).await?;
    let endpoint = server.endpoint();
    let address = Address::socket(&endpoint.socket_dir, endpoint.user, endpoint.database);
    let key =
        MasterKeySource { default_file: directory.path().join("master.key"), ..MasterKeySource::default() };
    let settings = tenure::Settings::new(address, key);
    let tenure = Tenure::open(settings, Arc::new(SystemClock), Arc::new(OsEntropy::default())).await?;
    println!("the museum has had {} visits", visit(&tenure).await?);
    let stream = ForeignStore::load_events(&store(&tenure), "museum").await?;
    let stream: Vec<cqrs_es::EventEnvelope<Visits>> = stream;
    for event in stream {
        println!("{} {:?}", event.sequence, event.payload);
    }
    tenure.close().await;
    server.stop().await?;
    Ok(())
}
