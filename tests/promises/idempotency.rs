//! A request that comes again with its idempotency key is carried out once.

use std::time::Duration;

use futures::future::join_all;
use tenure::Tenure;
use tenure::aggregates::source::Retention;
use tenure::context::{Actor, Context};
use tenure::dispatch::DispatchError;

use super::acme;
use crate::support::{TestDatabase, as_user, history, operator, user};

fn keyed(tenure: &Tenure, context: Context, route: &str, body: &str) -> Context {
    let key = tenure.idempotency_key(context.actor, route, "key-1", body.as_bytes());
    Context { idempotency: Some(key), ..context }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_is_carried_out_once_on_every_node_and_after_a_restart() {
    let database = TestDatabase::new().await;
    let (one, two) = tokio::join!(database.open(), database.open());
    let (first, second) = (keyed(&one, operator(), "users", "ada"), keyed(&two, operator(), "users", "ada"));
    assert_eq!(first, second);
    let requests = (0..16).map(|number| {
        let node = if number % 2 == 0 { &one } else { &two };
        node.insert_user(&first, "ada", "ada@example.org", "internal")
    });
    let outcomes: Vec<_> = join_all(requests).await.into_iter().map(Result::unwrap).collect();
    let completed_request = outcomes.iter().filter(|outcome| !outcome.repeated).count();
    assert_eq!(completed_request, 1);
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.answer == outcomes[0].answer
                && outcome.checkpoint == outcomes[0].checkpoint)
    );
    one.close().await;
    two.close().await;
    let restarted = database.open().await;
    let again = restarted.insert_user(&first, "ada", "ada@example.org", "internal").await.unwrap();
    assert!(again.repeated && again.answer == outcomes[0].answer && again.events.is_empty());
    assert_eq!(history(&restarted).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_its_callers_its_routes_and_its_bodys_for_a_day() {
    let database = TestDatabase::new().await;
    let (tenure, clock) = database.open_with_clock().await;
    let acme = acme(&tenure).await;
    let open = |context: Context, name: &'static str| {
        let (tenure, owner) = (&tenure, acme.owner);
        async move { tenure.open_account(&context, name, Some(owner)).await }
    };
    let owner = as_user(acme.owner);
    open(keyed(&tenure, owner, "accounts", "one"), "one").await.unwrap();
    let other_body = open(keyed(&tenure, owner, "accounts", "two"), "two").await;
    assert!(matches!(other_body, Err(DispatchError::KeyReused)));
    open(keyed(&tenure, owner, "elsewhere", "two"), "two").await.unwrap();
    open(keyed(&tenure, operator(), "accounts", "three"), "three").await.unwrap();
    clock.advance(Duration::from_hours(24));
    assert!(!open(keyed(&tenure, owner, "accounts", "four"), "four").await.unwrap().repeated);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_not_remembered_and_no_secret_is_given_twice() {
    let tenure = TestDatabase::new().await.open().await;
    let acme = acme(&tenure).await;
    let system = keyed(&tenure, Context::of(Actor::Operator), "users", "x");
    assert!(tenure.insert_user(&system, "owner", "x@example.org", "internal").await.is_err());
    assert!(!tenure.insert_user(&system, "free", "x@example.org", "internal").await.unwrap().repeated);
    let owner = keyed(&tenure, as_user(acme.owner), "keys", "ci");
    let first = tenure.mint_api_key(&owner, acme.account, "ci", None, None).await.unwrap();
    let again = tenure.mint_api_key(&owner, acme.account, "ci", None, None).await.unwrap();
    assert!(first.answer.plaintext.is_some() && again.answer.plaintext.is_none());
    assert!(again.repeated && again.answer.id == first.answer.id);
    tenure.create_source(&as_user(acme.owner), acme.account, None, "robot", None).await.unwrap();
    let owner = keyed(&tenure, as_user(acme.owner), "pipes", "events");
    let create = || tenure.create_pipe(&owner, acme.account, None, "robot", "events", Retention::default());
    let (first, again) = (create().await.unwrap(), create().await.unwrap());
    assert!(again.repeated && again.answer == first.answer, "the pipe that is there, not another identifier");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_over_are_removed_beside_the_appends_and_hold_up_none() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let client = database.connect(None).await;
    client
        .batch_execute(
            "insert into log.idempotency (request, body, answer, position, recorded_at)
             select sha256(n::text::bytea), 'b', '{}', 1, now() - interval '2 days' from generate_series(1, 5000) n",
        )
        .await
        .unwrap();
    let holder = database.connect(None).await;
    holder.batch_execute("begin; select from log.idempotency for update").await.unwrap();
    let count = async || -> i64 {
        client.query_one("select count(*) from log.idempotency", &[]).await.unwrap().get(0)
    };
    let first = keyed(&tenure, operator(), "users", "ada");
    let done = tokio::time::timeout(
        Duration::from_secs(3),
        tenure.insert_user(&first, "ada", "ada@example.org", "internal"),
    );
    done.await.expect("an append looks at no request that is over").unwrap();
    assert_eq!(count().await, 5_001);
    holder.batch_execute("commit").await.unwrap();

    let now = tenure.clock().now();
    let (mut from, mut sweeps) = (tenure::clock::Timestamp::default(), 0);
    loop {
        let (reached, more) = tenure.log().sweep_requests(from, now).await.unwrap();
        (from, sweeps) = (reached, sweeps + 1);
        if !more {
            break;
        }
    }
    assert_eq!((count().await, sweeps), (1, 3), "a few thousand at a time, and what is not over stays");
    assert!(tenure.insert_user(&first, "ada", "ada@example.org", "internal").await.unwrap().repeated);

    // One that is over and still there is no hindrance to the same key.
    client.batch_execute("update log.idempotency set recorded_at = now() - interval '2 days'").await.unwrap();
    let again = keyed(&tenure, operator(), "users", "bob");
    let done = tenure.insert_user(&again, "bob", "bob@example.org", "internal").await.unwrap();
    assert!(!done.repeated);
    assert!(tenure.insert_user(&again, "bob", "bob@example.org", "internal").await.unwrap().repeated);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_covers_each_operation_of_a_request_by_itself() {
    let tenure = TestDatabase::new().await.open().await;
    let acme = acme(&tenure).await;
    let request = keyed(&tenure, operator(), "sign-up", "zoe");
    for repeated in [false, true] {
        let user = tenure.insert_user(&request, "zoe", "zoe@example.org", "internal").await.unwrap();
        let account = tenure.open_account(&request, "zoe-corp", Some(user.answer)).await.unwrap();
        let member = tenure.add_member(&request, acme.account, user.answer).await.unwrap();
        let key = tenure.mint_api_key(&request, account.answer, "ci", None, Some(user.answer)).await.unwrap();
        assert_eq!(
            [user.repeated, account.repeated, member.repeated, key.repeated],
            [repeated; 4],
            "each is carried out once"
        );
        assert_ne!(user.answer.as_uuid(), account.answer.as_uuid());
        assert_eq!(tenure.reader().account(account.answer).await.unwrap().name, "zoe-corp");
        assert_eq!(key.answer.plaintext.is_some(), !repeated);
    }
    // What two operations of one kind differ in is part of the operation.
    let user = user(&tenure, "sam").await;
    for operator in [true, false] {
        let done = tenure.set_operator(&request, user, operator).await.unwrap();
        assert!(!done.repeated && done.events.len() == 1);
    }
    tenure.add_member(&operator(), acme.account, user).await.unwrap();
    assert!(!tenure.remove_member_but_keep_keys(&request, acme.account, user).await.unwrap().repeated);
    tenure.add_member(&operator(), acme.account, user).await.unwrap();
    assert!(!tenure.remove_member(&request, acme.account, user).await.unwrap().repeated);
}
