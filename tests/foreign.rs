//! Outsiders' aggregates on the log.

use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, AggregateContext as _, AggregateError, CqrsFramework, EventStore};
use futures::future::join_all;
use serde::{Deserialize, Serialize};

use crate::support::{TestDatabase, history};

#[path = "../examples/foreign_aggregate.rs"]
pub mod example;

use example::{Nameless, Visits, VisitsCommand, VisitsEvent};

#[tokio::test(flavor = "multi_thread")]
async fn an_outsiders_aggregate_runs_through_the_stock_framework() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    assert_eq!(example::visit(&tenure).await.unwrap(), 3);
    let events = history(&tenure).await;
    assert_eq!(events.len(), 4);
    assert_eq!(
        (&*events[3].stream.stream_type, events[3].version, events[3].event_version.as_str()),
        ("visits", 3, "1.0")
    );
    let cqrs = CqrsFramework::<Visits, _>::new(example::store(&tenure), vec![], ());
    let refused = cqrs.execute("museum", VisitsCommand::Enter { visitor: String::new() }).await;
    assert!(matches!(refused, Err(AggregateError::UserError(Nameless))));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_decisions_on_the_same_version_cannot_both_commit() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let store = example::store(&tenure);
    let contexts = join_all((0..8).map(|_| EventStore::<Visits>::load_aggregate(&store, "museum"))).await;
    let event = || vec![VisitsEvent::Entered { visitor: "Ada".to_owned() }];
    let commits = contexts.into_iter().map(|context| store.commit(event(), context.unwrap(), [].into()));
    let results: Vec<Result<_, AggregateError<Nameless>>> = join_all(commits).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert_eq!(
        results.iter().filter(|result| matches!(result, Err(AggregateError::AggregateConflict))).count(),
        7
    );
    let mut loaded = EventStore::<Visits>::load_aggregate(&store, "museum").await.unwrap();
    assert_eq!(loaded.aggregate().count, 1);
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Impostor;

impl Aggregate for Impostor {
    const TYPE: &'static str = "account";
    type Command = ();
    type Event = VisitsEvent;
    type Error = Nameless;
    type Services = ();

    async fn handle(&mut self, (): (), (): &(), sink: &EventSink<Self>) -> Result<(), Nameless> {
        sink.write(VisitsEvent::Entered { visitor: "Eve".to_owned() }, self).await;
        Ok(())
    }

    fn apply(&mut self, _: VisitsEvent) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_stream_types_and_ill_formed_ids_are_refused() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let error = CqrsFramework::<Impostor, _>::new(example::store(&tenure), vec![], ())
        .execute("x", ())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("`account` is a stream type of Tenure"), "{error}");
    let cqrs = CqrsFramework::<Visits, _>::new(example::store(&tenure), vec![], ());
    for id in ["", "a\0b", "a\nb", &"x".repeat(256)] {
        let command = VisitsCommand::Enter { visitor: "Ada".to_owned() };
        let error = cqrs.execute(id, command).await.unwrap_err();
        assert!(error.to_string().contains("1 to 255 bytes"), "{error}");
    }
    assert_eq!(history(&tenure).await.len(), 1);
}
