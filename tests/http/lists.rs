//! Lists: page by page, and whole for those who have always been given them whole.

use std::collections::BTreeSet;

use futures::StreamExt as _;
use futures::stream::iter;
use serde_json::Value;

use super::{Answer, Server, answer};
use crate::support::{as_user, operator};

/// More than two pages of what is read at once.
const MANY: usize = 405;

fn ids(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn invites_are_given_newest_first_none_twice_and_none_left_out_though_they_change_meanwhile() {
    let server = Server::new().await;
    let ada = server.user("ada").await;
    let acme = server.account("acme", ada).await;
    let token = server.token(ada).await;
    let (invite, context) = (|number| format!("guest{number}"), operator());
    let made: Vec<_> = iter(0..MANY)
        .map(|number| {
            let (tenure, context) = (server.tenure.clone(), context);
            async move { tenure.create_invite(&context, acme, &invite(number), Some(ada)).await.unwrap() }
        })
        .buffer_unordered(32)
        .map(|done| (done.checkpoint.position, done.answer))
        .collect()
        .await;
    let get = |path: String| answer(server.get(&path).bearer_auth(&token));
    let mut seen: Vec<String> = Vec::new();
    let mut cursor = String::new();
    for page in 0.. {
        let list = get(format!("/api/v1/accounts/acme/invites?limit=200{cursor}")).await.is(200).json();
        seen.extend(ids(&list["items"]));
        if page == 0 {
            // One that was given already, one that is yet to come, and one that is new.
            let given = seen[5].parse().unwrap();
            let waiting = made.iter().map(|(_, id)| *id).find(|id| !seen.contains(&id.to_string())).unwrap();
            for revoked in [given, waiting] {
                server.tenure.revoke_invite(&as_user(ada), Some(acme), revoked).await.unwrap();
            }
            server.tenure.create_invite(&operator(), acme, "late", Some(ada)).await.unwrap();
        }
        let Some(next) = list["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen.len(), MANY);
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), MANY, "one was given twice");
    let whole: Answer = get("/api/v1/orgs/acme/invites".to_owned()).await.is(200);
    assert_eq!(whole.header("content-type"), "application/json");
    assert_eq!(whole.header("content-length"), "", "it is written while it is read");
    assert_eq!(ids(&whole.json()["invites"])[1..], seen);
    let created: Vec<Value> = whole.json()["invites"]
        .as_array()
        .unwrap()
        .iter()
        .map(|invite| invite["created_at"].clone())
        .collect();
    assert!(created.is_sorted_by(|newer, older| newer.as_str() >= older.as_str()));
    for bad in ["AA", "MS4", "ISEh"] {
        get(format!("/api/v1/accounts/acme/invites?cursor={bad}")).await.is(400);
    }
    let empty = server.account("empty", ada).await;
    let none = get(format!("/api/v1/orgs/{empty}/invites")).await.is(200);
    assert_eq!(none.text, r#"{"invites":[]}"#);
}

/// Every page of a list of ours, three at a time; `meanwhile` is told of each page's number.
async fn pages(
    server: &Server,
    token: &str,
    path: &str,
    mut meanwhile: impl AsyncFnMut(usize),
) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    for page in 0.. {
        let list = server.get(&format!("{path}?limit=3{cursor}")).bearer_auth(token);
        let list = answer(list).await.is(200).json();
        let items = list["items"].as_array().unwrap();
        assert!(items.len() <= 3);
        all.extend(items.iter().cloned());
        let Some(next) = list["next_cursor"].as_str() else { return all };
        assert_eq!(items.len(), 3, "a page that is not full is the last");
        cursor = format!("&cursor={next}");
        meanwhile(page).await;
    }
    all
}

fn each_once(items: &[Value], field: &str) -> BTreeSet<String> {
    let names: Vec<&str> = items.iter().map(|item| item[field].as_str().unwrap()).collect();
    let set: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(set.len(), names.len(), "{names:?}");
    set
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_keep_their_places_while_they_are_revoked_and_cleared_away() {
    let server = Server::new().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let acme = server.account("acme", ada).await;
    let tenure = &server.tenure;
    tenure.add_member(&operator(), acme, bob).await.unwrap();
    let hash = "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA";
    let mut keys = Vec::new();
    for number in 0..24 {
        let by = if number % 3 == 0 { bob } else { ada };
        let prefix = tenure::aggregates::api_key::KeyPrefix::of(&format!("{number:08}"));
        keys.push(tenure.import_api_key(&operator(), acme, prefix, hash, "k", by).await.unwrap().answer);
    }
    let revoke = async |place: usize| {
        tenure.revoke_api_key(&operator(), None, keys[place]).await.unwrap();
    };
    for place in [1, 4, 22] {
        revoke(place).await;
    }
    let token = server.token(ada).await;
    let listed = pages(&server, &token, "/api/v1/accounts/acme/keys", async |page| match page {
        // One that was given, one that is to come, and one that had ended.
        0 => {
            revoke(0).await;
            revoke(20).await;
            revoke(4).await;
        }
        // Those of a member end with their membership, given and to come.
        1 => drop(tenure.remove_member(&operator(), acme, bob).await.unwrap()),
        2 => drop(tenure.clear_away().await.unwrap()),
        3 => drop(server.key(acme, ada).await),
        _ => {}
    })
    .await;
    let ids: Vec<String> = listed.iter().map(|key| key["id"].as_str().unwrap().to_owned()).collect();
    let good = (0..24).filter(|place| ![1, 4, 22].contains(place)).map(|place| keys[place].to_string());
    let given: Vec<String> =
        ids.iter().filter(|id| keys.iter().any(|key| key.to_string() == **id)).cloned().collect();
    let expected: Vec<String> = good.chain([1, 4, 22].map(|place| keys[place].to_string())).collect();
    assert_eq!(given, expected, "each once, as they were when the list was begun");
    each_once(&listed, "id");
    let again = pages(&server, &token, "/api/v1/accounts/acme/keys", async |_| {}).await;
    let ended: Vec<bool> = again.iter().map(|key| !key["revoked_at"].is_null()).collect();
    assert!(ended.is_sorted() && ended.iter().filter(|ended| **ended).count() == 12, "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_paged_list_gives_each_row_once_while_rows_come_and_go() {
    let server = Server::new().await;
    let ada = server.user("ada").await;
    let acme = server.account("acme", ada).await;
    let (tenure, token) = (&server.tenure, server.token(ada).await);
    let mut members = Vec::new();
    for number in 0..10 {
        let member = server.user(&format!("member-{number}")).await;
        tenure.add_member(&operator(), acme, member).await.unwrap();
        members.push(member);
    }
    let late = server.user("late").await;
    let listed = pages(&server, &token, "/api/v1/accounts/acme/members", async |page| {
        if page == 0 {
            tenure.remove_member(&operator(), acme, members[0]).await.unwrap();
            tenure.forget_user(&operator(), members[9]).await.unwrap();
            tenure.add_member(&operator(), acme, late).await.unwrap();
            tenure.add_member(&operator(), acme, members[0]).await.unwrap();
        }
    })
    .await;
    assert_eq!((listed[0]["role"].as_str(), listed[0]["username"].as_str()), (Some("owner"), Some("ada")));
    let people = each_once(&listed, "user_id");
    assert!(members[1..9].iter().all(|member| people.contains(&member.to_string())));
    assert!(!people.contains(&members[9].to_string()), "forgotten before their page was read");

    let ttl = std::time::Duration::from_secs(3_600);
    let mut issued = Vec::new();
    for _ in 0..8 {
        issued.push(tenure.issue_bearer_token(&operator(), ada, ttl).await.unwrap().answer.0);
        tenure.start_session(&operator(), ada, ttl).await.unwrap();
    }
    let tokens = pages(&server, &token, "/api/v1/users/me/tokens", async |page| {
        tenure.revoke_bearer_token(&operator(), issued[page * 3]).await.unwrap();
    })
    .await;
    assert_eq!(each_once(&tokens, "id").len(), 9);
    assert!(tokens.is_sorted_by(|one, two| one["created_at"].as_str() <= two["created_at"].as_str()));
    assert_eq!(
        each_once(&pages(&server, &token, "/api/v1/users/me/sessions", async |_| {}).await, "id").len(),
        8
    );

    for number in 0..9 {
        server.account(&format!("own-{number}"), ada).await;
    }
    let other = server.account("others", late).await;
    tenure.add_member(&operator(), other, ada).await.unwrap();
    let accounts = pages(&server, &token, "/api/v1/users/me/accounts", async |_| {}).await;
    assert_eq!(each_once(&accounts, "name").len(), 11);
    assert!(accounts.is_sorted_by(|one, two| one["name"].as_str() < two["name"].as_str()));

    tenure.create_source(&as_user(ada), acme, None, "robot", Some("pty")).await.unwrap();
    for number in 0..7 {
        let unset = tenure::aggregates::source::Retention::default();
        tenure.create_pipe(&as_user(ada), acme, None, "robot", &format!("p{number}"), unset).await.unwrap();
    }
    let pipes = pages(&server, &token, "/api/v1/accounts/acme/sources/robot/pipes", async |page| {
        if page == 2 {
            tenure.delete_pipe(&as_user(ada), acme, "robot", "p1").await.unwrap();
        }
    })
    .await;
    let names: Vec<&str> = pipes.iter().map(|pipe| pipe["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["stdin", "stdout", "stdctrl", "inbox", "p0", "p1", "p2", "p3", "p4", "p5", "p6"]);
}

/// An account with so much in its list of sources that no connection takes all of it at once.
async fn much(server: &Server) -> String {
    let ada = server.user("ada").await;
    let acme = server.account("acme", ada).await;
    let (at, payload) = (server.tenure.clock().now(), "x".repeat(60_000));
    iter(0..240)
        .for_each_concurrent(16, |number| {
            let (tenure, payload) = (&server.tenure, &payload);
            async move {
                let handle = format!("robot-{number}");
                tenure.create_source(&as_user(ada), acme, None, &handle, None).await.unwrap();
                tenure.update_last_broadcast(&as_user(ada), acme, &handle, at, payload).await.unwrap();
            }
        })
        .await;
    server.token(ada).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fifth_whole_list_waits_and_is_told_to_come_again() {
    let server = Server::new().await;
    much(&server).await;
    let acme = server.tenure.reader().account_by_name("acme").await.unwrap().id;
    let mut tokens = Vec::new();
    for number in 0..3 {
        let member = server.user(&format!("member-{number}")).await;
        server.tenure.add_member(&operator(), acme, member).await.unwrap();
        tokens.push(server.token(member).await);
    }
    let list = |token: &String| server.get(&format!("/api/v1/sources?org={acme}")).bearer_auth(token).send();
    let mut held = Vec::new();
    for token in [&tokens[0], &tokens[0], &tokens[1], &tokens[1]] {
        held.push(list(token).await.unwrap());
    }
    assert!(held.iter().all(|answer| answer.status() == 200), "begun, and read by nobody");
    let refused = list(&tokens[2]).await.unwrap();
    assert_eq!(refused.status(), 429);
    assert!(refused.headers().contains_key("retry-after"));
    let error: Value = serde_json::from_str(&refused.text().await.unwrap()).unwrap();
    assert_eq!(error["error"]["code"], "E_RATE_LIMITED");
    let whole: Value = serde_json::from_str(&held.pop().unwrap().text().await.unwrap()).unwrap();
    assert_eq!(whole["sources"].as_array().unwrap().len(), 240);
    assert_eq!(list(&tokens[2]).await.unwrap().status(), 200, "as soon as one of them is read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_goes_cuts_a_list_so_that_half_of_it_never_parses() {
    let mut postgres = crate::support::server::Server::primary().await;
    let keys = tempfile::tempdir().unwrap();
    let key = tenure::credentials::master_key::MasterKeySource {
        default_file: keys.path().join("master.key"),
        ..Default::default()
    };
    let address = postgres.conninfo("tenure").parse().unwrap();
    let settings = tenure::Settings { connections: 4, ..tenure::Settings::new(address, key) };
    let tenure = std::sync::Arc::new(crate::support::open_with(settings).await);
    let server = Server::with(tenure, |_| {}).await;
    let token = much(&server).await;
    let mut list = server.get("/api/v1/sources").bearer_auth(&token).send().await.unwrap();
    assert_eq!(list.status(), 200);
    let mut half = list.chunk().await.unwrap().unwrap().to_vec();
    postgres.kill();
    let cut = loop {
        match list.chunk().await {
            Ok(Some(more)) => half.extend_from_slice(&more),
            ended => break ended,
        }
    };
    assert!(cut.is_err(), "the answer is not ended as if it were whole");
    assert!(half.starts_with(b"{\"sources\":[") && serde_json::from_slice::<Value>(&half).is_err());
}
