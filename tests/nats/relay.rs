//! The relay: every event once, in order, at its own sequence, from where it was told.

use std::time::Duration;

use async_nats::jetstream;
use cqrs_es::CqrsFramework;
use futures::StreamExt as _;
use tenure::entropy::OsEntropy;
use tenure::nats::{PlatformRights, RelayFrom, revoke_platform_user};

use crate::foreign::example::{Visits, VisitsCommand, store};
use crate::support::nats::PATIENCE;
use crate::support::relay::{Relayed, connect, issue, until};

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_relayed_once_in_order_at_its_own_sequence() {
    let relayed = Relayed::new().await;
    relayed.write(0..40).await;
    let node = relayed.node(Some(RelayFrom::Position(1))).await;
    relayed.check(&node, 1).await;
    // Events that come later, and those of another node.
    relayed.write(40..400).await;
    relayed.check(&node, 1).await;
    let status = until(&node, "nothing behind", |relay| relay.lag == Some(0)).await;
    assert_eq!((status.first, status.oldest, status.repairs), (Some(1), Some(1), 0));
    assert_eq!((status.stopped, status.failure, status.lag_seconds), (None, None, Some(0.0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_switched_on_late_begins_where_it_is_told() {
    for (from, first) in [(None, 31), (Some(RelayFrom::Head), 31), (Some(RelayFrom::Position(12)), 12)] {
        let relayed = Relayed::new().await;
        let before = relayed.head().await;
        relayed.write(0..usize::try_from(30 - before).unwrap()).await;
        let node = relayed.node(from).await;
        until(&node, "a stream", |relay| relay.tail.is_some()).await;
        relayed.write(100..110).await;
        relayed.check(&node, first).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_relay_as_one_and_the_second_takes_over() {
    let relayed = Relayed::new().await;
    let from = Some(RelayFrom::Position(1));
    let (one, two) = tokio::join!(relayed.node(from), relayed.node(from));
    relayed.write(0..100).await;
    relayed.check(&one, 1).await;
    let leader = until(&two, "a leader", |relay| relay.node.is_some()).await.node;
    let (ending, staying) = if leader == Some(one.server.tenure.node()) { (one, two) } else { (two, one) };
    ending.nats.close().await;
    relayed.write(100..200).await;
    relayed.check(&staying, 1).await;
    until(&staying, "the other one leads", |relay| relay.node.is_some() && relay.node != leader).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_beginning_that_the_log_does_not_have_is_refused_by_name() {
    let relayed = Relayed::new().await;
    let head = relayed.head().await;
    let node = relayed.node(Some(RelayFrom::Position(head + 3))).await;
    let status = until(&node, "refused", |relay| relay.stopped.is_some()).await;
    let expected =
        format!("cannot begin at position {}: the log's newest event has position {head}", head + 3);
    assert!(status.stopped.as_deref().unwrap().contains(&expected), "{status:?}");
    tenure::nats::tell_relay(&relayed.tenure, RelayFrom::Position(head + 1)).await.unwrap();
    relayed.write(0..3).await;
    relayed.check(&node, head + 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_epoch_has_a_stream_of_its_own_and_the_former_one_stays_readable() {
    let relayed = Relayed::new().await;
    let node = relayed.node(Some(RelayFrom::Position(2))).await;
    relayed.write(0..20).await;
    relayed.check(&node, 2).await;
    let former = relayed.stream();
    tenure::engine::new_epoch(&relayed.database.address, &OsEntropy::default()).await.unwrap();
    relayed.write(20..30).await;
    assert_ne!(relayed.stream(), former);
    // It carries all that the former one did: those events may not be the ones of this epoch.
    relayed.check(&node, 2).await;
    let context = jetstream::new(relayed.reader().await);
    let found = context.get_stream(&former).await.unwrap();
    assert!(found.cached_info().state.messages >= 19, "what was relayed before can still be read");
    assert_ne!(found.cached_info().config.subjects, vec!["tenure.events.>".to_owned()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_read_and_nothing_else_and_end_when_they_are_revoked() {
    let relayed = Relayed::new().await;
    let node = relayed.node(Some(RelayFrom::Position(1))).await;
    relayed.check(&node, 1).await;
    let issued = issue(&relayed.tenure, PlatformRights::Subscribe).await;
    let client = connect(&issued, &relayed.server.url).await;
    let mut context = jetstream::new(client.clone());
    context.set_timeout(Duration::from_millis(300));
    let mut live = client.subscribe("tenure.events.>").await.unwrap();
    client.flush().await.unwrap();
    relayed.write(0..1).await;
    let seen = tokio::time::timeout(PATIENCE, live.next()).await.unwrap().unwrap();
    assert!(seen.subject.starts_with("tenure.events._.user.registered"), "{}", seen.subject);
    let stream = relayed.stream();
    assert!(context.publish("tenure.events.x.y.z", "1".into()).await.unwrap().await.is_err());
    // Not even answered: the servers do not take the requests.
    for request in ["DELETE", "PURGE", "MSG.DELETE", "UPDATE", "SNAPSHOT"] {
        let asked = client.request(format!("$JS.API.STREAM.{request}.{stream}"), "{}".into());
        let answer = tokio::time::timeout(Duration::from_millis(400), asked).await;
        assert!(!matches!(answer, Ok(Ok(_))), "{request}");
    }
    relayed.check(&node, 1).await;
    assert!(revoke_platform_user(&relayed.tenure, &issued.public_key, "test").await.unwrap());
    assert!(!revoke_platform_user(&relayed.tenure, &issued.public_key, "test").await.unwrap());
    let cut = async {
        while client.connection_state() == async_nats::connection::State::Connected {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), cut).await.expect("cut off");
    // The relay goes on, and others read on.
    relayed.write(1..10).await;
    relayed.check(&node, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_cannot_purge_or_delete_events_by_accident() {
    let relayed = Relayed::new().await;
    let node = relayed.node(Some(RelayFrom::Position(1))).await;
    relayed.write(0..10).await;
    relayed.check(&node, 1).await;
    let manager = relayed.manager().await;
    let stream = manager.get_stream(relayed.stream()).await.unwrap();
    assert!(stream.purge().await.is_err());
    assert!(stream.delete_message(3).await.is_err());
    relayed.check(&node, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bounded_stream_drops_its_oldest_events_and_keeps_its_sequences() {
    let relayed = Relayed::new().await;
    let node = relayed
        .node_with(|settings| {
            settings.relay.from = Some(RelayFrom::Position(1));
            settings.relay.max_bytes = Some(200_000);
        })
        .await;
    relayed.write(0..600).await;
    let head = relayed.head().await;
    let status = until(&node, "all relayed", |relay| relay.tail == Some(head)).await;
    let oldest = status.oldest.unwrap();
    assert!(oldest > 1, "the oldest are gone");
    crate::support::relay::check(&relayed.tenure, &relayed.server.url, &relayed.stream(), oldest).await;
    assert_eq!((status.repairs, status.stopped), (0, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_the_greatest_size_is_relayed() {
    let relayed = Relayed::new().await;
    let node = relayed
        .node_with(|settings| {
            settings.relay.from = Some(RelayFrom::Position(1));
            settings.relay.public_foreign = vec!["visits".to_owned()];
        })
        .await;
    let cqrs = CqrsFramework::<Visits, _>::new(store(&relayed.tenure), vec![], ());
    for length in [tenure::event_log::limits::MAX_EVENT_BYTES - 100, 10] {
        let visitor = "x".repeat(length);
        cqrs.execute("museum", VisitsCommand::Enter { visitor }).await.unwrap();
    }
    relayed.check(&node, 1).await;
    let context = jetstream::new(relayed.reader().await);
    let head = relayed.head().await.unsigned_abs();
    let stream = context.get_stream(relayed.stream()).await.unwrap();
    assert!(stream.get_raw_message(head - 1).await.unwrap().payload.len() > 255 * 1_024);
}
