//! What a handler gets: every selected event, once, in order; and what happens to one that fails.

use tenure::subscribers::{EventFilter, Start};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_kept_exactly_once_by_the_slices_of_several_processes() {
    let database = TestDatabase::new().await;
    let client = make_tables(&database).await;
    let nodes = [database.open().await, database.open().await];
    let ledger = quick("ledger", 1).slices(4);
    let mut running = Vec::new();
    for node in &nodes {
        running.push(ledger.start_transactional(node, Table::default()).await.unwrap());
    }
    make_events(&nodes[0], "a", 10).await;
    make_events(&nodes[1], "b", 10).await;
    for running in &mut running {
        running.until(|status| matches!(status, Status::Running { slices } if slices.len() == 2)).await;
    }
    make_events(&nodes[0], "c", 10).await;
    until_current(&client, "ledger").await;
    assert_handled(&client, &nodes[0], "seen", |_| true).await;
    let per_slice = "select count(distinct slice) = 4 from service.seen";
    until(&client, per_slice).await;
    for running in running {
        running.stop().await;
    }
    let held =
        "select count(*) from log.subscription_slice where holder is not null or in_doubt or deliveries > 0";
    assert_eq!(
        client.query_one(held, &[]).await.unwrap().get::<_, i64>(0),
        0,
        "a stop gives the slices back"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_which_an_event_fails_waits_in_order_and_all_others_go_on() {
    let database = TestDatabase::new().await;
    let client = make_tables(&database).await;
    let tenure = database.open().await;
    let accounts = make_events(&tenure, "a", 9).await;
    let (table, elsewhere) = (Table::default(), Elsewhere::new(&database).await);
    let failing = [Behaviour::Refuses, Behaviour::Panics, Behaviour::Hangs, Behaviour::FailsInSql];
    let failing: Vec<_> = failing.into_iter().zip(accounts.iter().step_by(2)).collect();
    for (behaviour, account) in &failing {
        table.script.set(&stream(**account), *behaviour);
        if *behaviour != Behaviour::FailsInSql {
            elsewhere.script.set(&stream(**account), *behaviour);
        }
    }
    let in_table = quick("table", 1).slices(3).start_transactional(&tenure, table.clone()).await.unwrap();
    let subscription = quick("elsewhere", 1).slices(3).checkpoint_every(10);
    let effects = subscription.start_effects(&tenure, elsewhere.clone()).await.unwrap();
    until_current(&client, "table").await;
    until_current(&client, "elsewhere").await;
    let is_failing = |event: &RecordedEvent| {
        failing.iter().any(|(_, account)| event.stream.to_string() == stream(**account))
    };
    assert_handled(&client, &tenure, "seen", |event| !is_failing(event)).await;
    let fails_elsewhere = |event: &RecordedEvent| is_failing(event) && elsewhere.script.of(event).is_some();
    assert_handled(&client, &tenure, "effect", |event| !fails_elsewhere(event)).await;

    // Later events of the streams wait too, also those that come now.
    let (owner, member) = (user(&tenure, "o").await, user(&tenure, "m").await);
    for (_, account) in &failing {
        tenure.add_member(&crate::support::operator(), **account, owner).await.unwrap();
        tenure.add_member(&crate::support::operator(), **account, member).await.unwrap();
    }
    until_current(&client, "table").await;
    until_current(&client, "elsewhere").await;
    assert_handled(&client, &tenure, "seen", |event| !is_failing(event)).await;
    assert_handled(&client, &tenure, "effect", |event| !fails_elsewhere(event)).await;
    let reasons = |behaviour| match behaviour {
        Behaviour::Refuses => "this address does not exist",
        Behaviour::Panics => "the handler panicked: no such template",
        Behaviour::Hangs => "the handler did not return within 300ms",
        _ => "a statement failed, but the handler returned no failure",
    };
    for (name, count) in [("table", 4), ("elsewhere", 3)] {
        let mut expected: Vec<_> = failing[..count]
            .iter()
            .map(|(behaviour, account)| (stream(**account), reasons(*behaviour).to_owned(), 5))
            .collect();
        expected.sort();
        assert_eq!(parked(&tenure, name).await, expected);
    }

    // What still fails is parked again, and nothing is lost by that.
    let subscriptions = Subscriptions::of(tenure.log());
    assert_eq!(subscriptions.unpark("table", None, &by()).await.unwrap(), 4);
    until_current(&client, "table").await;
    assert_eq!(parked(&tenure, "table").await.len(), 4);
    table.script.clear();
    elsewhere.script.clear();
    for name in ["table", "elsewhere"] {
        subscriptions.unpark(name, None, &by()).await.unwrap();
        until_current(&client, name).await;
        assert_eq!(parked(&tenure, name).await, []);
    }
    for (_, account) in &failing {
        tenure.remove_member(&crate::support::operator(), **account, owner).await.unwrap();
    }
    until_current(&client, "table").await;
    until_current(&client, "elsewhere").await;
    assert_handled(&client, &tenure, "seen", |_| true).await;
    assert_handled(&client, &tenure, "effect", |_| true).await;
    in_table.stop().await;
    effects.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_dependency_parks_nothing_and_shows_as_lag() {
    let database = TestDatabase::new().await;
    let client = make_tables(&database).await;
    let tenure = database.open().await;
    let accounts = make_events(&tenure, "a", 3).await;
    let (table, elsewhere) = (Table::default(), Elsewhere::new(&database).await);
    for script in [&table.script, &elsewhere.script] {
        script.set(&stream(accounts[1]), Behaviour::MissesADependency);
    }
    // Far more tries than deliveries are allowed.
    let in_table =
        quick("table", 1).max_deliveries(1).start_transactional(&tenure, table.clone()).await.unwrap();
    let effects =
        quick("elsewhere", 1).max_deliveries(1).start_effects(&tenure, elsewhere.clone()).await.unwrap();
    let subscriptions = Subscriptions::of(tenure.log());
    for name in ["table", "elsewhere"] {
        until(
            &client,
            &format!("select failure is not null from log.subscription_slice where subscription = '{name}'"),
        )
        .await;
        let overview = subscriptions.overview(name).await.unwrap();
        assert_eq!((overview.state, overview.parked_streams), ("failing", 0));
        assert_eq!(overview.failure.as_deref(), Some("the mail server is away"));
        assert!(overview.lag_events > 0 && overview.lag_seconds > 0.0, "{overview:?}");
    }
    table.script.clear();
    elsewhere.script.clear();
    until_current(&client, "table").await;
    until_current(&client, "elsewhere").await;
    assert_handled(&client, &tenure, "seen", |_| true).await;
    assert_handled(&client, &tenure, "effect", |_| true).await;
    let overview = subscriptions.overview("table").await.unwrap();
    assert_eq!((overview.state, overview.lag_events, overview.failure), ("running", 0, None));
    in_table.stop().await;
    effects.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_blocks_its_thread_holds_up_its_own_stream_alone() {
    let database = TestDatabase::new().await;
    let client = make_tables(&database).await;
    let tenure = database.open().await;
    let accounts = make_events(&tenure, "a", 3).await;
    let table = Table::default();
    table.script.set(&stream(accounts[0]), Behaviour::BlocksItsThread);
    let running = quick("table", 1).start_transactional(&tenure, table.clone()).await.unwrap();
    until_current(&client, "table").await;
    assert_handled(&client, &tenure, "seen", |event| event.stream.to_string() != stream(accounts[0])).await;
    assert_eq!(parked(&tenure, "table").await.len(), 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_is_handled_one_by_one_without_pauses_between() {
    let database = TestDatabase::new().await;
    let client = make_tables(&database).await;
    let tenure = database.open().await;
    make_events(&tenure, "a", 200).await;
    let waited = Stopwatch::start();
    let effects = quick("a", 1).start_effects(&tenure, Elsewhere::new(&database).await).await.unwrap();
    until_current(&client, "a").await;
    assert_handled(&client, &tenure, "effect", |_| true).await;
    // With the wait that follows a page after each of its events it would take 25 s.
    assert!(waited.elapsed() < Duration::from_secs(15), "{:?}", waited.elapsed());
    effects.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_selects_and_its_checkpoint_passes_over_the_rest() {
    let database = TestDatabase::new().await;
    let client = make_tables(&database).await;
    let tenure = database.open().await;
    let accounts = make_events(&tenure, "a", 4).await;
    let filter =
        EventFilter::default().account(accounts[2]).aggregate("account").event_type("account.member_added");
    let running = quick("one", 1).slices(2).filter(filter);
    let running = running.start_transactional(&tenure, Table::default()).await.unwrap();
    // Nothing of this is selected, and it is not behind for all that.
    make_events(&tenure, "b", 4).await;
    until_current(&client, "one").await;
    assert_handled(&client, &tenure, "seen", |event| {
        event.stream.to_string() == stream(accounts[2]) && event.event_type == "account.member_added"
    })
    .await;
    assert_eq!(written(&client, "seen").await.len(), 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_starts_where_it_says() {
    let database = TestDatabase::new().await;
    let client = make_tables(&database).await;
    let tenure = database.open().await;
    make_events(&tenure, "a", 2).await;
    let place = tenure.log().seen().checkpoint();
    make_events(&tenure, "b", 2).await;
    let newest = tenure.log().newest().await.unwrap();
    let after = quick("after", 1).starting_at(Start::After(place));
    let after = after.start_transactional(&tenure, Table::default()).await.unwrap();
    let effects = Elsewhere::new(&database).await;
    let news = quick("newest", 1).starting_at(Start::Newest).start_effects(&tenure, effects).await.unwrap();
    make_events(&tenure, "c", 2).await;
    until_current(&client, "after").await;
    until_current(&client, "newest").await;
    assert_handled(&client, &tenure, "seen", |event| event.position > place.position).await;
    assert_handled(&client, &tenure, "effect", |event| event.position > newest).await;
    after.stop().await;
    news.stop().await;
}
