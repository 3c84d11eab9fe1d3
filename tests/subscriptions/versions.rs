//! New versions, changed definitions, restored logs, later releases: what takes over, and what is refused.

use tenure::event_log::StreamId;
use tenure::subscribers::{EndReason, EventFilter, OperateError, SubscribeError, slice_of};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_with_other_slices_goes_on_exactly_where_each_slice_was() {
    let database = TestDatabase::new().await;
    let client = make_tables(&database).await;
    let tenure = database.open().await;
    let accounts = make_events(&tenure, "a", 12).await;
    let first = Table { version: 1, ..Table::default() };
    // One slice stays behind, and one stream of another is parked.
    let slice = |account: &AccountId| slice_of(&StreamId::new("account", account.as_uuid()), 5);
    let parked_account = *accounts.iter().find(|account| slice(account) != slice(&accounts[3])).unwrap();
    first.script.set(&stream(accounts[3]), Behaviour::MissesADependency);
    first.script.set(&stream(parked_account), Behaviour::Refuses);
    let mut old = quick("ledger", 1).slices(5).start_transactional(&tenure, first).await.unwrap();
    until(
        &client,
        "select count(*) filter (where position = (select max(position) from log.event)) >= 3
                    and count(*) filter (where failure is not null) = 1 from log.subscription_slice",
    )
    .await;
    until(&client, "select exists (select from log.parked_stream)").await;
    let second = Table { version: 2, ..Table::default() };
    let new = quick("ledger", 2).slices(3).start_transactional(&tenure, second).await.unwrap();
    assert_eq!(old.until(|_| false).await, Status::Ended(EndReason::Superseded { version: 2 }));
    make_events(&tenure, "b", 5).await;
    until_current(&client, "ledger").await;
    assert_handled(&client, &tenure, "seen", |event| event.stream.to_string() != stream(parked_account))
        .await;
    // A third version takes over before the second has handled what the first had parked.
    new.stop().await;
    let third = Table { version: 3, ..Table::default() };
    let new = quick("ledger", 3).slices(8).start_transactional(&tenure, third).await.unwrap();
    until_current(&client, "ledger").await;
    Subscriptions::of(tenure.log()).unpark("ledger", None, &by()).await.unwrap();
    until_current(&client, "ledger").await;
    assert_handled(&client, &tenure, "seen", |_| true).await;
    new.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_parked_beyond_the_new_start_is_not_lost_when_it_is_unparked_first() {
    let database = TestDatabase::new().await;
    let client = make_tables(&database).await;
    let tenure = database.open().await;
    let accounts = make_events(&tenure, "a", 12).await;
    let first = Table::default();
    first.script.set(&stream(accounts[0]), Behaviour::MissesADependency);
    for account in &accounts[5..] {
        first.script.set(&stream(*account), Behaviour::Refuses);
    }
    let old = quick("ledger", 1).slices(4).start_transactional(&tenure, first.clone()).await.unwrap();
    until(
        &client,
        "select count(*) filter (where position = (select max(position) from log.event)) = 3
                    and count(*) filter (where failure is not null) = 1 from log.subscription_slice",
    )
    .await;
    // The new version begins at the slice that is behind, and is stopped there; the parked streams are unparked before it
    // comes to their events.
    old.stop().await;
    let blocked = Table { script: Script::default(), version: 2 };
    blocked.script.set(&stream(accounts[0]), Behaviour::MissesADependency);
    let new = quick("ledger", 2).slices(1).start_transactional(&tenure, blocked.clone()).await.unwrap();
    Subscriptions::of(tenure.log()).unpark("ledger", None, &by()).await.unwrap();
    until(&client, "select not exists (select from log.parked_stream where released_at is not null)").await;
    blocked.script.clear();
    until_current(&client, "ledger").await;
    Subscriptions::of(tenure.log()).unpark("ledger", None, &by()).await.unwrap();
    until_current(&client, "ledger").await;
    assert_handled(&client, &tenure, "seen", |_| true).await;
    new.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_wants_the_whole_log_gets_it() {
    let database = TestDatabase::new().await;
    let client = make_tables(&database).await;
    let tenure = database.open().await;
    make_events(&tenure, "a", 3).await;
    let elsewhere = Elsewhere::new(&database).await;
    let old = quick("mailer", 1).start_effects(&tenure, elsewhere.clone()).await.unwrap();
    until_current(&client, "mailer").await;
    old.stop().await;
    let new = quick("mailer", 2).start_effects(&tenure, elsewhere.clone()).await.unwrap();
    until_current(&client, "mailer").await;
    assert_handled(&client, &tenure, "effect", |_| true).await;
    new.stop().await;
    let all = quick("mailer", 3).slices(2).replaying_the_whole_log();
    let all = all.start_effects(&tenure, elsewhere.clone()).await.unwrap();
    until_current(&client, "mailer").await;
    until(&client, "select bool_and(count = 2) from (select count(*) from service.effect group by key) keys")
        .await;
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_lose_events_is_refused_by_name() {
    let database = TestDatabase::new().await;
    make_tables(&database).await;
    let tenure = database.open().await;
    let start = async |subscription: Subscription| {
        let started = subscription.start_transactional(&tenure, Table::default()).await;
        started.map(drop).map_err(|error| error.to_string())
    };
    let users = EventFilter::default().aggregate("user");
    assert_eq!(start(quick("a", 2).filter(users.clone())).await, Ok(()));
    assert_eq!(start(quick("a", 2).filter(users)).await, Ok(()));
    let changed = start(quick("a", 2)).await.unwrap_err();
    assert!(changed.contains("another filter or number of slices") && changed.contains("user"), "{changed}");
    let older = start(quick("a", 1)).await.unwrap_err();
    assert!(older.starts_with("version 2 of subscription a has taken over from version 1"), "{older}");
    let nobody = EventFilter::default().account(tenure::ids::AccountId::from_uuid(uuid::Uuid::nil()));
    let unknown = start(quick("b", 1).filter(nobody)).await.unwrap_err();
    assert!(unknown.starts_with("there is no account"), "{unknown}");
    let mut place = tenure.log().seen().checkpoint();
    place.position += 1_000;
    let beyond =
        start(quick("b", 1).starting_at(tenure::subscribers::Start::After(place))).await.unwrap_err();
    assert!(beyond.contains("newest"), "{beyond}");
    let client = database.connect(None).await;
    let count = client.query_one("select count(*) from log.subscription", &[]).await.unwrap();
    assert_eq!(count.get::<_, i64>(0), 1, "what was refused is not registered");
    client.batch_execute("update log.subscription set format = 2").await.unwrap();
    let later = start(quick("a", 3)).await.unwrap_err();
    assert!(later.contains("a later release of Tenure"), "{later}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_ends_when_a_later_release_has_changed_its_rows() {
    let database = TestDatabase::new().await;
    let client = make_tables(&database).await;
    let tenure = database.open().await;
    let mut running = quick("a", 1).start_transactional(&tenure, Table::default()).await.unwrap();
    running.until(is_running).await;
    client.batch_execute("update log.subscription set format = 2").await.unwrap();
    assert_eq!(running.until(|_| false).await, Status::Ended(EndReason::NewerRelease));
    let error = Subscriptions::of(tenure.log()).pause("a", &by()).await.unwrap_err();
    assert!(matches!(error, OperateError::NewerRelease), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_epoch_stops_a_subscription_until_an_operator_says_where_it_goes_on() {
    let database = TestDatabase::new().await;
    let client = make_tables(&database).await;
    let tenure = database.open().await;
    make_events(&tenure, "a", 3).await;
    let mut running = quick("a", 1).slices(2).start_transactional(&tenure, Table::default()).await.unwrap();
    until_current(&client, "a").await;
    let entropy = tenure::entropy::OsEntropy::default();
    tenure::engine::new_epoch(&database.address, &entropy).await.unwrap();
    let blocked = running.until(|status| matches!(status, Status::Blocked { .. })).await;
    let Status::Blocked { reason } = blocked else { panic!("{blocked:?}") };
    assert!(reason.contains("was restored or has lost events"), "{reason}");
    let subscriptions = Subscriptions::of(tenure.log());
    assert_eq!(subscriptions.overview("a").await.unwrap().state, "epoch_changed");
    // A new version does not get round it.
    let error = quick("a", 2).start_transactional(&tenure, Table::default()).await.unwrap_err();
    assert!(matches!(error, SubscribeError::EpochChanged(_)), "{error}");
    make_events(&tenure, "b", 3).await;
    subscriptions.resume("a", &by()).await.unwrap();
    until_current(&client, "a").await;
    assert_handled(&client, &tenure, "seen", |_| true).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_the_log_does_not_have_is_not_gone_on_from() {
    let database = TestDatabase::new().await;
    let client = make_tables(&database).await;
    let tenure = database.open().await;
    make_events(&tenure, "a", 3).await;
    let elsewhere = Elsewhere::new(&database).await;
    let running = quick("a", 1).start_effects(&tenure, elsewhere.clone()).await.unwrap();
    until_current(&client, "a").await;
    running.stop().await;
    for lost in ["event_id = gen_random_uuid()", "position = position + 100"] {
        client.batch_execute(&format!("update log.subscription_slice set {lost}")).await.unwrap();
        let mut running = quick("a", 1).start_effects(&tenure, elsewhere.clone()).await.unwrap();
        let blocked = running.until(|status| matches!(status, Status::Blocked { .. })).await;
        let Status::Blocked { reason } = blocked else { panic!("{blocked:?}") };
        assert!(reason.contains("is not in the log"), "{reason}");
        let error = Subscriptions::of(tenure.log()).resume("a", &by()).await.unwrap_err();
        assert!(matches!(error, OperateError::CheckpointLost { slice: 0, .. }), "{error}");
        let start = tenure::event_log::PositionToken { epoch: tenure.log().seen().get().epoch, position: 0 };
        Subscriptions::of(tenure.log()).rewind("a", start, &by()).await.unwrap();
        until_current(&client, "a").await;
        running.stop().await;
    }
    until(&client, "select bool_and(count = 3) from (select count(*) from service.effect group by key) keys")
        .await;
}
