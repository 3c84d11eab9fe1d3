//! The promises of each operation on people and tenants, against a real database.

use futures::TryStreamExt as _;
use std::time::Duration;

use tenure::context::{Actor, Context};
use tenure::ids::{AccountId, UserId};
use tenure::operations::{Refusal, Resource};
use tenure::projections::QueryError;

use crate::refused;
use crate::support::{TestDatabase, account, as_user, history, operator, user};

fn nobody() -> UserId {
    UserId::from_uuid(uuid::Uuid::from_u128(77))
}

fn nowhere() -> AccountId {
    AccountId::from_uuid(uuid::Uuid::from_u128(77))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_begins_with_the_seeded_user() {
    let tenure = TestDatabase::new().await.open().await;
    let first = &history(&tenure).await[0];
    assert_eq!((first.position, first.id), (1, tenure::genesis::EVENT_ID));
    let seeded = tenure.reader().user(UserId::UNAUTHENTICATED).await.unwrap();
    assert_eq!(seeded.username, "unauthenticated");
    assert_eq!(seeded.email.as_deref(), Some("unauthenticated@local"));
    assert_eq!(seeded.mode.as_str(), "internal");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inserted_user_is_read_by_id_and_by_name_in_any_case() {
    let tenure = TestDatabase::new().await.open().await;
    let done = tenure.insert_user(&operator(), "Ada", "ada@example.org", "internal").await.unwrap();
    assert_eq!((done.events.len(), done.checkpoint.position), (1, 2));
    let by_id = tenure.reader().user(done.answer).await.unwrap();
    assert_eq!(by_id.username, "Ada");
    assert_eq!(tenure.reader().user_by_username("aDA").await.unwrap(), by_id);
    assert!(matches!(tenure.reader().user(nobody()).await, Err(QueryError::NotFound)));
    assert!(matches!(tenure.reader().user_by_username("bob").await, Err(QueryError::NotFound)));
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_refused_for_mode_name_form_and_right() {
    let tenure = TestDatabase::new().await.open().await;
    let ada = user(&tenure, "ada").await;
    let before = history(&tenure).await.len();
    let insert = |context: Context, name: &'static str, email: &'static str, mode: &'static str| {
        let tenure = &tenure;
        async move { tenure.insert_user(&context, name, email, mode).await }
    };
    refused!(insert(operator(), "x", "x@y", "robot").await, Refusal::InvalidUserMode);
    refused!(insert(operator(), "ADA", "x@y", "internal").await, Refusal::UsernameTaken);
    refused!(insert(operator(), "a b", "x@y", "internal").await, Refusal::Invalid(_));
    refused!(insert(operator(), "bob~2", "x@y", "internal").await, Refusal::Invalid(_));
    refused!(insert(operator(), "bob", "nowhere", "internal").await, Refusal::Invalid(_));
    refused!(insert(as_user(ada), "bob", "x@y", "internal").await, Refusal::Forbidden);
    refused!(insert(as_user(nobody()), "bob", "x@y", "internal").await, Refusal::Forbidden);
    assert_eq!(history(&tenure).await.len(), before, "a refusal wrote an event");
    tenure.set_operator(&operator(), ada, true).await.unwrap();
    insert(as_user(ada), "bob", "x@y", "github").await.unwrap();
    refused!(tenure.set_operator(&operator(), nobody(), true).await, Refusal::NotFound(Resource::User));
    refused!(tenure.set_operator(&operator(), UserId::UNAUTHENTICATED, true).await, Refusal::Forbidden);
}

#[tokio::test(flavor = "multi_thread")]
async fn usernames_by_ids_leaves_out_the_unknown_and_takes_many() {
    let tenure = TestDatabase::new().await.open().await;
    let ada = user(&tenure, "ada").await;
    let mut ids = vec![ada; 10_000];
    ids.push(nobody());
    let names = tenure.reader().usernames_by_ids(&ids).await.unwrap();
    assert_eq!(names.into_iter().collect::<Vec<_>>(), [(ada, "ada".to_owned())]);
    assert!(tenure.reader().usernames_by_ids(&[]).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_github_sign_in_registers_once_and_refreshes_only_what_changed() {
    let tenure = TestDatabase::new().await.open().await;
    let system = Context::of(Actor::System);
    let first = tenure
        .sign_in_with_github(&system, 7, "octocat", Some("o@example.org"), Some("https://a.example/o.png"))
        .await
        .unwrap();
    assert!(first.answer.created);
    assert_eq!(first.events.len(), 2);
    let home = tenure.reader().account(first.answer.first_account.unwrap()).await.unwrap();
    assert_eq!((home.name.as_str(), home.owner_user_id), ("octocat", first.answer.user));
    let again = tenure
        .sign_in_with_github(&system, 7, "octocat", Some("o@example.org"), Some("https://a.example/o.png"))
        .await
        .unwrap();
    assert_eq!((again.events.len(), again.answer.created, again.answer.first_account), (0, false, None));
    assert_eq!(again.checkpoint, first.checkpoint);
    let mail =
        tenure.upsert_user_by_github_id(&system, 7, "octocat", Some("new@example.org"), None).await.unwrap();
    assert_eq!(mail.events.len(), 1);
    let user = tenure.reader().user(first.answer.user).await.unwrap();
    assert_eq!((user.email.as_deref(), user.avatar_url), (Some("new@example.org"), None));
    assert_eq!((user.github_id, user.username.as_str()), (Some(7), "octocat"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_username_follows_the_login_only_to_a_free_name() {
    let tenure = TestDatabase::new().await.open().await;
    let system = Context::of(Actor::System);
    user(&tenure, "bob").await;
    let clash = tenure.sign_in_with_github(&system, 8, "Bob", None, None).await.unwrap().answer;
    assert_eq!(tenure.reader().user(clash.user).await.unwrap().username, "Bob~2");
    let second = tenure.upsert_user_by_github_id(&system, 9, "bob", None, None).await.unwrap().answer;
    assert_eq!(tenure.reader().user(second.user).await.unwrap().username, "bob~3");
    tenure.upsert_user_by_github_id(&system, 8, "robert", None, None).await.unwrap();
    assert_eq!(tenure.reader().user(clash.user).await.unwrap().username, "robert");
    assert!(matches!(tenure.reader().user_by_username("Bob~2").await, Err(QueryError::NotFound)));
    tenure.upsert_user_by_github_id(&system, 8, "bob", None, None).await.unwrap();
    let kept = tenure.reader().user(clash.user).await.unwrap();
    assert_eq!((kept.username.as_str(), kept.github_login.as_deref()), ("robert", Some("bob")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_an_account_gets_one_at_sign_in() {
    let tenure = TestDatabase::new().await.open().await;
    let system = Context::of(Actor::System);
    let owner = user(&tenure, "owner").await;
    account(&tenure, "octocat", owner).await;
    let known = tenure.upsert_user_by_github_id(&system, 7, "octocat", None, None).await.unwrap().answer;
    let signed_in = tenure.sign_in_with_github(&system, 7, "octocat", None, None).await.unwrap().answer;
    let home = tenure.reader().account(signed_in.first_account.unwrap()).await.unwrap();
    assert_eq!(home.name, "octocat-2");
    tenure.close_account(&as_user(known.user), home.id).await.unwrap();
    let acme = account(&tenure, "acme", owner).await;
    tenure.add_member(&as_user(owner), acme, known.user).await.unwrap();
    assert_eq!(
        tenure.sign_in_with_github(&system, 7, "octocat", None, None).await.unwrap().answer.first_account,
        None
    );
    tenure.remove_member(&as_user(known.user), acme, known.user).await.unwrap();
    assert!(
        tenure
            .sign_in_with_github(&system, 7, "octocat", None, None)
            .await
            .unwrap()
            .answer
            .first_account
            .is_some()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_shaped_like_a_uuid_names_an_account_that_is_not() {
    let tenure = TestDatabase::new().await.open().await;
    let login = "0190c0de-0000-7000-8000-000000000001";
    let done =
        tenure.sign_in_with_github(&Context::of(Actor::System), 7, login, None, None).await.unwrap().answer;
    let home = tenure.reader().account(done.first_account.unwrap()).await.unwrap();
    assert_eq!(home.name, format!("{login}-2"));
    assert_eq!(tenure.reader().account_by_slug(&home.name).await.unwrap(), home);
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_opened_for_their_owner_or_the_seeded_user() {
    let tenure = TestDatabase::new().await.open().await;
    let ada = user(&tenure, "ada").await;
    let acme = tenure.open_account(&as_user(ada), "Acme", Some(ada)).await.unwrap().answer;
    let record = tenure.reader().account_by_slug("aCME").await.unwrap();
    assert_eq!((record.id, record.name.as_str()), (acme, "Acme"));
    assert_eq!(tenure.reader().account_by_slug(&acme.to_string()).await.unwrap(), record);
    refused!(tenure.open_account(&as_user(ada), "ACME", Some(ada)).await, Refusal::AccountNameTaken);
    refused!(tenure.open_account(&operator(), "x", Some(nobody())).await, Refusal::NotFound(Resource::User));
    refused!(tenure.open_account(&as_user(ada), "x", None).await, Refusal::Forbidden);
    refused!(tenure.open_account(&operator(), "", None).await, Refusal::Invalid(_));
    refused!(tenure.open_account(&operator(), &acme.to_string(), None).await, Refusal::Invalid(_));
    let unowned = tenure.open_account(&operator(), "unowned", None).await.unwrap().answer;
    assert_eq!(tenure.reader().account(unowned).await.unwrap().owner_user_id, UserId::UNAUTHENTICATED);
    assert!(matches!(tenure.reader().account_by_slug("nope").await, Err(QueryError::NotFound)));
    assert!(matches!(tenure.reader().account(nowhere()).await, Err(QueryError::NotFound)));
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_listed_in_byte_order_and_each_once() {
    let tenure = TestDatabase::new().await.open().await;
    let (ada, bob) = (user(&tenure, "ada").await, user(&tenure, "bob").await);
    for name in ["beta", "Alpha", "_x", "alpha2"] {
        account(&tenure, name, ada).await;
    }
    let names = |accounts: Vec<tenure::projections::accounts::Account>| -> Vec<String> {
        accounts.into_iter().map(|account| account.name).collect()
    };
    assert_eq!(
        names(tenure.reader().accounts().try_collect::<Vec<_>>().await.unwrap()),
        ["Alpha", "_x", "alpha2", "beta"]
    );
    let bobs = account(&tenure, "bobs", bob).await;
    tenure.add_member(&operator(), bobs, ada).await.unwrap();
    tenure.transfer_ownership(&operator(), bobs, ada).await.unwrap();
    assert_eq!(
        names(tenure.reader().accounts_for_user(bob).try_collect::<Vec<_>>().await.unwrap()),
        ["bobs"]
    );
    assert_eq!(
        names(tenure.reader().accounts_for_user(ada).try_collect::<Vec<_>>().await.unwrap()),
        ["Alpha", "_x", "alpha2", "beta", "bobs"]
    );
    assert!(tenure.reader().accounts_for_user(nobody()).try_collect::<Vec<_>>().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_account_is_the_oldest_owned_else_the_oldest_membership() {
    let tenure = TestDatabase::new().await.open().await;
    let (ada, bob) = (user(&tenure, "ada").await, user(&tenure, "bob").await);
    assert!(matches!(tenure.reader().first_owned_account_for(bob).await, Err(QueryError::NotFound)));
    assert!(matches!(tenure.reader().default_account_for(bob).await, Err(QueryError::NotFound)));
    let (first, second) = (account(&tenure, "z", ada).await, account(&tenure, "a", ada).await);
    tenure.add_member(&operator(), second, bob).await.unwrap();
    tenure.add_member(&operator(), first, bob).await.unwrap();
    assert_eq!(tenure.reader().first_owned_account_for(ada).await.unwrap().id, first);
    assert_eq!(tenure.reader().default_account_for(bob).await.unwrap().id, second);
    let own = account(&tenure, "own", bob).await;
    assert_eq!(tenure.reader().default_account_for(bob).await.unwrap().id, own);
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_added_once_and_keep_the_first_time() {
    let tenure = TestDatabase::new().await.open().await;
    let (ada, bob) = (user(&tenure, "ada").await, user(&tenure, "bob").await);
    let acme = account(&tenure, "acme", ada).await;
    let added = tenure.add_member(&as_user(ada), acme, bob).await.unwrap();
    let since = tenure.reader().members(acme).try_collect::<Vec<_>>().await.unwrap()[0].added_at;
    let again = tenure.add_member(&as_user(ada), acme, bob).await.unwrap();
    assert_eq!((again.events.len(), again.checkpoint), (0, added.checkpoint));
    assert_eq!(tenure.add_member(&as_user(ada), acme, ada).await.unwrap().events.len(), 0);
    let members = tenure.reader().members(acme).try_collect::<Vec<_>>().await.unwrap();
    assert_eq!((members.len(), members[0].added_at, members[0].user.id), (1, since, bob));
    refused!(tenure.add_member(&operator(), acme, nobody()).await, Refusal::NotFound(Resource::User));
    refused!(tenure.add_member(&operator(), nowhere(), bob).await, Refusal::NotFound(Resource::Account));
    assert!(tenure.reader().is_member_or_owner(acme, ada).await);
    assert!(tenure.reader().is_member_or_owner(acme, bob).await);
    assert!(!tenure.reader().is_member_or_owner(acme, nobody()).await);
    assert!(tenure.reader().members(nowhere()).try_collect::<Vec<_>>().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_owners_and_operators_change_members_and_strangers_see_nothing() {
    let tenure = TestDatabase::new().await.open().await;
    let (ada, bob, eve) =
        (user(&tenure, "ada").await, user(&tenure, "bob").await, user(&tenure, "eve").await);
    let acme = account(&tenure, "acme", ada).await;
    tenure.add_member(&operator(), acme, bob).await.unwrap();
    refused!(tenure.add_member(&as_user(bob), acme, eve).await, Refusal::Forbidden);
    refused!(tenure.add_member(&as_user(eve), acme, eve).await, Refusal::NotFound(Resource::Account));
    refused!(tenure.remove_member(&as_user(eve), acme, bob).await, Refusal::NotFound(Resource::Account));
    refused!(tenure.transfer_ownership(&as_user(bob), acme, bob).await, Refusal::Forbidden);
    refused!(tenure.close_account(&as_user(bob), acme).await, Refusal::Forbidden);
    let key = Context::of(Actor::ApiKey(tenure::ids::ApiKeyId::from_uuid(uuid::Uuid::from_u128(5))));
    refused!(tenure.add_member(&key, acme, eve).await, Refusal::Forbidden);
    tenure.remove_member(&as_user(bob), acme, bob).await.unwrap();
    refused!(tenure.remove_member(&operator(), acme, bob).await, Refusal::NotFound(Resource::Member));
    refused!(tenure.remove_member(&operator(), acme, ada).await, Refusal::CannotRemoveOwner);
}

#[tokio::test(flavor = "multi_thread")]
async fn ownership_passes_to_a_member_and_back() {
    let tenure = TestDatabase::new().await.open().await;
    let (ada, bob) = (user(&tenure, "ada").await, user(&tenure, "bob").await);
    let acme = account(&tenure, "acme", ada).await;
    refused!(tenure.transfer_ownership(&as_user(ada), acme, bob).await, Refusal::NotFound(Resource::Member));
    tenure.add_member(&as_user(ada), acme, bob).await.unwrap();
    tenure.transfer_ownership(&as_user(ada), acme, bob).await.unwrap();
    assert_eq!(tenure.reader().account(acme).await.unwrap().owner_user_id, bob);
    assert_eq!(tenure.reader().members(acme).try_collect::<Vec<_>>().await.unwrap()[0].user.id, ada);
    refused!(tenure.transfer_ownership(&as_user(ada), acme, ada).await, Refusal::Forbidden);
    assert_eq!(tenure.transfer_ownership(&as_user(bob), acme, bob).await.unwrap().events.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_account_frees_its_name_and_is_a_new_identity_when_opened_again() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let (ada, bob) = (user(&tenure, "ada").await, user(&tenure, "bob").await);
    let acme = account(&tenure, "acme", ada).await;
    tenure.add_member(&as_user(ada), acme, bob).await.unwrap();
    tenure.close_account(&as_user(ada), acme).await.unwrap();
    assert!(matches!(tenure.reader().account(acme).await, Err(QueryError::NotFound)));
    assert!(tenure.reader().members(acme).try_collect::<Vec<_>>().await.unwrap().is_empty());
    refused!(tenure.close_account(&as_user(ada), acme).await, Refusal::NotFound(Resource::Account));
    let again = account(&tenure, "acme", ada).await;
    assert_ne!(again, acme);
    let client = database.connect(None).await;
    let keys = client
        .query_one("select count(*) from log.data_key where subject = $1", &[&format!("account:{acme}")])
        .await
        .unwrap();
    assert_eq!(keys.get::<_, i64>(0), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_on_one_node_is_seen_at_once_on_another_and_stale_memory_never_decides() {
    let database = TestDatabase::new().await;
    let (one, two) = tokio::join!(database.open(), database.open());
    let (ada, bob) = (user(&one, "ada").await, user(&one, "bob").await);
    let acme = account(&one, "acme", ada).await;
    for _ in 0..10 {
        one.add_member(&as_user(ada), acme, bob).await.unwrap();
        // This node's memory still holds the account without the member.
        assert_eq!(two.add_member(&as_user(ada), acme, bob).await.unwrap().events.len(), 0);
        two.remove_member(&as_user(ada), acme, bob).await.unwrap();
        refused!(one.remove_member(&as_user(ada), acme, bob).await, Refusal::NotFound(Resource::Member));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_stream_is_loaded_from_its_snapshot() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let (ada, bob) = (user(&tenure, "ada").await, user(&tenure, "bob").await);
    let acme = account(&tenure, "acme", ada).await;
    for _ in 0..110 {
        tenure.add_member(&operator(), acme, bob).await.unwrap();
        tenure.remove_member(&operator(), acme, bob).await.unwrap();
    }
    let second = database.open().await;
    second.add_member(&operator(), acme, bob).await.unwrap();
    let client = database.connect(None).await;
    let row = client.query_one("select version, payload, sealed from log.snapshot", &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 221);
    let stored = [row.get::<_, &[u8]>(1), row.get::<_, &[u8]>(2)].concat();
    assert!(!String::from_utf8_lossy(&stored).contains("acme"));
    let third = database.open().await;
    third.close_account(&as_user(ada), acme).await.unwrap();
    account(&third, "ACME", bob).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_fails_closed_when_the_database_is_gone() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let ada = user(&tenure, "ada").await;
    let acme = account(&tenure, "acme", ada).await;
    let admin = crate::support::connect(&database.address.database("postgres"), None).await;
    // Not dropped: that takes a checkpoint, during which each attempt to connect waits and occupies a connection of the
    // server that all tests share.
    let name = &database.name;
    admin.batch_execute(&format!("alter database {name} allow_connections false")).await.unwrap();
    // Only now, or they could come back before that is committed.
    let end = format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'");
    admin.batch_execute(&end).await.unwrap();
    let asked = tokio::time::timeout(Duration::from_secs(30), tenure.reader().is_member_or_owner(acme, ada));
    assert!(!asked.await.unwrap());
    let context = operator();
    let append = tokio::time::timeout(Duration::from_secs(60), tenure.set_operator(&context, ada, true));
    assert!(matches!(append.await.unwrap(), Err(tenure::dispatch::DispatchError::Failed(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_account_is_the_one_owned_longest_whatever_others_give() {
    let tenure = TestDatabase::new().await.open().await;
    let (ada, bob) = (user(&tenure, "ada").await, user(&tenure, "bob").await);
    let of_bob = account(&tenure, "older", bob).await;
    tenure.add_member(&operator(), of_bob, ada).await.unwrap();
    let default = async || tenure.reader().default_account_for(ada).await.unwrap().id;
    assert_eq!(default().await, of_bob, "the oldest membership, for who owns none");
    let own = account(&tenure, "newer", ada).await;
    assert_eq!(default().await, own);
    tenure.transfer_ownership(&operator(), of_bob, ada).await.unwrap();
    assert_eq!(default().await, own, "an older account that was given changes nothing");
    assert_eq!(tenure.reader().first_owned_account_for(ada).await.unwrap().id, of_bob);
    tenure.close_account(&operator(), own).await.unwrap();
    assert_eq!(default().await, of_bob);
}
