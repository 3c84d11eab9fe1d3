//! Forgetting a person: nothing that the log says of them can be read any more, anywhere.

use std::time::Duration;

use tenure::context::{Actor, Context};
use tenure::ids::UserId;
use tenure::operations::{Refusal, Resource};
use tenure::projections::QueryError;

use super::{acme, nothing};
use crate::refused;
use crate::replay::assert_tables_are_a_fold_of_the_log;
use crate::support::{TestDatabase, account, as_user, history, open_with, operator, user};

const TTL: Duration = Duration::from_hours(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_person_leaves_nothing_readable_and_all_that_was_theirs_ends() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let acme = acme(&tenure).await;
    let system = Context::of(Actor::System);
    let (email, avatar) = (Some("zebedee@secret.example"), Some("https://avatars.secret.example/z"));
    let invite =
        tenure.create_invite(&as_user(acme.owner), acme.account, "Zebedee", None).await.unwrap().answer;
    let person = tenure.upsert_user_by_github_id(&system, 4_242_424, "zebedee", email, avatar).await.unwrap();
    let person = person.answer.user;
    tenure.accept_invite(&as_user(person), invite, person).await.unwrap();
    let other = account(&tenure, "other", acme.stranger).await;
    let pending = tenure.create_invite(&as_user(acme.stranger), other, "zebedee", None).await.unwrap().answer;
    let key = tenure.mint_api_key(&operator(), acme.account, "l", None, Some(person)).await.unwrap().answer;
    let (_, token) = tenure.issue_bearer_token(&system, person, TTL).await.unwrap().answer;
    let (_, session) = tenure.start_session(&system, person, TTL).await.unwrap().answer;
    let (token, session) = (token.unwrap(), session.unwrap());
    tenure.lookup_bearer_token(&token).await.unwrap();

    let done = tenure.forget_user(&as_user(person), person).await.unwrap();
    let names: Vec<_> = done.events.iter().map(|(_, _, event)| event.kind()).collect();
    assert_eq!(names, [("user.forgotten", "2")], "one event, and the keys of the name go with it");
    assert_eq!((done.answer.count, done.answer.first), (1, vec![key.id]));
    refused!(tenure.lookup_api_key(&key.plaintext.unwrap()).await, Refusal::NotFound(_));
    assert!(matches!(tenure.lookup_bearer_token(&token).await, Err(QueryError::NotFound)));
    assert!(matches!(tenure.lookup_session(&session).await, Err(QueryError::NotFound)));
    refused!(tenure.accept_invite(&as_user(person), pending, person).await, Refusal::Forbidden);
    refused!(tenure.issue_bearer_token(&system, person, TTL).await, Refusal::NotFound(Resource::User));
    assert_eq!(tenure.forget_user(&operator(), person).await.unwrap().events.len(), 0);

    let row = tenure.reader().user(person).await.unwrap();
    assert!(row.username.starts_with("forgotten-") && row.email.is_none() && row.github_id.is_none());
    let shown = tenure.reader().invite(pending).await.unwrap();
    assert!(shown.invitee_username.is_empty() && shown.status.as_str() == "revoked");
    tenure.clear_away().await.unwrap();
    let everything = crate::sealing::dump(&database, &[]).to_lowercase();
    for trace in ["zebedee", "4242424", "secret.example"] {
        assert!(!everything.contains(trace), "{trace} is still in the database");
    }
    let fresh = database.open().await;
    assert_tables_are_a_fold_of_the_log(&fresh).await;
    let decoded = fresh.codec().decode(&history(&fresh).await, fresh.log().primary()).await.unwrap();
    assert!(!format!("{decoded:?}").to_lowercase().contains("zebedee"));
    assert_tables_are_a_fold_of_the_log(&tenure).await;

    let again =
        tenure.upsert_user_by_github_id(&system, 4_242_424, "zebedee", None, None).await.unwrap().answer;
    assert!(again.created && again.user != person, "a later sign-in is a new person");
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_strangers_and_unknown_users_are_refused() {
    let tenure = TestDatabase::new().await.open().await;
    let acme = acme(&tenure).await;
    refused!(tenure.forget_user(&as_user(acme.owner), acme.owner).await, Refusal::OwnsAccounts);
    refused!(tenure.forget_user(&as_user(acme.stranger), acme.member).await, Refusal::Forbidden);
    let nobody = UserId::from_uuid(nothing());
    refused!(tenure.forget_user(&operator(), nobody).await, Refusal::NotFound(Resource::User));
    refused!(tenure.forget_user(&operator(), UserId::UNAUTHENTICATED).await, Refusal::Forbidden);
    tenure.transfer_ownership(&as_user(acme.owner), acme.account, acme.member).await.unwrap();
    tenure.forget_user(&as_user(acme.owner), acme.owner).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_backup_forgets_again_whom_the_list_names() {
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("forgotten");
    let database = TestDatabase::new().await;
    let settings = || tenure::Settings { forgotten_list: Some(list.clone()), ..database.settings() };
    let tenure = open_with(settings()).await;
    let acme = acme(&tenure).await;
    tenure.forget_user(&operator(), acme.stranger).await.unwrap();
    assert_eq!(std::fs::read_to_string(&list).unwrap(), format!("{}\n", acme.stranger));
    // A database in which the person on the list is still known, as in a backup made before.
    std::fs::write(&list, format!("{}\n{}\n", acme.stranger, acme.member)).unwrap();
    tenure.close().await;
    let restored = open_with(settings()).await;
    assert!(restored.reader().user(acme.member).await.unwrap().forgotten_at.is_some());
    // And a list that has been lost is written again.
    std::fs::remove_file(&list).unwrap();
    restored.close().await;
    open_with(settings()).await.close().await;
    assert_eq!(std::fs::read_to_string(&list).unwrap().lines().count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_starts_although_a_user_on_the_list_owns_accounts() {
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("forgotten");
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let acme = acme(&tenure).await;
    std::fs::write(&list, format!("{}\n", acme.owner)).unwrap();
    let settings = || tenure::Settings { forgotten_list: Some(list.clone()), ..database.settings() };
    let started = open_with(settings()).await;
    assert!(started.reader().user(acme.owner).await.unwrap().forgotten_at.is_none());
    started.transfer_ownership(&operator(), acme.account, acme.member).await.unwrap();
    started.close().await;
    let again = open_with(settings()).await;
    assert!(again.reader().user(acme.owner).await.unwrap().forgotten_at.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_node_shows_the_forgotten_because_it_remembers_them() {
    let database = TestDatabase::new().await;
    let (one, other) = (database.open().await, database.open().await);
    let person = user(&one, "forgetme").await;
    let shown = async || {
        let events = history(&other).await;
        format!("{:?}", other.describe(&events).await.unwrap())
    };
    assert!(shown().await.contains("forgetme"), "it has read their key");
    one.forget_user(&operator(), person).await.unwrap();
    assert!(!shown().await.contains("forgetme"), "from the moment on that it is acknowledged elsewhere");
    // The node takes the key out of its memory by itself: nobody has to feed it events.
    let subject = format!("user:{person}");
    let mut follower = other.log().follow(0);
    while other.codec().keys().cached(&subject).is_some() {
        let next = tokio::time::timeout(Duration::from_millis(10), follower.next()).await;
        assert!(next.is_err() || next.unwrap().is_ok());
    }
}
