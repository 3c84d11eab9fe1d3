//! Device codes, bearer tokens, sessions.

use futures::TryStreamExt as _;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tenure::clock::Clock as _;
use tenure::context::{Actor, Context};
use tenure::ids::{BearerTokenId, SessionId, UserId};
use tenure::operations::{MAX_DEVICE_CODE_TTL, MAX_TTL, Refusal, Resource};
use tenure::projections::QueryError;

use super::nothing;
use crate::refused;
use crate::support::{TestDatabase, as_user, history, user};

const TTL: Duration = Duration::from_mins(10);

fn interface() -> Context {
    Context::of(Actor::System)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_code_is_given_once_and_kept_as_a_digest() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let done = tenure.create_device_code(&interface(), TTL, "a terminal").await.unwrap();
    let (code, event) = (done.answer, &done.events[0].2);
    assert_eq!((code.device_code.expose_secret().len(), code.user_code.len()), (43, 9));
    assert_eq!(event.kind().0, "device_code.created");
    let record = tenure.reader().device_code(code.device_code.expose_secret()).await.unwrap();
    assert_eq!((record.id, record.client_name.as_str()), (code.id, "a terminal"));
    assert!(!crate::sealing::dump(&database, &[]).contains(code.device_code.expose_secret()));
    for ttl in [Duration::ZERO, MAX_DEVICE_CODE_TTL + Duration::from_secs(1), Duration::MAX] {
        refused!(tenure.create_device_code(&interface(), ttl, "").await, Refusal::Invalid(_));
    }
    refused!(tenure.create_device_code(&interface(), TTL, "a\nb").await, Refusal::Invalid(_));
    tenure.create_device_code(&interface(), MAX_DEVICE_CODE_TTL, "").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_code_is_found_as_typed_while_it_lives() {
    let database = TestDatabase::new().await;
    let (tenure, clock) = database.open_with_clock().await;
    let code = tenure.create_device_code(&interface(), TTL, "").await.unwrap().answer;
    let lower = code.user_code.to_lowercase().replace('-', "");
    for typed in [code.user_code.as_str(), lower.as_str()] {
        assert_eq!(tenure.reader().device_code_by_user_code(typed, clock.now()).await.unwrap().id, code.id);
    }
    for typed in ["BBBB-BBBB", "", "nonsense", "ÄÄÄÄ-ÄÄÄÄ"] {
        let found = tenure.reader().device_code_by_user_code(typed, clock.now()).await;
        assert!(matches!(found, Err(QueryError::NotFound)), "{typed}");
    }
    clock.advance(TTL);
    let dead = tenure.reader().device_code_by_user_code(&lower, clock.now()).await;
    assert!(matches!(dead, Err(QueryError::NotFound)));
    tenure.reader().device_code(code.device_code.expose_secret()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn approving_is_one_persons_and_consuming_one_callers() {
    let database = TestDatabase::new().await;
    let (tenure, clock) = database.open_with_clock().await;
    let (ada, bob) = (user(&tenure, "ada").await, user(&tenure, "bob").await);
    let code = tenure.create_device_code(&interface(), TTL, "").await.unwrap().answer;
    let approve = |user: UserId, typed: String| {
        let tenure = &tenure;
        async move { tenure.approve_device_code(&as_user(user), &typed, user).await }
    };
    refused!(tenure.consume_device_code(&interface(), &code.device_code).await, Refusal::Pending);
    assert_eq!(approve(ada, code.user_code.to_lowercase()).await.unwrap().events.len(), 1);
    assert_eq!(approve(ada, code.user_code.clone()).await.unwrap().events.len(), 0);
    refused!(approve(bob, code.user_code.clone()).await, Refusal::NotFound(Resource::DeviceCode));
    refused!(approve(ada, "BBBB-BBBB".to_owned()).await, Refusal::NotFound(Resource::DeviceCode));
    refused!(tenure.approve_device_code(&as_user(bob), &code.user_code, ada).await, Refusal::Forbidden);
    let consumed = tenure.consume_device_code(&interface(), &code.device_code).await.unwrap();
    assert_eq!((consumed.answer, consumed.events.len()), (ada, 1));
    refused!(
        tenure.consume_device_code(&interface(), &code.device_code).await,
        Refusal::NotFound(Resource::DeviceCode)
    );
    refused!(approve(ada, code.user_code.clone()).await, Refusal::NotFound(Resource::DeviceCode));
    let unknown = SecretString::from("unknown".to_owned());
    refused!(
        tenure.consume_device_code(&interface(), &unknown).await,
        Refusal::NotFound(Resource::DeviceCode)
    );

    let late = tenure.create_device_code(&interface(), TTL, "").await.unwrap().answer;
    approve(ada, late.user_code.clone()).await.unwrap();
    clock.advance(TTL);
    refused!(tenure.consume_device_code(&interface(), &late.device_code).await, Refusal::Expired);
    refused!(approve(ada, late.user_code).await, Refusal::NotFound(Resource::DeviceCode));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_code_is_denied_until_it_expires() {
    let database = TestDatabase::new().await;
    let (tenure, clock) = database.open_with_clock().await;
    let ada = user(&tenure, "ada").await;
    let code = tenure.create_device_code(&interface(), TTL, "").await.unwrap().answer;
    tenure.deny_device_code(&as_user(ada), &code.user_code, ada).await.unwrap();
    refused!(tenure.consume_device_code(&interface(), &code.device_code).await, Refusal::Denied);
    refused!(tenure.approve_device_code(&as_user(ada), &code.user_code, ada).await, Refusal::NotFound(_));
    clock.advance(TTL);
    refused!(tenure.consume_device_code(&interface(), &code.device_code).await, Refusal::Expired);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_issued_in_the_step_that_consumes_the_code() {
    let tenure = TestDatabase::new().await.open().await;
    let ada = user(&tenure, "ada").await;
    let code = tenure.create_device_code(&interface(), TTL, "").await.unwrap().answer;
    tenure.approve_device_code(&as_user(ada), &code.user_code, ada).await.unwrap();
    let done = tenure.consume_device_code_for_token(&interface(), &code.device_code, TTL).await.unwrap();
    let names: Vec<_> = done.events.iter().map(|(_, _, event)| event.kind().0).collect();
    assert_eq!(names, ["device_code.consumed", "bearer_token.issued"]);
    assert_eq!(tenure.lookup_bearer_token(&done.answer.2).await.unwrap().user_id, ada);
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_that_come_too_soon_move_nothing_and_the_first_is_in_time() {
    let database = TestDatabase::new().await;
    let (tenure, clock) = database.open_with_clock().await;
    let code = tenure.create_device_code(&interface(), TTL, "").await.unwrap().answer;
    let mut answers = Vec::new();
    for seconds in [0, 3, 1, 3, 2] {
        clock.advance(Duration::from_secs(seconds));
        answers.push(tenure.poll_in_time(code.id, Duration::from_secs(5)).await.unwrap());
    }
    assert_eq!(answers, [true, false, true, false, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bearer_token_is_good_until_it_expires_or_is_revoked() {
    let database = TestDatabase::new().await;
    let (tenure, clock) = database.open_with_clock().await;
    let (ada, bob) = (user(&tenure, "ada").await, user(&tenure, "bob").await);
    let issue = |user: UserId, ttl| {
        let tenure = &tenure;
        async move { tenure.issue_bearer_token(&interface(), user, ttl).await }
    };
    let (id, secret) = issue(ada, TTL).await.unwrap().answer;
    let secret = secret.unwrap();
    assert_eq!(secret.expose_secret().len(), 58);
    let token = tenure.lookup_bearer_token(&secret).await.unwrap();
    assert_eq!((token.id, token.user_id), (id, ada));
    assert!(secret.expose_secret().starts_with(&format!("ppz_oauth_{}", token.prefix)));
    for seconds in [10, 49, 1] {
        clock.advance(Duration::from_secs(seconds));
        let before = tenure.reader().bearer_tokens_for_user(ada).try_collect::<Vec<_>>().await.unwrap()[0]
            .last_used_at
            .unwrap();
        tenure.lookup_bearer_token(&secret).await.unwrap();
        let after = tenure.reader().bearer_tokens_for_user(ada).try_collect::<Vec<_>>().await.unwrap()[0]
            .last_used_at
            .unwrap();
        assert_eq!(after > before, seconds == 1, "at most one write a minute");
    }
    refused!(tenure.revoke_bearer_token(&as_user(bob), id).await, Refusal::NotFound(Resource::BearerToken));
    let unknown = BearerTokenId::from_uuid(nothing());
    refused!(
        tenure.revoke_bearer_token(&as_user(ada), unknown).await,
        Refusal::NotFound(Resource::BearerToken)
    );
    assert_eq!(tenure.revoke_bearer_token(&as_user(ada), id).await.unwrap().events.len(), 1);
    assert_eq!(tenure.revoke_bearer_token(&as_user(ada), id).await.unwrap().events.len(), 0);
    refused!(tenure.revoke_bearer_token(&as_user(bob), id).await, Refusal::NotFound(Resource::BearerToken));
    assert!(matches!(tenure.lookup_bearer_token(&secret).await, Err(QueryError::NotFound)));
    let (_, short) = issue(ada, TTL).await.unwrap().answer;
    clock.advance(TTL);
    assert!(matches!(tenure.lookup_bearer_token(&short.unwrap()).await, Err(QueryError::NotFound)));
    assert_eq!(tenure.reader().bearer_tokens_for_user(ada).try_collect::<Vec<_>>().await.unwrap().len(), 2);
    let before = history(&tenure).await.len();
    for ttl in [Duration::ZERO, MAX_TTL + TTL] {
        refused!(issue(ada, ttl).await, Refusal::Invalid(_));
    }
    refused!(issue(UserId::from_uuid(nothing()), TTL).await, Refusal::NotFound(Resource::User));
    refused!(issue(UserId::UNAUTHENTICATED, TTL).await, Refusal::Forbidden);
    assert_eq!(history(&tenure).await.len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_good_until_it_expires_or_is_ended() {
    let database = TestDatabase::new().await;
    let (tenure, clock) = database.open_with_clock().await;
    let (ada, bob) = (user(&tenure, "ada").await, user(&tenure, "bob").await);
    let (id, secret) = tenure.start_session(&interface(), ada, TTL).await.unwrap().answer;
    let secret = secret.unwrap();
    assert_eq!(tenure.lookup_session(&secret).await.unwrap().user_id, ada);
    refused!(tenure.end_session(&as_user(bob), id).await, Refusal::NotFound(Resource::Session));
    let unknown = SessionId::from_uuid(nothing());
    refused!(tenure.end_session(&as_user(ada), unknown).await, Refusal::NotFound(Resource::Session));
    tenure.end_session(&as_user(ada), id).await.unwrap();
    assert_eq!(tenure.end_session(&as_user(ada), id).await.unwrap().events.len(), 0);
    assert!(matches!(tenure.lookup_session(&secret).await, Err(QueryError::NotFound)));
    let (_, short) = tenure.start_session(&interface(), ada, TTL).await.unwrap().answer;
    clock.advance(TTL);
    assert!(matches!(tenure.lookup_session(&short.unwrap()).await, Err(QueryError::NotFound)));
    assert_eq!(tenure.reader().sessions_for_user(ada).try_collect::<Vec<_>>().await.unwrap().len(), 2);
}
