//! Why things are as they are: the story of one thing, for who may see it.

use std::time::Duration;

use serde_json::Value;
use tenure::context::{Actor, Context};
use tenure::explain::{ExplainError, Thing, Viewer};
use tenure::ids::EventId;

use super::{Server, answer};
use crate::support::{TestDatabase, account, as_user, operator, user};

/// What happened, in order.
fn types(story: &Value) -> Vec<&str> {
    story["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["event"]["event_type"].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_story_of_a_thing_says_what_happened_who_did_it_and_because_of_what() {
    let server = Server::new().await;
    let tenure = server.tenure.clone();
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let acme = server.account("acme", ada).await;
    let token = server.token(ada).await;
    let invited =
        server.post(&format!("/api/v1/accounts/{acme}/invites"), serde_json::json!({"username": "bob"}));
    let invite = answer(invited.bearer_auth(&token)).await.is(201).json()["id"].as_str().unwrap().to_owned();
    tenure.accept_invite(&as_user(bob), invite.parse().unwrap(), bob).await.unwrap();
    let (key, plaintext) = server.key(acme, bob).await;
    let made =
        server.post(&format!("/api/v1/accounts/{acme}/sources"), serde_json::json!({"handle": "robot"}));
    answer(made.bearer_auth(&plaintext)).await.is(201);
    tenure.remove_member(&as_user(ada), acme, bob).await.unwrap();
    let of = |rest: &str| format!("/api/v1/accounts/acme/explain{rest}");
    let story = async |path: &str| answer(server.get(path).bearer_auth(&token)).await.is(200).json();

    let account = story(&of("")).await;
    let expected = [
        "account.opened",
        "invite.created",
        "invite.accepted",
        "account.member_added",
        "api_key.minted",
        "source.created",
        "account.member_removed",
    ];
    assert_eq!(types(&account), expected);
    let entry = |number: usize| &account["items"][number];
    assert_eq!(entry(0)["what"], "The account was opened.");
    assert_eq!(entry(0)["facts"]["name"], "acme");
    assert_eq!(entry(0)["facts"]["owner"], format!("ada ({ada})"));
    assert_eq!(entry(0)["who"]["kind"], "operator");
    assert_eq!(entry(1)["who"]["kind"], "token");
    // The beginning of a token is for operators.
    assert!(entry(1)["who"]["name"].is_null());
    let runs = tenure.insert_operator(&operator(), "runs", "r@example.org").await.unwrap().answer;
    let runs = server.token(runs).await;
    let for_operators = answer(server.get(&of("")).bearer_auth(&runs)).await.is(200).json();
    let prefix = for_operators["items"][1]["who"]["name"].as_str().unwrap().to_owned();
    assert!(token.contains(&prefix));
    assert_eq!(entry(1)["who"]["on_behalf_of"]["username"], "ada");
    // A former member is not named to members, who know no more than the identifier from the account's events.
    assert_eq!((&entry(2)["who"]["kind"], &entry(2)["who"]["name"]), (&"user".into(), &Value::Null));
    assert_eq!(for_operators["items"][2]["who"]["name"], "bob");
    assert_eq!((&entry(5)["who"]["kind"], &entry(5)["who"]["name"]), (&"api_key".into(), &"a key".into()));
    assert_eq!(for_operators["items"][5]["who"]["on_behalf_of"]["username"], "bob");
    assert!(entry(5)["who"]["on_behalf_of"]["username"].is_null());
    assert!(!account.to_string().contains(&plaintext) && !account.to_string().contains("$argon2"));

    // In parts.
    let first = story(&of("?limit=4")).await;
    let next = first["next_cursor"].as_str().unwrap();
    let second = story(&of(&format!("?limit=4&cursor={next}"))).await;
    assert_eq!([types(&first), types(&second)].concat(), expected);
    assert!(second["next_cursor"].is_null());

    assert_eq!(
        types(&story(&of(&format!("?key={key}"))).await),
        ["api_key.minted", "account.member_removed"]
    );
    assert_eq!(types(&story(&of("?source=robot")).await), ["source.created"]);
    assert_eq!(
        types(&story(&of(&format!("?invite={invite}"))).await),
        ["invite.created", "invite.accepted", "account.member_added", "account.member_removed"]
    );
    let of_bob = answer(server.get("/api/v1/users/me/explain").bearer_auth(server.token(bob).await)).await;
    let of_bob = of_bob.is(200).json();
    for happened in ["user.registered", "invite.created", "invite.accepted"] {
        assert!(types(&of_bob).contains(&happened), "{happened}: {:?}", types(&of_bob));
    }
    // Of an account that they belong to no more they see nothing; operators do.
    assert!(!types(&of_bob).iter().any(|kind| kind.starts_with("account.") || kind.starts_with("source.")));
    let path = format!("/api/v1/users/{bob}/explain");
    let of_bob = answer(server.get(&path).bearer_auth(&runs)).await.is(200).json();
    for happened in ["account.member_added", "account.member_removed"] {
        assert!(types(&of_bob).contains(&happened), "{happened}: {:?}", types(&of_bob));
    }
    answer(server.get(&format!("/api/v1/users/{bob}/explain")).bearer_auth(&token)).await.is(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_caused_an_event_is_found_by_its_identifier() {
    let server = Server::new().await;
    let tenure = server.tenure.clone();
    let ada = server.user("ada").await;
    let acme = server.account("acme", ada).await;
    let token = server.token(ada).await;
    let newest = async || {
        let events = crate::support::history(&tenure).await;
        let event = events.iter().rev().find(|event| event.account_id.is_some()).unwrap().clone();
        (event.position, event.id)
    };
    let because = |event: EventId| Context { causation: Some(event), ..Context::of(Actor::System) };
    let (opened, opened_id) = newest().await;
    tenure.create_source(&because(opened_id), acme, Some(ada), "first", None).await.unwrap();
    let (first, first_id) = newest().await;
    tenure.create_source(&because(first_id), acme, Some(ada), "second", None).await.unwrap();
    let (second, _) = newest().await;
    let chain = async |position: i64| {
        let path = format!("/api/v1/accounts/{acme}/events/{position}/explain");
        answer(server.get(&path).bearer_auth(&token)).await
    };
    let found = chain(first).await.is(200).json();
    let positions = |part: &str| -> Vec<i64> {
        found[part]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["event"]["position"].as_i64().unwrap())
            .collect()
    };
    assert_eq!((positions("causes"), positions("effects")), (vec![opened], vec![second]));
    assert_eq!(found["event"]["because"]["event_type"], "account.opened");
    assert_eq!(found["event"]["because"]["position"], opened);
    let last = chain(second).await.is(200).json();
    assert_eq!(last["causes"].as_array().unwrap().len(), 2);
    // What an ending clears away, it clears because of the event that ended it.
    let bob = server.user("bob").await;
    tenure.add_member(&operator(), acme, bob).await.unwrap();
    server.key(acme, bob).await;
    tenure.remove_member(&operator(), acme, bob).await.unwrap();
    let (removed, _) = newest().await;
    tenure.clear_away().await.unwrap();
    let ended = chain(removed).await.is(200).json();
    let effects: Vec<&Value> =
        ended["effects"].as_array().unwrap().iter().map(|entry| &entry["event"]["event_type"]).collect();
    assert_eq!(effects, ["ending.api_keys_revoked", "ending.finished"]);
    // Events of others are not there.
    let registered = 2;
    chain(registered).await.is(404);
    chain(99_999).await.is(404);
    answer(server.get(&format!("/api/v1/accounts/{acme}/events/x/explain")).bearer_auth(&token))
        .await
        .is(404);
    assert_eq!(tenure.find_event(first_id).await.unwrap().unwrap().position, first);
    let nowhere = EventId::new(tenure.clock().now(), &*tenure.entropy());
    assert!(tenure.find_event(nowhere).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_told_of_others_and_of_people_who_were_forgotten() {
    let server = Server::new().await;
    let tenure = server.tenure.clone();
    let (ada, eve, gone) = (server.user("ada").await, server.user("eve").await, server.user("gone").await);
    let (acme, other) = (server.account("acme", ada).await, server.account("other", eve).await);
    let (key, _) = server.key(other, eve).await;
    tenure.add_member(&operator(), acme, gone).await.unwrap();
    tenure.forget_user(&operator(), gone).await.unwrap();
    let token = server.token(ada).await;
    for rest in
        [format!("?key={key}"), format!("?key={acme}"), "?key=x".to_owned(), "?source=nothing".to_owned()]
    {
        answer(server.get(&format!("/api/v1/accounts/{acme}/explain{rest}")).bearer_auth(&token))
            .await
            .is(404);
    }
    let both = format!("/api/v1/accounts/{acme}/explain?key={key}&source=x");
    answer(server.get(&both).bearer_auth(&token)).await.is(400);
    answer(server.get(&format!("/api/v1/accounts/{acme}/explain?limit=0")).bearer_auth(&token)).await.is(400);
    answer(server.get(&format!("/api/v1/accounts/{other}/explain")).bearer_auth(&token)).await.is(404);
    // A handle that looks like somebody's identifier tells nobody's name.
    tenure
        .create_source(&operator(), acme, Some(ada), &eve.as_uuid().simple().to_string(), None)
        .await
        .unwrap();
    let handle = eve.as_uuid().simple().to_string();
    let path = format!("/api/v1/accounts/{acme}/explain?source={handle}");
    let story = answer(server.get(&path).bearer_auth(server.token(ada).await)).await.is(200).json();
    assert_eq!(types(&story), ["source.created"]);
    // A person who was forgotten has no name in the stories of others, and no story.
    let story =
        answer(server.get(&format!("/api/v1/accounts/{acme}/explain")).bearer_auth(&token)).await.is(200);
    assert!(!story.text.contains("gone@") && !story.text.contains("gone ("), "{}", story.text);
    assert!(!story.text.contains("eve ("), "{}", story.text);
    let runs = tenure.insert_operator(&operator(), "runs", "r@example.org").await.unwrap().answer;
    let refused =
        answer(server.get(&format!("/api/v1/users/{gone}/explain")).bearer_auth(server.token(runs).await));
    let refused = refused.await.is(404).json();
    assert!(refused["detail"].as_str().unwrap().contains("was forgotten at"), "{refused}");
    assert!(matches!(
        tenure.explain(Thing::User(gone), Viewer::Operator, 0, 10).await,
        Err(ExplainError::Forgotten { user, .. }) if user == gone
    ));
    assert!(matches!(
        tenure
            .explain(Thing::Key(tenure::ids::ApiKeyId::from_uuid(acme.as_uuid())), Viewer::Operator, 0, 10)
            .await,
        Err(ExplainError::OtherKind { .. })
    ));
}

/// What happened to a thing, read one event at a time.
async fn told(tenure: &tenure::Tenure, thing: Thing, viewer: Viewer) -> Vec<String> {
    let (mut told, mut after) = (Vec::new(), 0);
    loop {
        let story = tenure.explain(thing, viewer, after, 1).await.unwrap();
        told.extend(story.entries.iter().map(|entry| entry.event.event_type.clone()));
        match story.next {
            Some(next) => after = next,
            None => return told,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_story_of_a_thing_ends_with_it_also_after_its_account_was_closed() {
    let server = Server::new().await;
    let tenure = server.tenure.clone();
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let acme = server.account("acme", ada).await;
    let told = async |thing| told(&tenure, thing, Viewer::Operator).await;
    // What was before a key is not its story.
    tenure.add_member(&operator(), acme, bob).await.unwrap();
    tenure.remove_member(&operator(), acme, bob).await.unwrap();
    tenure.add_member(&operator(), acme, bob).await.unwrap();
    let bobs = Thing::Key(server.key(acme, bob).await.0);
    let (living, revoked) = (server.key(acme, ada).await.0, server.key(acme, ada).await.0);
    tenure.create_source(&operator(), acme, Some(ada), "robot", None).await.unwrap();
    tenure.create_source(&operator(), acme, Some(ada), "former", None).await.unwrap();
    let source = async |handle: &str| tenure.reader().source_by_handle(acme, handle).await.unwrap().id;
    let (robot, former) = (Thing::Source(source("robot").await), Thing::Source(source("former").await));
    let invite = tenure.create_invite(&operator(), acme, "eve", Some(ada)).await.unwrap().answer;
    assert_eq!(told(bobs).await, ["api_key.minted"]);
    tenure.remove_member(&operator(), acme, bob).await.unwrap();
    let ended = ["api_key.minted", "account.member_removed"];
    assert_eq!(told(bobs).await, ended);
    tenure.clear_away().await.unwrap();
    // Nor is what came after.
    tenure.add_member(&operator(), acme, bob).await.unwrap();
    tenure.remove_member(&operator(), acme, bob).await.unwrap();
    assert_eq!(told(bobs).await, ended);
    tenure.revoke_api_key(&operator(), Some(acme), revoked).await.unwrap();
    tenure.delete_source(&operator(), acme, "former").await.unwrap();
    for is_cleared in [false, true] {
        if is_cleared {
            tenure.clear_away().await.unwrap();
        } else {
            tenure.close_account(&operator(), acme).await.unwrap();
        }
        assert_eq!(told(bobs).await, ended, "{is_cleared}");
        assert_eq!(told(Thing::Key(living)).await, ["api_key.minted", "account.closed"], "{is_cleared}");
        assert_eq!(told(Thing::Key(revoked)).await, ["api_key.minted", "api_key.revoked"], "{is_cleared}");
        assert_eq!(told(robot).await, ["source.created", "account.closed"], "{is_cleared}");
        assert_eq!(told(former).await, ["source.created", "source.deleted"], "{is_cleared}");
        assert_eq!(told(Thing::Invite(invite)).await, ["invite.created", "account.closed"], "{is_cleared}");
    }
    // A key ends with its minter, too.
    let other = server.account("other", ada).await;
    tenure.add_member(&operator(), other, bob).await.unwrap();
    let key = Thing::Key(server.key(other, bob).await.0);
    tenure.forget_user(&operator(), bob).await.unwrap();
    let with_minter = told(key).await;
    tenure.clear_away().await.unwrap();
    assert_eq!(told(key).await, with_minter);
    assert_eq!(with_minter.len(), 2, "{with_minter:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_story_does_not_go_on_after_a_decision_nor_end_with_a_removal_that_kept_the_keys() {
    let server = Server::new().await;
    let tenure = server.tenure.clone();
    let (ada, bob, eve) = (server.user("ada").await, server.user("bob").await, server.user("eve").await);
    let acme = server.account("acme", ada).await;
    let invite = async || tenure.create_invite(&operator(), acme, "eve", Some(ada)).await.unwrap().answer;
    let operators = async |thing| told(&tenure, thing, Viewer::Operator).await;
    let declined = invite().await;
    tenure.decline_invite(&as_user(eve), declined, eve).await.unwrap();
    let revoked = invite().await;
    tenure.revoke_invite(&operator(), Some(acme), revoked).await.unwrap();
    let accepted = invite().await;
    tenure.accept_invite(&as_user(eve), accepted, eve).await.unwrap();
    tenure.remove_member(&operator(), acme, eve).await.unwrap();
    // Another membership of the same person.
    tenure.add_member(&operator(), acme, eve).await.unwrap();
    tenure.add_member(&operator(), acme, bob).await.unwrap();
    let kept = Thing::Key(server.key(acme, bob).await.0);
    tenure.remove_member_but_keep_keys(&operator(), acme, bob).await.unwrap();
    tenure.forget_user(&operator(), bob).await.unwrap();
    assert_eq!(operators(kept).await, ["api_key.minted"]);
    let theirs = Thing::Key(server.key(acme, eve).await.0);
    tenure.forget_user(&operator(), eve).await.unwrap();
    tenure.clear_away().await.unwrap();
    assert_eq!(operators(theirs).await, ["api_key.minted", "user.forgotten"]);
    let of_members = told(&tenure, theirs, Viewer::Account(acme)).await;
    assert_eq!(of_members, ["api_key.minted", "account.member_removed"]);
    tenure.close_account(&operator(), acme).await.unwrap();
    for is_cleared in [false, true] {
        if is_cleared {
            tenure.clear_away().await.unwrap();
        }
        assert_eq!(operators(kept).await, ["api_key.minted", "account.closed"], "{is_cleared}");
        assert_eq!(operators(theirs).await, ["api_key.minted", "user.forgotten"], "{is_cleared}");
        for (id, expected) in [
            (declined, vec!["invite.created", "invite.declined"]),
            (revoked, vec!["invite.created", "invite.revoked"]),
            (
                accepted,
                vec!["invite.created", "invite.accepted", "account.member_added", "account.member_removed"],
            ),
        ] {
            assert_eq!(operators(Thing::Invite(id)).await, expected, "{is_cleared}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_was_closed_is_no_end_of_an_invite_that_had_expired() {
    let database = TestDatabase::new().await;
    let (tenure, clock) = database.open_with_clock().await;
    let (ada, _) = (user(&tenure, "ada").await, user(&tenure, "eve").await);
    let acme = account(&tenure, "acme", ada).await;
    let expired = tenure.create_invite(&operator(), acme, "eve", Some(ada)).await.unwrap().answer;
    clock.advance(Duration::from_hours(400 * 24));
    let pending = tenure.create_invite(&operator(), acme, "eve", Some(ada)).await.unwrap().answer;
    tenure.close_account(&operator(), acme).await.unwrap();
    for is_cleared in [false, true] {
        if is_cleared {
            tenure.clear_away().await.unwrap();
        }
        let told = async |invite| told(&tenure, Thing::Invite(invite), Viewer::Operator).await;
        assert_eq!(told(expired).await, ["invite.created"], "{is_cleared}");
        assert_eq!(told(pending).await, ["invite.created", "account.closed"], "{is_cleared}");
    }
}
