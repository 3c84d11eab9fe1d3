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
