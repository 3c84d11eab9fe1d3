//! What operators do: pause, resume, skip, rewind, remove; and what they see.

use tenure::event_log::PositionToken;
use tenure::subscribers::{EndReason, OperateError};

use super::*;

fn token(tenure: &Tenure, position: i64) -> PositionToken {
    PositionToken { epoch: tenure.log().seen().get().epoch, position }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_subscription_hands_out_nothing_and_loses_nothing() {
    let database = TestDatabase::new().await;
    let client = make_tables(&database).await;
    let tenure = database.open().await;
    let mut running = quick("a", 1).slices(3).start_transactional(&tenure, Table::default()).await.unwrap();
    make_events(&tenure, "a", 3).await;
    until_current(&client, "a").await;
    let subscriptions = Subscriptions::of(tenure.log());
    subscriptions.pause("a", &by()).await.unwrap();
    running.until(|status| *status == Status::Paused).await;
    until(&client, "select count(holder) = 0 from log.subscription_slice").await;
    let before = written(&client, "seen").await;
    make_events(&tenure, "b", 3).await;
    // A new process does not go on either.
    let mut other = quick("a", 1).slices(3).start_transactional(&tenure, Table::default()).await.unwrap();
    other.until(|status| *status == Status::Paused).await;
    assert_eq!(written(&client, "seen").await, before);
    let overview = subscriptions.overview("a").await.unwrap();
    assert!(overview.state == "paused" && overview.lag_events > 0 && overview.held == 0, "{overview:?}");
    subscriptions.resume("a", &by()).await.unwrap();
    until_current(&client, "a").await;
    assert_handled(&client, &tenure, "seen", |_| true).await;
    running.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_skipped_event_is_passed_over_and_recorded() {
    let database = TestDatabase::new().await;
    let client = make_tables(&database).await;
    let tenure = database.open().await;
    let accounts = make_events(&tenure, "a", 3).await;
    let table = Table::default();
    table.script.set(&stream(accounts[1]), Behaviour::Refuses);
    let running = quick("a", 1).slices(2).start_transactional(&tenure, table.clone()).await.unwrap();
    until_current(&client, "a").await;
    let own: Vec<i64> = history(&tenure)
        .await
        .iter()
        .filter(|event| event.stream.to_string() == stream(accounts[1]))
        .map(|event| event.position)
        .collect();
    let subscriptions = Subscriptions::of(tenure.log());
    let shown = subscriptions.parked("a", None, 10).await.unwrap();
    assert_eq!(shown[0].position, Some(token(&tenure, own[0]).to_string()));
    table.script.clear();
    // Neither one that is not the next, nor one of a stream that is not parked.
    for wrong in [own[1], own[0] - 1] {
        let error = subscriptions.skip("a", token(&tenure, wrong), &by()).await.unwrap_err();
        assert!(matches!(error, OperateError::NotNext { .. }), "{error}");
    }
    let beyond = subscriptions.skip("a", token(&tenure, 1_000_000), &by()).await.unwrap_err();
    assert!(matches!(beyond, OperateError::Log(_)), "{beyond}");
    let why = By::new("ada", "the first address is dead").unwrap();
    subscriptions.skip("a", token(&tenure, own[0]), &why).await.unwrap();
    until_current(&client, "a").await;
    assert_handled(&client, &tenure, "seen", |event| event.position != own[0]).await;
    let acts = subscriptions.acts("a", None, 10).await.unwrap();
    assert_eq!((acts.len(), &*acts[0].act, &*acts[0].actor), (1, "skip", "ada"));
    assert_eq!((acts[0].position, acts[0].stream.clone()), (Some(own[0]), Some(stream(accounts[1]))));
    // The record cannot be changed, not even by the owner of the tables.
    for role in [Some("tenure_app"), Some("tenure_owner"), None] {
        let client = database.connect(role).await;
        assert!(client.batch_execute("delete from log.subscription_act").await.is_err(), "{role:?}");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewind_takes_a_running_subscription_back_and_each_later_event_comes_again_once() {
    let database = TestDatabase::new().await;
    let client = make_tables(&database).await;
    let nodes = [database.open().await, database.open().await];
    let tenure = &nodes[0];
    let accounts = make_events(tenure, "a", 6).await;
    let elsewhere = Elsewhere::new(&database).await;
    elsewhere.script.set(&stream(accounts[4]), Behaviour::Refuses);
    let mut running = Vec::new();
    for node in &nodes {
        // A lease that no busy machine lets go: an event that is handed out twice would be counted here.
        let subscription =
            quick("a", 1).lease(Duration::from_secs(10)).handler_timeout(Duration::from_secs(5));
        running.push(subscription.slices(4).start_effects(node, elsewhere.clone()).await.unwrap());
    }
    until_current(&client, "a").await;
    elsewhere.script.clear();
    let subscriptions = Subscriptions::of(tenure.log());
    let newest = tenure.log().newest().await.unwrap();
    let target = newest / 2;
    subscriptions.rewind("a", token(tenure, target), &by()).await.unwrap();
    make_events(tenure, "b", 3).await;
    until_current(&client, "a").await;
    // The parked stream fails no longer. What of it comes after the target has come with the others.
    subscriptions.unpark("a", None, &by()).await.unwrap();
    until_current(&client, "a").await;
    let rows = client
        .query("select position, count(*) from service.effect group by position order by position", &[])
        .await
        .unwrap();
    let counts: Vec<(i64, i64)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let expected: Vec<_> = history(tenure)
        .await
        .iter()
        .map(|event| {
            let was_parked = event.stream.to_string() == stream(accounts[4]);
            (
                event.position,
                if event.position <= target || event.position > newest || was_parked { 1 } else { 2 },
            )
        })
        .collect();
    assert_eq!(counts, expected);
    let forward = subscriptions.rewind("a", token(tenure, tenure.log().newest().await.unwrap()), &by()).await;
    assert!(matches!(forward, Err(OperateError::NotBeyond(_))), "{forward:?}");
    for running in running {
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewind_to_before_what_an_earlier_version_has_handled_loses_nothing() {
    let database = TestDatabase::new().await;
    let client = make_tables(&database).await;
    let tenure = database.open().await;
    let accounts = make_events(&tenure, "a", 10).await;
    let elsewhere = Elsewhere::new(&database).await;
    // The first version leaves one slice behind, and a stream parked in every other.
    elsewhere.script.set(&stream(accounts[4]), Behaviour::MissesADependency);
    for account in &accounts[5..9] {
        elsewhere.script.set(&stream(*account), Behaviour::Refuses);
    }
    let old = quick("a", 1).slices(4).start_effects(&tenure, elsewhere.clone()).await.unwrap();
    until(
        &client,
        "select count(*) filter (where position = (select max(position) from log.event)) = 3
                    and count(*) filter (where failure is not null) = 1 from log.subscription_slice",
    )
    .await;
    old.stop().await;
    // The second begins there, waits there too, and remembers what the first has handled beyond that.
    let new = quick("a", 2).slices(2).start_effects(&tenure, elsewhere.clone()).await.unwrap();
    until(
        &client,
        "select count(*) filter (where failure is not null) = 1
                and count(*) filter (where position = (select max(position) from log.event)) = 1
         from log.subscription_slice",
    )
    .await;
    let subscriptions = Subscriptions::of(tenure.log());
    subscriptions.rewind("a", token(&tenure, 4), &by()).await.unwrap();
    elsewhere.script.clear();
    until_current(&client, "a").await;
    subscriptions.unpark("a", None, &by()).await.unwrap();
    until_current(&client, "a").await;
    let mut handled = written(&client, "effect").await;
    handled.sort_unstable();
    handled.dedup();
    let expected: Vec<i64> = history(&tenure).await.iter().map(|event| event.position).collect();
    assert_eq!(handled, expected);
    new.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_in_use_is_not_removed_and_acts_need_a_reason() {
    let database = TestDatabase::new().await;
    let client = make_tables(&database).await;
    let tenure = database.open().await;
    let subscriptions = Subscriptions::of(tenure.log());
    for missing in [subscriptions.pause("a", &by()).await, subscriptions.remove("a", &by()).await] {
        assert!(matches!(missing, Err(OperateError::NotFound(_))), "{missing:?}");
    }
    for (actor, reason) in [("", "x"), ("x", " "), ("x", "a\nb"), ("x", &*"a".repeat(501))] {
        assert!(matches!(By::new(actor, reason), Err(OperateError::Unexplained)), "{actor:?} {reason:?}");
    }
    let mut running = quick("a", 1).start_transactional(&tenure, Table::default()).await.unwrap();
    running.until(is_running).await;
    let error = subscriptions.remove("a", &by()).await.unwrap_err();
    assert!(matches!(error, OperateError::InUse(1)), "{error}");
    let nobody = tenure::event_log::StreamId::new("user", uuid::Uuid::nil());
    let not_parked = subscriptions.unpark("a", Some(&nobody), &by()).await;
    assert!(matches!(not_parked, Err(OperateError::NotParked(_))), "{not_parked:?}");
    running.stop().await;
    subscriptions.remove("a", &by()).await.unwrap();
    let left =
        "select (select count(*) from log.subscription) + (select count(*) from log.subscription_slice)";
    assert_eq!(client.query_one(left, &[]).await.unwrap().get::<_, i64>(0), 0);
    assert_eq!(subscriptions.acts("a", None, 10).await.unwrap()[0].act, "remove");
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_the_engine_ends_its_subscribers_and_gives_their_slices_back() {
    let database = TestDatabase::new().await;
    let client = make_tables(&database).await;
    let tenure = database.open().await;
    make_events(&tenure, "a", 3).await;
    let mut running = quick("a", 1).slices(2).start_transactional(&tenure, Table::default()).await.unwrap();
    until_current(&client, "a").await;
    tenure.close().await;
    assert_eq!(running.until(|_| false).await, Status::Ended(EndReason::Stopped));
    let left = "select count(holder) + (select count(*) from log.subscriber) from log.subscription_slice";
    assert_eq!(client.query_one(left, &[]).await.unwrap().get::<_, i64>(0), 0);
}

/// As after a failover that lost events: a slice that a rewind does not move keeps its checkpoint.
#[tokio::test(flavor = "multi_thread")]
async fn a_rewind_leaves_no_slice_at_an_event_that_the_log_has_lost() {
    let database = TestDatabase::new().await;
    let client = make_tables(&database).await;
    let tenure = database.open().await;
    make_events(&tenure, "a", 5).await;
    let running = quick("a", 1).slices(2).start_transactional(&tenure, Table::default()).await.unwrap();
    until_current(&client, "a").await;
    running.stop().await;
    client
        .batch_execute(
            "update log.subscription_slice set position = 2, event_id = gen_random_uuid() where slice = 0",
        )
        .await
        .unwrap();
    let subscriptions = Subscriptions::of(tenure.log());
    let epoch = tenure.log().seen().get().epoch;
    let back_to = |position| tenure::event_log::PositionToken { epoch, position };
    let error = subscriptions.rewind("a", back_to(3), &by()).await.unwrap_err();
    assert!(matches!(error, OperateError::CheckpointLost { slice: 0, position: 2 }), "{error}");
    subscriptions.rewind("a", back_to(1), &by()).await.unwrap();
    let mut running = quick("a", 1).slices(2).start_transactional(&tenure, Table::default()).await.unwrap();
    running.until(is_running).await;
    running.stop().await;
}
